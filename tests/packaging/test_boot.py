"""The package on a machine of its own, under systemd: first boot, configuration, upgrade, poweroff.

Three boots of one image answer all questions. The targets are outside; a relay in front of each
notes the opcodes that come. The machine's network is ifupdown's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.packaging.conftest import HIGHER, Installation, Targets
from tests.packaging.machine import Machine
from tests.packaging.pdu_relay import LOGIN, LOGOUT
from tests.packaging.readme import commands
from tests.support.patience import scaled

pytestmark = pytest.mark.limit(900)

DATA = "/dev/iscsi/bus0/target0/lun1/disk"
"""The README's disk; /data is where it is mounted."""
STACKED = "/dev/iscsi/bus0/target1/lun1/disk"
HOME = "/dev/iscsi/bus0/target0/lun2/disk"
PART = "/dev/iscsi/bus0/target0/lun3/part1"
PART_OFFSET = 1 << 20
ESCAPED = "dev-iscsi-bus0-target0-lun3-part1"
"""As systemd writes ``PART`` in the names of its units."""
FSTAB = f"""\
{HOME} /home ext4 defaults 0 2
{PART} /srv/part ext4 _netdev 0 2
{STACKED} /srv/dead ext4 nofail 0 2
/dev/iscsi/bus0/target2/lun1/disk /srv/held ext4 _netdev,nofail 0 2
"""
MOUNT_POINTS = ("/data", "/home", "/srv/dead", "/srv/held", "/srv/part")
MOUNTED = "findmnt -nro TARGET -t ext4 | grep -v '^/$' | sort | tr '\\n' ' '"
FAILED = "systemctl --failed --plain --no-legend"
EVENTS = {
    "kill": "pid=$(cat /run/iscsid.pid); systemctl kill -s KILL --kill-who=main iscsid; "
    "until test $(cat /run/iscsid.pid) != $pid && iscsid --wait=120; do sleep 0.2; done",
    "trigger": "udevadm trigger -s block -c change && udevadm settle",
    "reload": "systemctl reload iscsid; "
    "until journalctl -b -o cat -u iscsid | grep -q SIGHUP; do sleep 0.2; done; udevadm settle",
    "restart": "systemctl restart iscsid",
    "upgrade": f"cd /root && apt-get install ./dist/iscsid_{HIGHER}_all.deb",
    "stop": "systemctl stop iscsid",
}
"""What neither a session nor a mounted file system may notice, in this order."""
WRITER = """\
i=0
while :; do
    i=$((i + 1))
    echo $i >/srv/part/next && mv /srv/part/next /srv/part/count && sync -f /srv/part || exit 1
    echo $i >/run/next && mv /run/next /run/written
done
"""
POWER_OFF_LIMIT = 90.0
"""Seconds for a machine whose targets answer; an emulated one takes ten."""
DEAD_LIMIT = 240.0
"""Seconds with a target that does not: half a minute is the daemon's, the rest systemd's."""


@dataclass
class Boot:
    """What was seen in one boot."""

    seen: dict[str, str] = field(default_factory=dict)
    console: str = ""
    power_off: float = 0.0
    logouts: dict[str, int] = field(default_factory=dict)
    logins: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, package: Path, higher_package: Path
) -> Installation:
    return Installation(tmp_path_factory.mktemp("installation"), package, higher_package)


@contextmanager
def booted(installation: Installation, name: str) -> Iterator[Machine]:
    machine = Machine(installation.image, installation.initrd, installation.directory, name)
    try:
        machine.wait_for_shell()
        machine.wait_until("systemctl is-active multi-user.target")
        yield machine
    finally:
        machine.stop()


def power_off(machine: Machine, targets: Targets, boot: Boot, limit: float) -> None:
    before = {name: relay.count(LOGOUT) for name, relay in targets.relays.items()}
    boot.power_off = machine.power_off(limit=limit)
    boot.console = machine.console
    boot.logouts = {n: r.count(LOGOUT) - before[n] for n, r in targets.relays.items()}


