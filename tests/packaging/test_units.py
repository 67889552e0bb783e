"""The systemd units as files: what follows each exit status, and how little the daemon may do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from iscsid.exit_status import ExitStatus
from tests.vm.paths import CHECKOUT

UNITS = CHECKOUT / "etc" / "systemd"
DAEMON = UNITS / "iscsid.service"


def values(unit: Path, name: str) -> list[str]:
    """Return the words of all lines that set ``name``."""
    lines = re.findall(rf"(?m)^{name}=(.*)$", unit.read_text())
    return [word for line in lines for word in line.split()]


def test_only_what_a_restart_can_mend_is_started_again() -> None:
    """Each status is a success, one that only a person can change, or followed by a restart."""
    assert values(DAEMON, "Restart") == ["on-failure"]
    ends = {ExitStatus(int(word)) for word in values(DAEMON, "SuccessExitStatus")}
    hopeless = {ExitStatus(int(word)) for word in values(DAEMON, "RestartPreventExitStatus")}
    assert ends | {ExitStatus.SUCCESS} == {ExitStatus.SUCCESS, ExitStatus.SESSIONS_LEFT}
    assert hopeless == {ExitStatus.FAILURE, ExitStatus.USAGE}
    assert set(ExitStatus) - ends - hopeless - {ExitStatus.SUCCESS} == {ExitStatus.BUG}


def test_a_daemon_that_fails_time_and_again_is_not_started_for_ever() -> None:
    assert values(DAEMON, "StartLimitBurst") and values(DAEMON, "StartLimitIntervalSec")


def test_a_daemon_whose_loop_hangs_is_started_again() -> None:
    assert values(DAEMON, "WatchdogSec") == ["3min"]


def test_worker_that_the_kernel_kills_for_want_of_memory_does_not_end_the_daemon() -> None:
    """By default systemd stops a unit of which the out-of-memory killer has ended one process."""
    assert values(DAEMON, "OOMPolicy") == ["continue"]


def test_the_security_score_is_below_4() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(DAEMON)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"Overall exposure level for iscsid.service: ([\d.]+)", done.stdout)
    assert found, done
    assert float(found[1]) < 4.0


@pytest.mark.parametrize("capability", ["SYS_PTRACE", "DAC_READ_SEARCH", "SYS_CHROOT", "SYS_ADMIN"])
def test_the_daemon_can_see_who_uses_a_disk(capability: str) -> None:
    """What cannot be looked at counts as use: without these no session is ever logged out."""
    assert f"CAP_{capability}" in values(DAEMON, "CapabilityBoundingSet")
    assert values(DAEMON, "RestrictNamespaces") == ["mnt"]


@pytest.mark.parametrize(
    "covering", ["ProtectHome", "PrivateTmp", "PrivateDevices", "InaccessiblePaths"]
)
def test_nothing_is_covered_on_which_a_file_system_may_be_mounted(covering: str) -> None:
    """The daemon would keep what is unmounted everywhere else, and its disk would stay in use."""
    assert values(DAEMON, covering) == []


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_programs_have_full_paths(unit: Path) -> None:
    """Open-iscsi's daemon has the same name."""
    commands = re.findall(r"(?m)^Exec\w+=[-+!@:]*(\S+)", unit.read_text())
    assert commands and all(command.startswith("/") for command in commands)


@pytest.mark.parametrize("name", ["iscsid.service", "iscsid-sessions.service"])
def test_units_are_stopped_before_the_network(name: str) -> None:
    """The order of a stop is the reverse of the start's."""
    after = values(UNITS / name, "After")
    networks = ["networking.service", "systemd-networkd.service", "NetworkManager.service"]
    assert {"network.target", "network-online.target", *networks} <= set(after)
    assert "remote-fs-pre.target" in values(UNITS / name, "Before")


def test_sessions_are_logged_out_while_the_daemon_runs() -> None:
    assert "iscsid.service" in values(UNITS / "iscsid-sessions.service", "After")
    assert "iscsid.service" in values(UNITS / "iscsid-shutdown.service", "After")


def test_a_stop_has_time_to_log_out_after_all_that_cannot_be_unmounted() -> None:
    """Half a minute is left for the start of a daemon that takes the sessions over."""
    (limit,) = values(UNITS / "iscsid-sessions.service", "TimeoutStopSec")
    script = (CHECKOUT / "etc/iscsid-service").read_text()
    parts = re.findall(r"(?m)^(?:STOP|UNMOUNT)_SECONDS=(\d+)$", script)
    assert limit == "3min" and len(parts) == 2
    assert sum(int(part) for part in parts) + 30 <= 180


FSTAB = """\
# a comment
/dev/sda1 / ext4 defaults 0 1
/dev/iscsi/bus0/target0/lun1/disk /plain ext4 defaults 0 2
/dev/iscsi/bus0/target0/lun2/disk /optional ext4 nofail 0 2
/dev/iscsi/bus0/target0/lun3/disk /told ext4 rw,_netdev 0 2
/dev/iscsi/bus0/target0/lun4/disk /by-hand ext4 noauto 0 2
"""


def test_generator_makes_remote_file_systems_of_all_lines_with_our_names(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(FSTAB)
    normal, early, late = (tmp_path / name for name in ("normal", "early", "late"))
    for directory in (normal, early, late):
        directory.mkdir()
    subprocess.run(
        [UNITS / "iscsid-fstab-generator", normal, early, late],
        env={"SYSTEMD_FSTAB": str(fstab), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=60,
    )
    assert list(normal.iterdir()) + list(late.iterdir()) == []
    mounts = sorted(path.name for path in early.glob("*.mount"))
    assert mounts == ["by\\x2dhand.mount", "optional.mount", "plain.mount"]
    assert "Before=remote-fs.target" in (early / "plain.mount").read_text()
    assert (early / "remote-fs.target.requires" / "plain.mount").is_symlink()
    assert (early / "remote-fs.target.wants" / "optional.mount").is_symlink()
    assert not list(early.glob("*/by*"))


def test_generator_does_nothing_without_our_names(tmp_path: Path) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text("/dev/sda1 / ext4 defaults 0 1\n")
    subprocess.run(
        [UNITS / "iscsid-fstab-generator", tmp_path / "a", tmp_path / "b", tmp_path / "c"],
        env={"SYSTEMD_FSTAB": str(fstab), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=60,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fstab"]
