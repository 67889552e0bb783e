"""/etc/init.d/iscsid takes the actions and has the exit statuses of the Linux Standard Base.

The script is the real one; the daemon is ``small_daemon``, which starts, takes signals and ends as
iscsid does. Quotations are from Linux-iSCSI's manual page.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, wait_until
from tests.support.processes import is_alive
from tests.support.programs import environment, started

TOP = Path(__file__).parents[2]
SCRIPT = TOP / "etc" / "init.d" / "iscsid"
SERVICE = TOP / "etc" / "iscsid-service"
DAEMON = TOP / "tests" / "support" / "small_daemon.py"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may use an init script")


class Machine:
    """A directory that holds what the script finds on a machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pidfile = directory / "iscsid.pid"
        self.trace = directory / "trace"
        self.basedir = directory / "dev"
        self.initiatorname = directory / "initiatorname.iscsi"
        self.initiatorname.write_text("InitiatorName=iqn.2026-01.org.example:here\n")
        self.configuration = directory / "iscsi.conf"
        self.configuration.write_text("")
        self.fstab = directory / "fstab"
        self.fstab.write_text("")
        self.programs = directory / "bin"
        self.programs.mkdir()
        self.defaults = directory / "default"
        self.settings = {
            "DAEMON": f"{self.programs}/iscsid",
            "SERVICE": str(SERVICE),
            "CONFIG": str(self.configuration),
            "FSTAB": str(self.fstab),
            "WAIT_SECONDS": "20",
            "OPTIONS": f"--trace={self.trace}",
            "PIDFILE": str(self.pidfile),
            "BASEDIR": str(self.basedir),
            "INITIATORNAME": str(self.initiatorname),
            "STOP_SECONDS": "20",
            "PATH": f"{self.programs}:$PATH",
        }
        wait = f'case $1 in --wait=*) echo "$1" >>{directory}/waited; exit ;; esac'
        self.install("iscsid", f'{wait}\nexec {sys.executable} {DAEMON} "$@"')
        self.install("modprobe", f'echo "$@" >>{directory}/modprobe')
        self.install("iscsi-iname", "echo iqn.2026-01.org.example:made")

    def install(self, name: str, script: str) -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def link(self, path: str, node: str) -> None:
        link = self.basedir / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(node)

    def call(self, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return self._run(*before, "/bin/sh", str(SCRIPT), *words)

    def shut_down(self) -> subprocess.CompletedProcess[str]:
        return self._run("/bin/sh", f"{SCRIPT}-shutdown", "stop")

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        self.defaults.write_text(
            "".join(f'{name}="{value}"\n' for name, value in self.settings.items())
        )
        return subprocess.run(
            command,
            env={**environment(), "ISCSID_DEFAULTS": str(self.defaults)},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def received(self) -> list[str]:
        return [line for line in self.trace.read_text().splitlines() if line.endswith("Received")]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    if machine.pidfile.exists():
        pid = machine.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the daemon's end")


def test_start_starts_and_status_knows(machine: Machine) -> None:
    assert machine.call("status").returncode == 3, "not running"
    started = machine.call("start")
    assert (started.returncode, started.stdout) == (0, "iscsid: iscsid has been started\n")
    assert is_alive(machine.pid)
    assert (machine.directory / "modprobe").read_text().split() == [
        *("--quiet", "iscsi_tcp"),
        *("--quiet", "sg"),
    ]
    status = machine.call("status")
    assert (status.returncode, status.stdout) == (
        0,
        f"iscsid: iscsid is running, pid {machine.pid}\n",
    )


def test_daemon_is_not_ended_before_its_sessions_are_logged_out(machine: Machine) -> None:
    """A shutdown of sysvinit ends all processes, apart from those in this directory."""
    spared = machine.directory / "not-ended"
    spared.mkdir()
    machine.settings["NOT_ENDED"] = str(spared)
    machine.call("start")
    other = ["iscsid: fork server", "60"]
    with started(other, executable="/bin/sleep") as fork_server:
        assert machine.shut_down().returncode == 0
        pids = {int(pid) for pid in (spared / "iscsid").read_text().split()}
        assert {machine.pid, fork_server.pid} <= pids


def test_start_of_a_running_daemon_succeeds_and_changes_nothing(machine: Machine) -> None:
    machine.call("start")
    first = machine.pid
    assert machine.call("start").returncode == 0
    assert machine.pid == first


def test_start_makes_a_name_for_the_initiator_only_if_there_is_none(machine: Machine) -> None:
    """Linux-iSCSI: "persistent iSCSI InitiatorName"."""
    machine.call("start")
    assert machine.initiatorname.read_text().endswith(":here\n")
    machine.call("stop")
    machine.initiatorname.unlink()
    assert ":made" in machine.call("start").stdout
    assert machine.initiatorname.read_text() == "InitiatorName=iqn.2026-01.org.example:made\n"


def test_start_without_a_name_and_no_way_to_make_one_is_not_configured(machine: Machine) -> None:
    machine.initiatorname.unlink()
    machine.install("iscsi-iname", "exit 1")
    started = machine.call("start")
    assert started.returncode == 6
    assert "iscsi-iname cannot make a name" in started.stderr
    assert not machine.initiatorname.exists() and not machine.pidfile.exists()


def test_start_without_a_configuration_does_nothing_and_is_no_failure(machine: Machine) -> None:
    machine.configuration.unlink()
    started = machine.call("start")
    assert (started.returncode, started.stdout + started.stderr) == (0, "")
    assert not machine.pidfile.exists()


def test_start_waits_for_the_disks_and_mounts_their_lines_of_fstab(machine: Machine) -> None:
    """The innermost last, none twice, and what is missing is named unless it may be missing."""
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    outer, inner, absent = (machine.directory / name for name in ("a b", "a b/c", "absent"))
    device = machine.basedir / "bus0/target0/lun0/disk"
    escaped = str(outer).replace(" ", "\\040")
    machine.fstab.write_text(
        f"{device} {escaped} tmpfs _netdev 0 0\n"
        f"{device} {escaped}/c tmpfs defaults 0 0\n"
        f"{device} {machine.directory}/later tmpfs noauto 0 0\n"
        f"/dev/full {machine.directory}/other tmpfs defaults 0 0\n"
        f"{machine.basedir}/missing {absent} ext4 _netdev 0 2\n"
        f"{machine.basedir}/missing {machine.directory}/optional ext4 nofail 0 2\n"
    )
    machine.install("mount", 'echo "$1" >>' + f"{machine.directory}/mounts")
    machine.settings["DAEMON"] = f"{machine.programs}/iscsid"
    started = machine.call("start")
    assert (machine.directory / "waited").read_text() == "--wait=20\n"
    assert (machine.directory / "mounts").read_text() == f"{outer}\n{inner}\n"
    assert started.returncode == 1
    assert started.stderr == (
        f"iscsid: {machine.basedir}/missing is not there, so that {absent} is not mounted\n"
    )


def test_start_passes_on_why_the_daemon_did_not_start(machine: Machine) -> None:
    machine.settings["OPTIONS"] = "--fail=os"
    started = machine.call("start")
    assert started.returncode == 1
    assert started.stderr == "iscsid: [Errno 2] No such file: '/etc/iscsi.conf'\n"


def test_start_without_the_program_reports_that_it_is_not_installed(machine: Machine) -> None:
    machine.settings["DAEMON"] = "/nowhere/iscsid"
    assert machine.call("start").returncode == 5


def test_stop_interrupts_the_daemon_and_waits_for_its_end(machine: Machine) -> None:
    """Linux-iSCSI: "will die after shutting down all of the kernel's iSCSI sessions"."""
    machine.call("start")
    pid = machine.pid
    stopped = machine.call("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert machine.received() == ["InterruptReceived"]
    assert not machine.pidfile.exists()
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert machine.call("stop").returncode == 0, "what does not run is stopped"


def test_stop_does_not_wait_for_what_a_target_that_is_gone_has_not_written(
    machine: Machine,
) -> None:
    """sync(1) would wait for it without end, and the machine would not go down."""
    machine.install("sync", f"touch {machine.directory}/synced")
    machine.call("start")
    assert machine.call("stop").returncode == 0
    assert not (machine.directory / "synced").exists()


def test_stop_names_the_targets_that_do_not_answer(machine: Machine) -> None:
    machine.settings["SESSIONS"] = str(machine.directory)
    for number, (tag, state) in enumerate(
        (("iscsid:0:1:00", "LOGGED_IN"), ("iscsid:0:2:00", "FAILED"), ("default", "FAILED"))
    ):
        session = machine.directory / f"session{number}"
        session.mkdir()
        for name, text in (("ifacename", tag), ("state", state), ("targetname", f"iqn.{number}")):
            (session / name).write_text(f"{text}\n")
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    machine.call("start")
    assert machine.shut_down().stderr == (
        "iscsid: iqn.1 does not answer: if it does not within 30 seconds, it is given up, "
        "and what has not been written to its disks is lost\n"
    )
    assert "iscsid: iqn.1 does not answer: it gets no logout\n" in machine.call("stop").stderr
    assert machine.received() == ["PowerDownReceived", "InterruptReceived"]


def test_stop_unmounts_first_the_innermost_before_the_outer(machine: Machine) -> None:
    """Linux-iSCSI: "stopped after all iSCSI devices have been unmounted". Only iSCSI ones are."""
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    machine.link("bus0/target1/lun0/part1", "/dev/zero")
    outer, inner, other = (machine.directory / name for name in ("a b", "a b/c\\d", "other"))
    mounts = " && ".join(
        f"mkdir '{point}' && mount -t tmpfs {node} '{point}'"
        for point, node in ((outer, "/dev/null"), (inner, "/dev/zero"), (other, "/dev/full"))
    )
    script = f"""{mounts} || exit 9
        {machine.programs}/started || exit 8
        "$@"
        echo "status $?"
        grep -c {machine.directory} /proc/mounts
        """
    machine.install("started", f"ISCSID_DEFAULTS={machine.defaults} sh {SCRIPT} start")
    stopped = machine.call("stop", before=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert "status 0" in stopped.stdout, stopped
    assert stopped.stdout.splitlines()[-1] == "1", "the one that is not on an iSCSI device"
    assert machine.received() == ["InterruptReceived"]


def test_stop_logs_out_in_time_however_many_file_systems_do_not_answer(machine: Machine) -> None:
    """The unit's stop is ended after three minutes: what is not logged out by then never is."""
    points = [machine.directory / f"mounted-{number}" for number in range(4)]
    for number in range(4):
        machine.link(f"bus0/target{number}/lun0/disk", "/dev/null")
    mounts = " && ".join(f"mkdir {point} && mount -t tmpfs /dev/null {point}" for point in points)
    script = f"""{mounts} || exit 9
        {machine.programs}/started || exit 8
        "$@"
        """
    machine.install("started", f"ISCSID_DEFAULTS={machine.defaults} sh {SCRIPT} start")
    tried = machine.directory / "tried"
    machine.install("umount", f"echo $$ >>{tried}; exec sleep 600")
    machine.settings["UNMOUNT_SECONDS"] = "2"
    try:
        stopped = machine.call("stop", before=("unshare", "--mount", "sh", "-c", script, "sh"))
    finally:
        for pid in tried.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    assert stopped.stderr.count("its disk does not answer") == 4, stopped
    assert len(tried.read_text().split()) == 8, "two attempts for each"
    assert machine.received() == ["InterruptReceived"]


def test_stop_takes_apart_what_is_stacked_on_one_disk_while_another_is_in_use(
    machine: Machine,
) -> None:
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    machine.link("bus0/target1/lun0/disk", "/dev/zero")
    blocks = machine.directory / "block"
    (blocks / "zero/holders/dm-0").mkdir(parents=True)
    (blocks / "dm-0/dm").mkdir(parents=True)
    (blocks / "dm-0/dm/name").write_text("volume\n")
    machine.settings["BLOCK"] = str(blocks)
    machine.install("umount", "exit 1")
    machine.install("dmsetup", f'echo "$@" >>{machine.directory}/dmsetup')
    point = machine.directory / "mounted"
    script = f"""mkdir {point} && mount -t tmpfs /dev/null {point} || exit 9
        {machine.programs}/started || exit 8
        "$@"
        """
    machine.install("started", f"ISCSID_DEFAULTS={machine.defaults} sh {SCRIPT} start")
    stopped = machine.call("stop", before=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert "cannot be unmounted" in stopped.stderr, stopped
    assert (machine.directory / "dmsetup").read_text() == "remove --retry volume\n"


def test_stop_names_the_process_that_is_in_the_way(machine: Machine) -> None:
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    point = machine.directory / "mounted"
    script = f"""mkdir {point} && mount -t tmpfs /dev/null {point} || exit 9
        {machine.programs}/started || exit 8
        sleep 60 >{point}/file &
        "$@"
        kill $!
        umount {point}
        """
    machine.install("started", f"ISCSID_DEFAULTS={machine.defaults} sh {SCRIPT} start")
    stopped = machine.call("stop", before=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert re.search(
        rf"iscsid: {point} \(/dev/null\) cannot be unmounted: in use by sleep \(pid \d+\)\n",
        stopped.stderr,
    ), stopped


def test_stop_reports_when_sessions_in_use_were_left_alone(machine: Machine) -> None:
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    machine.settings["OPTIONS"] += " --fail=busy"
    machine.call("start")
    stopped = machine.call("stop")
    assert stopped.returncode == 1
    assert stopped.stderr == (
        "iscsid: sessions whose disks are in use have been left alone\n"
        "iscsid: not all sessions have been logged out\n"
    )


def test_stop_of_a_daemon_that_does_not_end_gives_up_after_its_time(machine: Machine) -> None:
    machine.call("start")
    machine.settings["STOP_SECONDS"] = "1"
    os.kill(machine.pid, signal.SIGSTOP)
    stopped = machine.call("stop")
    assert stopped.returncode == 1
    assert "has not ended within 1 seconds" in stopped.stderr
    assert is_alive(machine.pid)


def test_restart_touches_no_session(machine: Machine) -> None:
    """SIGTERM and a new start: file systems stay mounted, links stay."""
    machine.link("bus0/target0/lun0/disk", "/dev/null")
    machine.call("start")
    first = machine.pid
    restarted = machine.call("restart")
    assert restarted.returncode == 0, restarted.stderr
    assert machine.received() == ["TerminateReceived"]
    assert machine.pid != first
    wait_until(lambda: not is_alive(first), "the first daemon's end")
    assert (machine.basedir / "bus0/target0/lun0/disk").is_symlink()


def test_restart_of_what_does_not_run_starts_and_try_restart_does_not(machine: Machine) -> None:
    assert machine.call("try-restart").returncode == 0
    assert not machine.pidfile.exists()
    assert machine.call("restart").returncode == 0
    assert is_alive(machine.pid)


@pytest.mark.parametrize("verb", ["reload", "force-reload"])
def test_reload_hangs_up(machine: Machine, verb: str) -> None:
    """Linux-iSCSI: "will restart all discovery processes and reprobe LUNs on all targets"."""
    machine.call("start")
    assert machine.call(verb).returncode == 0
    wait_until(lambda: machine.received() == ["HangupReceived"], "the hangup received")
    assert is_alive(machine.pid)


def test_reload_of_what_does_not_run_is_reported(machine: Machine) -> None:
    reloaded = machine.call("reload")
    assert (reloaded.returncode, reloaded.stderr) == (7, "iscsid: iscsid is not running\n")


def test_status_distinguishes_a_daemon_that_died_from_one_that_was_stopped(
    machine: Machine,
) -> None:
    machine.call("start")
    pid = machine.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert machine.call("status").returncode == 1
    assert machine.call("start").returncode == 0
    assert machine.pid != pid


@pytest.mark.parametrize("words", [(), ("frobnicate",)])
def test_an_unknown_verb_is_answered_with_the_usage(
    machine: Machine, words: tuple[str, ...]
) -> None:
    called = machine.call(*words)
    assert called.returncode == 2
    assert called.stderr.startswith("Usage: ")


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "reload"])
def test_who_is_not_root_lacks_the_privilege(machine: Machine, verb: str) -> None:
    machine.directory.chmod(0o755)
    machine.install("id", "echo 65534")
    assert machine.call(verb).returncode == 4


def test_the_header_is_that_of_the_linux_standard_base() -> None:
    """Linux-iSCSI: "should be started after networking is configured"."""
    text = SCRIPT.read_text()
    found = re.search(r"(?s)### BEGIN INIT INFO\n(.*?)### END INIT INFO\n", text)
    assert found
    header = dict(
        line.removeprefix("# ").split(":", 1)
        for line in found[1].splitlines()
        if not line.startswith("#  ")
    )
    assert header["Provides"].strip() == "iscsid"
    assert "$network" in header["Required-Start"] and "$network" in header["Required-Stop"]
    assert {"Default-Start", "Default-Stop", "Short-Description"} <= header.keys()
    assert os.access(SCRIPT, os.X_OK)
