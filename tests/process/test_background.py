"""A daemon that starts, or fails to, as the shell that started it sees it.

The shell is the test, the daemon is ``small_daemon``; quotations are from FreeBSD's and
Linux-iSCSI's manual pages.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, wait_until
from tests.support.processes import is_alive
from tests.support.programs import environment, started

DAEMON = Path(__file__).parents[1] / "support" / "small_daemon.py"


class Shell:
    """Starts daemons in a directory of their own, and ends those that still live."""

    def __init__(self, directory: Path) -> None:
        self.pidfile = directory / "iscsid.pid"
        self.lock = directory / "iscsid.pid.lock"
        self.trace = directory / "trace"

    def arguments(self, *options: str) -> list[str]:
        return [
            *(sys.executable, "-W", "error", str(DAEMON)),
            *(f"--pidfile={self.pidfile}", f"--trace={self.trace}", *options),
        ]

    def start(self, *options: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*before, *self.arguments(*options)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def lines(self) -> list[str]:
        """Return what the daemon has written so far."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def wait_for_open_files(self, *files: Path) -> None:
        """Wait until these are all that the daemon has open: it opens the trace for each line."""
        wanted = {str(file) for file in files}
        wait_until(lambda: files_of(self.pid) == wanted, lambda: f"{files_of(self.pid)} are open")

    def end(self) -> None:
        if self.pidfile.exists():
            pid = self.pid
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_alive(pid), "the daemon's end")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def test_the_shell_goes_on_when_the_daemon_is_ready(shell: Shell) -> None:
    """FreeBSD: "exits 0 on success". What waits for the output sees its end, too."""
    started = shell.start()
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert is_alive(shell.pid)


def test_the_daemon_has_a_life_of_its_own(shell: Shell) -> None:
    """No terminal, its own session, the directory /, umask 022, nothing on the standard streams."""
    shell.start()
    wait_until(shell.lines, "a trace")
    pid = shell.pid
    _, shown, directory, mask, session = shell.lines()[0].split()
    assert (int(shown), directory, mask) == (pid, "/", "022")
    assert int(session) not in (pid, os.getsid(0)), "it cannot get a terminal again"
    streams = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}
    assert streams == {"/dev/null"}


def test_sigterm_ends_it_in_order_and_the_pid_file_goes(shell: Shell) -> None:
    """Linux-iSCSI, of a first signal: "The daemon and all of it's children will die."."""
    shell.start()
    pid = shell.pid
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert not shell.pidfile.exists()
    assert shell.lines()[1:] == ["TerminateReceived"]


def test_a_signal_sent_as_soon_as_the_pid_is_known_is_obeyed(shell: Shell) -> None:
    """Linux-iSCSI: "You may easily send a signal to iscsid", at any time."""
    with started(shell.arguments()) as starting:
        wait_until(
            lambda: shell.pidfile.exists() and shell.pidfile.read_text().endswith("\n"), "a pid"
        )
        pid = shell.pid
        os.kill(pid, signal.SIGHUP)
        wait_until(
            lambda: any("HangupReceived" in line for line in shell.lines()), "the hangup received"
        )
        assert starting.wait(PATIENCE) == 0
    assert is_alive(pid)


@pytest.mark.parametrize(
    ("how", "status", "line"),
    [
        ("error", 1, "iscsid: the kernel's iSCSI is missing; load iscsi_tcp\n"),
        ("os", 1, "iscsid: [Errno 2] No such file: '/etc/iscsi.conf'\n"),
        ("exit", 3, ""),
        ("kill", 1, "iscsid: the daemon died before it was ready\n"),
    ],
)
def test_the_shell_learns_why_the_daemon_could_not_start(
    shell: Shell, how: str, status: int, line: str
) -> None:
    """FreeBSD: ">0 if an error occurs", though the error occurs in a process long detached."""
    started = shell.start(f"--fail={how}")
    assert (started.returncode, started.stderr) == (status, line)
    if how != "kill":
        assert not shell.pidfile.exists()
    assert shell.start().returncode == 0