@pytest.fixture(scope="module")
def first(installation: Installation, targets: Targets) -> Boot:
    """Nothing is configured; then it is, and file systems are made."""
    boot = Boot()
    with booted(installation, "first") as machine:
        boot.seen["failed"] = machine.check(FAILED)
        boot.seen["states"] = machine.run("systemctl is-active 'iscsid*'")[1]
        boot.seen["enabled"] = machine.check("systemctl is-enabled iscsid")
        boot.seen["log"] = machine.check("journalctl -b -o cat -u 'iscsid*'")
        boot.seen["warnings"] = machine.check(
            "journalctl -b -p warning -o cat | grep -i iscsi || :"
        )
        boot.seen["name"] = machine.check("cat /etc/initiatorname.iscsi")
        address, check, start, wait, listing, make, *mount = commands("First configuration")
        assert address.startswith("echo DiscoveryAddress=")
        # The target knows itself by an address that the machine cannot reach.
        machine.check(f"cat >/etc/iscsi.conf <<'end'\n{targets.configuration}end")
        for command in (check, start, wait):
            machine.check(command)
        boot.seen["listing"] = machine.check(listing)
        machine.wait_until(f"test -L {PART}")
        for line in FSTAB.splitlines():
            device, point = line.split()[:2]
            machine.check(f"mkfs.ext4 -q {device} && mkdir -p {point}")
        machine.check(f"cat >>/etc/fstab <<'end'\n{FSTAB}end")
        for command in (make, *mount):
            machine.check(command)
        boot.seen["data"] = machine.check("findmnt -nro SOURCE /data; readlink -f " + DATA)
        # By hand and from no line of fstab: systemd does not order the end of this mount.
        machine.check(f"mkdir /mnt/hand && mount $(readlink -f {HOME}) /mnt/hand")
        machine.check("findmnt -nro SOURCE /mnt/hand && echo by hand >/mnt/hand/hand")
        # As with LVM, the disk has no file system of its own, but a device-mapper device on it.
        machine.check(
            f"echo 0 $(blockdev --getsz {STACKED}) linear {STACKED} 0 | dmsetup create top"
        )
        machine.check("mkdir /mnt/top && mount /dev/mapper/top /mnt/top")
        machine.check("echo stacked >/mnt/top/stacked")
        machine.check("sed -i s/^OPTIONS=.*/OPTIONS=-d/ /etc/default/iscsid")
        machine.check("systemctl stop iscsid")
        power_off(machine, targets, boot, POWER_OFF_LIMIT)
    return boot


@pytest.fixture(scope="module")
def second(first: Boot, installation: Installation, targets: Targets) -> Boot:
    """Everything is mounted at boot; the daemon is restarted, stopped and upgraded under I/O."""
    boot = Boot()
    with booted(installation, "second") as machine:
        logins = {name: relay.count(LOGIN) for name, relay in targets.relays.items()}
        boot.seen["mounted"] = machine.check(MOUNTED)
        boot.seen["failed"] = machine.check(FAILED)
        machine.check(f"cat >/run/writer <<'end'\n{WRITER}end")
        machine.check("systemd-run --unit=writer sh /run/writer")
        boot.seen["command"] = machine.check("tr '\\0' ' ' </proc/$(cat /run/iscsid.pid)/cmdline")
        boot.seen["sids"] = sessions(machine)
        for unit in (f"{ESCAPED}.device", f"systemd-fsck@{ESCAPED}.service"):
            boot.seen[unit] = machine.run(f"systemctl is-active '{unit}'")[1]
        for what, command in EVENTS.items():
            writes_go_on(machine)
            machine.check(command)
            writes_go_on(machine)
            boot.seen[f"{what} sids"] = sessions(machine)
            boot.seen[f"{what} mounted"] = machine.check(MOUNTED)
            boot.seen[f"{what} state"] = machine.run("systemctl is-active iscsid")[1]
        boot.seen["version"] = machine.check("dpkg-query -Wf '${Version}' iscsid")
        boot.seen["name"] = machine.check("cat /etc/initiatorname.iscsi")
        machine.check("systemctl stop writer; cp /run/written /srv/part/written; sync")
        machine.check("systemctl start iscsid && iscsid --wait=120")
        boot.logins = {n: r.count(LOGIN) - logins[n] for n, r in targets.relays.items()}
        boot.seen["removal"] = str(machine.run(commands("Removal")[0]))
        # Mounted when the daemon started, and so in its mount namespace: there must be nothing left
        # of that when it is unmounted, or the disk would be in use.
        machine.check("umount -a -t ext4 -O _netdev")
        look_at_the_name(machine, boot)
        (log_out,) = commands("Boot and shutdown")
        machine.check(log_out)
        boot.seen["after the logout"] = sessions(machine)
        machine.check("systemctl start iscsid && iscsid --wait=120 && mount -a")
        machine.check("echo at home >/home/file")
        power_off(machine, targets, boot, POWER_OFF_LIMIT)
    return boot


