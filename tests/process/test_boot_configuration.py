"""boot-configuration in the initramfs: command line and firmware become files for the daemon.

The script runs in the shells that an initramfs may have.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from iscsid.config.configuration import parse_configuration
from tests.support.patience import PATIENCE
from tests.vm.paths import CHECKOUT

SCRIPT = CHECKOUT / "etc" / "initramfs-tools" / "boot-configuration"
NAME = "iqn.2026-01.org.example:root"
FIRMWARE = {
    "initiator/flags": "3",
    "initiator/initiator-name": "iqn.2026-01.org.example:machine",
    "target0/flags": "3",
    "target0/index": "0",
    "target0/ip-addr": "192.0.2.1",
    "target0/port": "3261",
    "target0/lun": "0100000000000000",
    "target0/chap-type": "1",
    "target0/nic-assoc": "1",
    "target0/target-name": NAME,
    "target0/chap-name": "me",
    "target0/chap-secret": "twelve letters",
    "target0/rev-chap-name": "you",
    "target0/rev-chap-name-secret": "twelve others",
    "target1/flags": "3",
    "target1/ip-addr": "2001:db8::1",
    "target1/port": "3260",
    "target1/nic-assoc": "1",
    "target1/target-name": NAME,
    "target2/flags": "2",
    "target2/ip-addr": "192.0.2.9",
    "target2/nic-assoc": "0",
    "target2/target-name": f"{NAME}-left-from-earlier",
    "ethernet1/flags": "3",
    "ethernet1/mac": "52:54:00:12:34:56",
    "ethernet1/ip-addr": "192.0.2.7",
    "ethernet1/subnet-mask": "255.255.255.0",
    "ethernet1/gateway": "192.0.2.254",
    "ethernet1/origin": "1",
    "ethernet1/vlan": "0",
}
"""A table as Linux shows it in /sys/firmware/ibft. A part without the first flag is not used."""


@dataclass
class Outcome:
    """What the script has written, and its complaints."""

    directory: Path
    errors: str

    def read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""


@pytest.fixture(params=["dash", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split()


def run(
    shell: list[str], tmp_path: Path, command_line: str, firmware: dict[str, str] | None = None
) -> Outcome:
    (tmp_path / "cmdline").write_text(f"BOOT_IMAGE=/vmlinuz root=/dev/sda ro {command_line}\n")
    for name, value in (firmware or {}).items():
        path = tmp_path / "ibft" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    for interface, address in (("eth0", "52:54:00:00:00:01"), ("eth1", "52:54:00:12:34:56")):
        (tmp_path / "net" / interface).mkdir(parents=True)
        (tmp_path / "net" / interface / "address").write_text(f"{address}\n")
    done = subprocess.run(
        [*shell, SCRIPT, tmp_path / "out"],
        env={
            "PATH": "/usr/bin:/bin",
            "ISCSID_CMDLINE": str(tmp_path / "cmdline"),
            "ISCSID_IBFT": str(tmp_path / "ibft"),
            "ISCSID_NET": str(tmp_path / "net"),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    outcome = Outcome(tmp_path / "out", done.stderr)
    text = outcome.read("iscsi.conf")
    if text:
        assert (tmp_path / "out/iscsi.conf").stat().st_mode & 0o077 == 0
        parse_configuration(text, "iscsi.conf")
    return outcome


def test_nothing_is_made_of_a_command_line_without_our_words(
    shell: list[str], tmp_path: Path
) -> None:
    outcome = run(shell, tmp_path, "ip=dhcp netroot=nfs:/x", FIRMWARE)
    assert [outcome.read(name) for name in ("iscsi.conf", "initiatorname.iscsi", "ip")] == [""] * 3


OPEN_ISCSI = (
    f"iscsi_initiator=iqn.me iscsi_target_name={NAME} iscsi_target_ip=192.0.2.1 "
    'iscsi_target_port=3261 iscsi_target_group=2 iscsi_username=me iscsi_password=*\\n"long-secret '
    "iscsi_in_username=you iscsi_in_password=other-secret"
)
DRACUT = (
    f"rd.iscsi.initiator=iqn.me rd.iscsi.target.name={NAME} rd.iscsi.target.ip=192.0.2.1 "
    "rd.iscsi.target.port=3261 rd.iscsi.target.group=2 rd.iscsi.username=me "
    'rd.iscsi.password=*\\n"long-secret rd.iscsi.in.username=you rd.iscsi.in.password=other-secret'
)


@pytest.mark.parametrize("words", [OPEN_ISCSI, DRACUT], ids=["open-iscsi", "dracut"])
def test_words_for_one_target(shell: list[str], tmp_path: Path, words: str) -> None:
    outcome = run(shell, tmp_path, words)
    assert outcome.read("iscsi.conf") == (
        f"TargetName={NAME}\n"
        '    OutgoingUsername="me"\n'
        '    OutgoingPassword="*\\n""long-secret"\n'
        '    IncomingUsername="you"\n'
        '    IncomingPassword="other-secret"\n'
        "    Address=192.0.2.1:3261,2\n"
    )
    assert outcome.read("initiatorname.iscsi") == "InitiatorName=iqn.me\n"


def test_address_without_a_name_is_asked_for_its_targets(shell: list[str], tmp_path: Path) -> None:
    outcome = run(shell, tmp_path, "iscsi_target_ip=2001:db8::1")
    assert outcome.read("iscsi.conf") == "DiscoveryAddress=[2001:db8::1]:3260\n"


def test_two_netroots_of_one_target_are_two_addresses(shell: list[str], tmp_path: Path) -> None:
    credentials = "me:twelve-letters:you:other-secret@"
    outcome = run(
        shell,
        tmp_path,
        f"netroot=iscsi:{credentials}192.0.2.1::3261:::1:{NAME} "
        f"netroot=iscsi:{credentials}[2001:db8::1]:6:::{NAME} netroot=iscsi:192.0.2.1",
    )
    assert outcome.read("iscsi.conf") == (
        f"TargetName={NAME}\n"
        '    OutgoingUsername="me"\n'
        '    OutgoingPassword="twelve-letters"\n'
        '    IncomingUsername="you"\n'
        '    IncomingPassword="other-secret"\n'
        "    Address=192.0.2.1:3261\n"
        "    Address=[2001:db8::1]:3260\n"
    )
    assert "names no target" in outcome.errors


@pytest.mark.parametrize("word", ["iscsi_auto", "rd.iscsi.firmware=1", "rd.iscsi.ibft"])
def test_table_of_the_firmware(shell: list[str], tmp_path: Path, word: str) -> None:
    outcome = run(shell, tmp_path, word, FIRMWARE)
    assert outcome.read("iscsi.conf") == (
        f"TargetName={NAME}\n"
        '    OutgoingUsername="me"\n'
        '    OutgoingPassword="twelve letters"\n'
        '    IncomingUsername="you"\n'
        '    IncomingPassword="twelve others"\n'
        "    Address=192.0.2.1:3261\n"
        "    Address=[2001:db8::1]:3260\n"
    )
    assert outcome.read("initiatorname.iscsi") == (
        "InitiatorName=iqn.2026-01.org.example:machine\n"
    )
    assert outcome.read("ip") == "192.0.2.7::192.0.2.254:255.255.255.0::eth1:off\n"


def test_interface_that_the_firmware_configures_by_dhcp(shell: list[str], tmp_path: Path) -> None:
    outcome = run(shell, tmp_path, "iscsi_auto", FIRMWARE | {"ethernet1/origin": "3"})
    assert outcome.read("ip") == ":::::eth1:dhcp\n"


def test_what_of_the_firmware_cannot_be_used_is_named(shell: list[str], tmp_path: Path) -> None:
    changed = {"ethernet1/vlan": "7", "ethernet1/mac": "52:54:00:00:00:09", "target0/ip-addr": ""}
    outcome = run(shell, tmp_path, "iscsi_auto", FIRMWARE | changed)
    assert f"the target {NAME} has no address" in outcome.errors
    assert "VLAN 7" in outcome.errors and "52:54:00:00:00:09" in outcome.errors


def test_missing_table_is_named(shell: list[str], tmp_path: Path) -> None:
    outcome = run(shell, tmp_path, "rd.iscsi.ibft")
    assert outcome.read("iscsi.conf") == ""
    assert "no table of the firmware" in outcome.errors
