"""The root file system on an iSCSI disk: an image with the package, behind a target.

One boot answers all questions. The firmware's table leads the initramfs to the target; the daemon
of the real root takes the session over, resumes it when it breaks, and leaves it at the shutdown.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.loopback.tgtd_loopback import LiveTgtd
from tests.packaging.firmware_table import firmware_table
from tests.packaging.machine import OUTSIDE, Machine
from tests.packaging.pdu_relay import LOGIN, LOGOUT, PduRelay
from tests.packaging.readme import commands
from tests.packaging.root_image import Root
from tests.support.patience import scaled
from tests.vm import disks

pytestmark = pytest.mark.limit(900)

NAME = "iqn.2026-01.org.example:root"
INITIATOR = "iqn.2026-01.org.example:machine"
DISK = "/dev/iscsi/bus0/target0/lun1/disk"
DATA = "/dev/iscsi/bus0/target0/lun2/disk"
POWER_OFF_LIMIT = 120.0
INTERFACES = "auto lo\niface lo inet loopback\n"
"""The initramfs has configured the interface that leads to the root."""


@dataclass
class Boot:
    """What was seen."""

    seen: dict[str, str] = field(default_factory=dict)
    logins: dict[str, int] = field(default_factory=dict)
    logouts: int = 0
    console: str = ""
    power_off: float = 0.0
    unclean: str = ""


@contextmanager
def target_with_root(
    directory: Path, package: Path
) -> Iterator[tuple[PduRelay, Path, tuple[Path, Path]]]:
    """Yield a relay to a target with the root and a second disk, the initramfs, and both images."""
    tgtd = LiveTgtd()
    relay = PduRelay((tgtd.portal.host, tgtd.portal.port))
    try:
        root = Root(directory)
        root.bring(package)
        root.shell(commands("Install")[-1])
        root.write(
            {
                "/etc/iscsi.conf": f"TargetName={NAME}\n    Address={OUTSIDE}:{relay.port}\n",
                "/etc/initiatorname.iscsi": f"InitiatorName={INITIATOR}\n",
                "/etc/fstab": f"{DISK} / ext4 defaults 0 1\n{DATA} /srv ext4 defaults 0 2\n",
                "/etc/network/interfaces": INTERFACES,
            }
        )
        # As if there were secrets in it.
        (root.path / "etc/iscsi.conf").chmod(0o600)
        initramfs = root.initramfs(*commands("Root on iSCSI"))
        image = root.image()
        data = directory / "data"
        with data.open("wb") as stream:
            stream.truncate(32 << 20)
        disks.run("/sbin/mke2fs", "-q", "-t", "ext4", str(data))
        tgtd.add_target(NAME, {1: image, 2: data})
        yield relay, initramfs, (image, data)
    finally:
        tgtd.stop()


def fsck(image: Path) -> str:
    """Return what is wrong with a file system, empty if it is clean."""
    command = ["/sbin/e2fsck", "-f", "-n", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=scaled(60))
    return done.stdout + done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Boot:
    directory = tmp_path_factory.mktemp("iscsi-root")
    table = directory / "table"
    with target_with_root(directory, package) as (relay, initramfs, images):
        table.write_bytes(
            firmware_table(
                initiator=INITIATOR,
                address="10.0.2.15",
                prefix=24,
                target=NAME,
                target_address=OUTSIDE,
                port=relay.port,
            )
        )
        words = f"iscsi_auto root={DISK}"
        machine = Machine(None, initramfs, directory, "root", append=words, acpi_table=table)
        try:
            seen = use(machine, relay)
        finally:
            machine.stop()
        seen.seen["mode"] = f"{initramfs.stat().st_mode & 0o777:o}"
        seen.unclean = "".join(map(fsck, images))
    return seen


def use(machine: Machine, relay: PduRelay) -> Boot:
    boot = Boot()
    machine.wait_for_shell()
    boot.logins["initramfs"] = relay.count(LOGIN)
    machine.wait_until("systemctl is-active multi-user.target")
    machine.check("iscsid --wait=120")
    boot.seen["root"] = machine.check(f"findmnt -nro SOURCE /; readlink -f {DISK}")
    boot.seen["data"] = machine.check(f"findmnt -nro SOURCE /srv; readlink -f {DATA}")
    boot.seen["failed"] = machine.check("systemctl --failed --plain --no-legend")
    boot.seen["log"] = machine.check("journalctl -b -o cat -u iscsid")
    boot.seen["early log"] = machine.check("dmesg | grep iscsid: || :")
    boot.logins["taken over"] = relay.count(LOGIN)
    # Nothing of programs, libraries and directories is left in memory but what the daemon keeps.
    machine.check("sync; echo 3 >/proc/sys/vm/drop_caches")
    relay.break_connections()
    machine.check("echo written >/written; sync; cat /usr/lib/*/libc.so.6 >/dev/null")
    boot.logins["resumed"] = relay.count(LOGIN)
    boot.seen["removal"] = str(machine.run(commands("Removal")[0]))
    boot.power_off = machine.power_off(limit=POWER_OFF_LIMIT)
    boot.console = machine.console
    boot.logouts = relay.count(LOGOUT)
    return boot


def test_initramfs_logs_in_by_the_table_of_the_firmware(boot: Boot) -> None:
    assert boot.logins["initramfs"] > 0
    device, same = boot.seen["root"].split()
    assert device in (same, DISK)
    assert f"{NAME} via {OUTSIDE}" in boot.seen["early log"]


def test_initramfs_with_a_configuration_for_root_alone_is_for_root_alone(boot: Boot) -> None:
    assert boot.seen["mode"] == "600"


def test_daemon_of_the_root_takes_the_session_over_without_a_login(boot: Boot) -> None:
    assert boot.logins["taken over"] == boot.logins["initramfs"]
    assert "adopted, up (bus0/target0)" in boot.seen["log"]
    assert boot.seen["failed"] == ""


def test_other_disks_of_the_session_are_mounted_as_elsewhere(boot: Boot) -> None:
    device, same = boot.seen["data"].split()
    assert device in (same, DATA)


def test_connection_to_the_root_is_made_again_with_nothing_but_what_is_in_memory(
    boot: Boot,
) -> None:
    assert boot.logins["resumed"] > boot.logins["taken over"]


def test_package_that_the_machine_boots_by_is_not_removed(boot: Boot) -> None:
    assert "this machine would not boot" in boot.seen["removal"]
    assert "(0," not in boot.seen["removal"]


def test_poweroff_leaves_the_session_of_the_root_to_the_end(boot: Boot) -> None:
    assert boot.power_off < scaled(POWER_OFF_LIMIT)
    assert boot.logouts == 0
    assert "the session of the root file system stays" in boot.console
    assert boot.unclean == ""
