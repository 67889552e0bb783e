"""A configuration made from open-iscsi's node database means what the database meant.

``open_iscsi_database`` was written by iscsiadm 2.1.8 of Debian 12.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from iscsid.bindings.allocation import Bindings
from iscsid.cli.from_open_iscsi import BINDINGS
from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.config.settings import DigestPolicy, MultipathPolicy, SessionSettings
from iscsid.protocol.names import IscsiName, Portal
from tests.support.patience import PATIENCE

DATABASE = Path(__file__).parent / "open_iscsi_database"
DISK1, DISK2 = (IscsiName(f"iqn.2001-04.com.example:storage.disk{number}") for number in (1, 2))
RECORD1 = f"nodes/{DISK1}/192.0.2.10,3260,1/default"
RECORD2 = f"nodes/{DISK2}/192.0.2.10,3260,1/default"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATABASE, tmp_path / "iscsi"))


def convert(database: Path) -> tuple[str, Configuration]:
    command = [sys.executable, "-m", "iscsid", f"--from-open-iscsi={database}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, parse_configuration(done.stdout, "iscsi.conf")


def settings(configuration: Configuration, name: IscsiName = DISK1) -> SessionSettings:
    return configuration.session_settings(name, Portal("192.0.2.10"), None)


def change(file: Path, key: str, value: str) -> None:
    text = file.read_text()
    assert f"\n{key} = " in text
    file.write_text(re.sub(rf"(?m)^{re.escape(key)} = .*$", f"{key} = {value}", text))


def test_targets_portals_and_credentials_are_taken_over(database: Path) -> None:
    _, configuration = convert(database)
    disk1, disk2 = configuration.static_targets
    assert (disk1.target_name, disk2.target_name) == (DISK1, DISK2)
    assert [str(address) for address in disk1.addresses] == [
        "192.0.2.10:3260,1",
        "192.0.2.11:3260,1",
        "[2001:db8::10]:3260,2",
    ]
    found = settings(configuration)
    outgoing, incoming = found.authentication.outgoing, found.authentication.incoming
    assert outgoing is not None and incoming is not None
    assert (outgoing.username, outgoing.password.reveal()) == ("alice", b"open sesame 1!")
    assert (incoming.username, incoming.password.reveal()) == ("hatter", b"teapot-987654")
    assert found.multipath is MultipathPolicy.PORTAL
    assert (found.header_digest, found.data_digest) == (DigestPolicy.ALWAYS, DigestPolicy.NEVER)
    assert settings(configuration, DISK2).authentication.outgoing is None


def test_credentials_count_whatever_the_method_is(database: Path) -> None:
    """open-iscsi sends them even with authmethod None."""
    for file in (database / "nodes" / DISK1).rglob("default"):
        change(file, "node.session.auth.authmethod", "None")
    _, configuration = convert(database)
    assert settings(configuration).authentication.outgoing is not None


def test_what_is_not_started_at_boot_is_not_started_here(database: Path) -> None:
    text, configuration = convert(database)
    assert settings(configuration).enabled and not settings(configuration, DISK2).enabled
    change(database / RECORD1, "node.startup", "manual")
    text, configuration = convert(database)
    assert [str(each.portal) for each in configuration.static_targets[0].addresses] == [
        "192.0.2.11:3260",
        "[2001:db8::10]:3260",
    ]
    assert "# node.startup is manual: Address=192.0.2.10:3260,1" in text


@pytest.mark.parametrize(("there", "here"), [("120", 120), ("0", 1), ("-1", 0)])
def test_the_time_before_io_fails_is_converted_by_its_meaning(
    database: Path, there: str, here: int
) -> None:
    """0 is at once there and for ever here; a negative number is for ever there."""
    change(database / RECORD2, "node.session.timeo.replacement_timeout", there)
    text, configuration = convert(database)
    assert settings(configuration, DISK2).conn_fail_timeout == here
    assert ("failed I/O at once" in text) == (there == "0")


def test_pings_that_were_off_are_off(database: Path) -> None:
    change(database / RECORD2, "node.conn[0].timeo.noop_out_interval", "0")
    _, configuration = convert(database)
    assert settings(configuration, DISK2).timeouts.ping == 0
    assert settings(configuration, DISK1).timeouts.ping == 5


def test_what_is_the_same_everywhere_is_a_global(database: Path) -> None:
    text, configuration = convert(database)
    assert text.index("LoginTimeout=30s") < text.index("TargetName=")
    assert text.count("LoginTimeout=") == 1
    assert settings(configuration, DISK2).timeouts.login == 30


def test_network_and_queue_settings_are_taken_over(database: Path) -> None:
    change(database / RECORD2, "node.session.queue_depth", "64")
    change(database / RECORD2, "node.session.cmds_max", "2")
    change(database / RECORD1, "node.session.cmds_max", "1000")
    change(database / RECORD2, "node.conn[0].tcp.type_of_service", "104")
    with (database / RECORD2).open("a") as file:
        file.write("iface.net_ifacename = eth1\n")
        file.write("iface.initiatorname = iqn.2001-04.com.example:Host\n")
    _, configuration = convert(database)
    found = settings(configuration, DISK2)
    assert found.initiator_name == "iqn.2001-04.com.example:Host"
    assert (found.sessions, settings(configuration).sessions) == (2, 1)
    assert (found.queue_depth, found.commands_max) == (64, 16)
    text, _ = convert(database)
    assert "    DSCP=26\n" in text and "    Interface=eth1\n" in text
    first = settings(configuration)
    assert (first.queue_depth, first.commands_max) == (32, 512)


def test_what_has_no_counterpart_is_a_comment(database: Path) -> None:
    change(database / RECORD2, "iface.transport_name", "iser")
    text, _ = convert(database)
    assert "    # not converted: iface.transport_name = iser\n" in text


def test_discovery_addresses_are_comments_that_can_be_used(database: Path) -> None:
    (file,) = (database / "send_targets" / "192.0.2.20,3261").iterdir()
    change(file, "discovery.sendtargets.use_discoveryd", "Yes")
    text, _ = convert(database)
    used = re.sub(r"(?m)^#(DiscoveryAddress=|    \w+=)", r"\1", text)
    first, second = parse_configuration(used, "iscsi.conf").discoveries
    assert (str(first.portal), first.authentication.outgoing) == ("192.0.2.10:3260", None)
    assert (first.poll_interval, second.poll_interval) == (0, 30)
    outgoing = second.authentication.outgoing
    assert outgoing is not None and outgoing.password.reveal() == b"discovery-secret"


def test_the_bindings_are_those_that_the_comments_name(database: Path) -> None:
    text, _ = convert(database)
    lines = [line for line in text.splitlines() if line.startswith(BINDINGS)]
    bindings = Bindings.parse("".join(f"{line[len(BINDINGS) + 1 :]}\n" for line in lines), "f")
    assert len(bindings) == 3 and text.count("/dev/disk/by-path/") == 3
    assert bindings.name_of(bindings_number := next(iter(bindings)).binding) == DISK1
    old = f"#     /dev/disk/by-path/ip-192.0.2.10:3260-iscsi-{DISK1}-lun-N\n"
    new = f"#         is /dev/iscsi/bus{bindings_number.bus}/target0/lunN/disk\n"
    assert old + new in text


def test_a_secret_that_is_too_short_is_reported_without_the_secret(database: Path) -> None:
    change(database / RECORD1, "node.session.auth.password", "short")
    command = [sys.executable, "-m", "iscsid", f"--from-open-iscsi={database}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    _, _, remarks = done.stdout.partition("# To be mended:\n")
    assert "OutgoingPassword" in remarks and "short\n" not in remarks


@pytest.mark.parametrize("text", ["", "garbage", "node.name = iqn.x\nnode.conn[0].port = many\n"])
def test_a_file_that_is_no_record_is_left_out(database: Path, text: str) -> None:
    (database / RECORD2).write_text(text)
    _, configuration = convert(database)
    assert [each.target_name for each in configuration.static_targets] == [DISK1]


def test_without_a_database_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iscsid", f"--from-open-iscsi={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"iscsid: there is no node database of open-iscsi in {tmp_path}\n"