@pytest.fixture(scope="module")
def third(second: Boot, installation: Installation, targets: Targets) -> Boot:
    """A target dies and a process does not let go; the daemon is not running at the shutdown."""
    boot = Boot()
    with booted(installation, "third") as machine:
        boot.seen["mounted"] = machine.check(MOUNTED)
        machine.check("echo synced >/srv/held/synced; sync")
        # The shell of the test is not ended at the shutdown, and so this is not, either.
        machine.check("tail -f /dev/null >>/srv/held/open & sleep 0")
        machine.check("echo lost >/srv/dead/lost")
        targets.relays["dead"].refuse()
        machine.wait_until(
            'iscsi-ls --json | grep -q \'"state": "\\(down\\|reading CmdSN\\|logging in again\\)\''
        )
        power_off(machine, targets, boot, DEAD_LIMIT)
    return boot


def sessions(machine: Machine) -> str:
    return machine.check("echo /sys/class/iscsi_session/session*")


def look_at_the_name(machine: Machine, boot: Boot) -> None:
    """Take the link away and have it lead elsewhere, with an event of its device each time."""
    machine.check(f"part=$(basename $(readlink -f {PART}))")
    for link, command in (("no", f"rm {PART}"), ("wrong", f"ln -s /dev/${{part%[0-9]}} {PART}")):
        machine.check(command)
        machine.check("echo change >/sys/class/block/$part/uevent; udevadm settle")
        boot.seen[f"{link} link"] = machine.check("udevadm info /dev/$part | grep ALIAS || :")
        machine.wait_until(f"test $(systemctl is-active {ESCAPED}.device) = inactive")
    machine.check(f"ln -sfn /dev/$part {PART}")


def writes_go_on(machine: Machine) -> None:
    before = int(machine.check("cat /run/written 2>/dev/null || echo 0"))
    machine.wait_until(f'test "$(cat /run/written)" -gt {before}')


def test_first_boot_without_a_configuration_is_quiet(first: Boot) -> None:
    assert first.seen["failed"] == ""
    assert set(first.seen["states"].split()) <= {"inactive"}
    assert first.seen["enabled"] == "enabled"
    assert first.seen["warnings"] == ""
    assert "skipped" in first.seen["log"] or first.seen["log"] in ("", "-- No entries --")


def test_commands_of_the_readme_lead_to_a_mounted_disk(first: Boot) -> None:
    assert targets_shown(first.seen["listing"])
    source, device = first.seen["data"].split()
    assert source == device


def targets_shown(listing: str) -> bool:
    return all(name in listing for name in ("sda", "sdb", "sdc"))


def test_package_makes_a_name_for_the_initiator(first: Boot, second: Boot) -> None:
    assert first.seen["name"].startswith("InitiatorName=iqn.")
    assert second.seen["name"] == first.seen["name"], "a restart or the upgrade has changed it"