def test_a_fault_of_ours_shows_its_traceback_and_has_a_status_of_its_own(shell: Shell) -> None:
    started = shell.start("--fail=bug")
    assert started.returncode == 70
    assert "Traceback (most recent call last)" in started.stderr
    assert "iscsid: AssertionError: one that was not expected\n" in started.stderr


def test_a_second_daemon_is_refused_and_the_first_is_named(shell: Shell) -> None:
    shell.start()
    first = shell.pid
    second = shell.start()
    assert second.returncode == 1
    assert second.stderr == (
        f"iscsid: iscsid is already running, pid {first} (pid file {shell.pidfile})\n"
    )
    assert shell.pid == first and is_alive(first)


def test_of_two_started_at_once_one_runs_and_the_other_reports_it(shell: Shell) -> None:
    starting = [
        subprocess.Popen(shell.arguments(), env=environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = sorted(process.communicate(timeout=PATIENCE)[1] for process in starting)
    assert sorted(process.returncode for process in starting) == [0, 1]
    assert errors == [
        "",
        f"iscsid: iscsid is already running, pid {shell.pid} (pid file {shell.pidfile})\n",
    ]


def test_a_stale_pid_file_is_no_obstacle(shell: Shell) -> None:
    shell.start()
    os.kill(shell.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(shell.pid), "the daemon's end")
    assert shell.start().returncode == 0
    assert is_alive(shell.pid)


def test_in_the_foreground_it_stays_the_shells_child(shell: Shell) -> None:
    """Linux-iSCSI: "Avoid auto-backgrounding."."""
    with started(shell.arguments("-n")) as process:
        wait_until(shell.trace.exists, "a trace")
        assert shell.pid == process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert shell.lines()[1:] == ["InterruptReceived"]
    assert not shell.pidfile.exists()


def test_in_the_foreground_failures_are_plain(shell: Shell) -> None:
    started = shell.start("-n", "--fail=error")
    assert started.returncode == 1
    assert started.stderr == "iscsid: the kernel's iSCSI\nis missing; load iscsi_tcp\n"
    assert not shell.pidfile.exists()


CLOSED = pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])


def files_of(pid: int) -> set[str]:
    """Return the files that a process has open, its standard streams aside."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.add((int(entry.name), os.readlink(entry)))
    return {file for fd, file in found if fd > 2 and file.startswith("/")}


@CLOSED
def test_it_starts_with_closed_standard_streams(shell: Shell, closed: str) -> None:
    """The pid file must not become standard error, for one thing."""
    started = shell.start(before=["sh", "-c", f'"$@" {closed}', "sh"])
    assert started.returncode == 0
    shell.wait_for_open_files(shell.pidfile, shell.lock)


@CLOSED
def test_it_stays_in_the_foreground_with_closed_standard_streams(shell: Shell, closed: str) -> None:
    arguments = ["sh", "-c", f'exec "$@" {closed}', "sh", *shell.arguments("-n")]
    with started(arguments) as process:
        wait_until(shell.trace.exists, "a trace")
        assert shell.pid == process.pid
        shell.wait_for_open_files(shell.pidfile, shell.lock)
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_failure_with_a_closed_standard_error_still_has_its_status(shell: Shell) -> None:
    started = shell.start("--fail=error", before=["sh", "-c", '"$@" 2>&-', "sh"])
    assert started.returncode == 1


def test_descriptors_of_the_shell_are_closed(shell: Shell) -> None:
    """What a terminal or a script has left open is not kept busy for ever."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    subprocess.run(
        shell.arguments(), env=environment(), pass_fds=[writer], timeout=PATIENCE, check=True
    )
    os.close(writer)
    assert os.read(reader, 1) == b"", "another process still holds the other end"
    os.close(reader)


def test_the_directory_it_was_started_in_can_be_unmounted(shell: Shell, tmp_path: Path) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    subprocess.run(shell.arguments(), env=environment(), cwd=directory, check=True)
    assert os.readlink(f"/proc/{shell.pid}/cwd") == "/"