def test_poweroff_without_a_daemon_logs_out_all_the_same(first: Boot) -> None:
    assert first.logouts == {"clean": 1, "dead": 1, "held": 1}
    assert first.power_off < scaled(POWER_OFF_LIMIT)


def test_what_was_mounted_by_hand_is_unmounted_before_the_logout(
    first: Boot, targets: Targets
) -> None:
    assert targets.read("clean", 2, "hand") == "by hand\n"


def test_what_is_stacked_on_a_disk_is_taken_apart_before_the_logout(
    first: Boot, targets: Targets
) -> None:
    assert first.logouts["dead"] == 1
    assert targets.read("dead", 1, "stacked") == "stacked\n"


def test_lines_of_fstab_are_checked_and_mounted_at_boot(
    second: Boot,
) -> None:
    assert second.seen["mounted"].split() == sorted(MOUNT_POINTS)
    assert second.seen["failed"] == ""
    assert second.seen[f"{ESCAPED}.device"] == "active"
    assert second.seen[f"systemd-fsck@{ESCAPED}.service"] == "active"


def test_systemd_knows_a_name_only_while_its_link_leads_to_the_device(second: Boot) -> None:
    assert (second.seen["no link"], second.seen["wrong link"]) == ("", "")


@pytest.mark.parametrize("what", EVENTS)
def test_no_session_and_no_mount_notices_the_end_of_a_daemon(second: Boot, what: str) -> None:
    assert second.seen[f"{what} sids"] == second.seen["sids"]
    assert second.seen[f"{what} mounted"] == second.seen["mounted"]
    assert second.seen[f"{what} state"] == ("inactive" if what == "stop" else "active")
    assert second.logins == {"clean": 0, "dead": 0, "held": 0}, "more than the logins of the boot"


def test_daemon_starts_with_the_options_of_etc_default(second: Boot) -> None:
    assert second.seen["command"].split()[1:] == ["/usr/sbin/iscsid", "-n", "-d"]


def test_removal_is_refused_while_disks_are_in_use(second: Boot) -> None:
    assert "unmount them before the package is removed" in second.seen["removal"]
    assert "/home" in second.seen["removal"] and "(0," not in second.seen["removal"]


def test_stopping_the_unit_of_the_sessions_logs_out(second: Boot) -> None:
    assert second.seen["after the logout"] == "/sys/class/iscsi_session/session*"


def test_upgrade_installs_the_higher_version(second: Boot) -> None:
    assert second.seen["version"] == HIGHER


def test_poweroff_with_everything_mounted_logs_out_of_every_target(
    second: Boot, targets: Targets
) -> None:
    assert second.logouts == {"clean": 1, "dead": 1, "held": 1}
    assert second.power_off < scaled(POWER_OFF_LIMIT)


def test_data_are_intact_and_file_systems_are_clean(second: Boot, targets: Targets) -> None:
    for name, lun, offset in (("clean", 1, 0), ("clean", 2, 0), ("clean", 3, PART_OFFSET)):
        assert targets.fsck(name, lun, offset=offset) == ""
    written = targets.read("clean", 3, "written", offset=PART_OFFSET)
    assert int(targets.read("clean", 3, "count", offset=PART_OFFSET)) >= int(written) > 0
    assert targets.read("clean", 2, "file") == "at home\n"


def test_poweroff_with_a_dead_target_and_a_disk_in_use_ends_in_time(
    third: Boot, targets: Targets
) -> None:
    assert third.power_off < scaled(DEAD_LIMIT)
    assert third.logouts["clean"] == 1
    assert targets.read("held", 1, "synced") == "synced\n"


def test_console_tells_what_is_in_the_way(third: Boot, targets: Targets) -> None:
    assert "/srv/held" in third.console and "in use by tail" in third.console
    assert f"{targets.full_name('dead')} does not answer" in third.console
