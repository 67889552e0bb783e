"""The life of a worker, seen from inside by test jobs and from outside through /proc."""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from iscsid.errors import ConnectionFailed, Failure, Retry
from iscsid.facts import LoginFailed, ScanFinished, WorkerEnded
from iscsid.jobs import Job, JobId, ReadFilesJob, WorkerJob
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Authentication, Credentials
from iscsid.secret import Secret
from iscsid.workers.reporter import Reporter
from iscsid.workers.worker_main import attempt
from tests.support.jobs import login_job, scan_job
from tests.support.supervisor_harness import (
    WorkersHarness,
    forked,
    not_confined,
    open_descriptors,
    status_of,
    until,
)


def reporting(look: Callable[[], object]) -> Callable[[Job, Reporter], None]:
    """A job that reports what it sees, and then finishes as a scan."""

    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.log(Level.INFO, repr(look()))
        reporter.report(ScanFinished(job.id))

    return run_job


def reported(look: Callable[[], object], *others: Job) -> str:
    """What a job reports that was started after ``others``."""
    harness = WorkersHarness(reporting(look))
    harness.run(*others, scan_job(9))
    return harness.lines[-1]


def raising(error: BaseException) -> Callable[[Job, Reporter], None]:
    def run_job(_job: Job, reporter: Reporter) -> None:
        reporter.progress("testing")
        raise error

    return run_job


# --- what it lets go of -------------------------------------------------------------------------


def test_nothing_but_its_channel_and_the_standard_streams_is_open() -> None:
    """Of its siblings' channels above all: a copy would keep a dead sibling's end from showing."""

    def run_job(job: Job, reporter: Reporter) -> None:
        if job.id == 9:
            reporter.log(Level.INFO, repr(sorted(open_descriptors())))
            reporter.log(Level.INFO, repr(reporter.fileno()))
        else:
            signal.pause()

    with socket.socket(), open(os.devnull):
        harness = WorkersHarness(run_job)
        for job in (scan_job(1), scan_job(2), scan_job(9)):
            harness.start(job)
        harness.until(lambda: len(harness.supervisor) == 2)
        descriptors, channel = map(literal_eval, harness.lines)
        harness.supervisor.end_all()
    assert [fd for fd in descriptors if fd > 2] == [channel]


def test_its_end_shows_although_siblings_live_on() -> None:
    def run_job(job: Job, _reporter: Reporter) -> None:
        if job.id == 1:
            raise RuntimeError
        signal.pause()

    harness = WorkersHarness(run_job)
    for number in (1, 2, 3):
        harness.start(scan_job(number))
    harness.until(lambda: harness.supervisor.processes == 2)
    harness.supervisor.end_all()


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """The signal handlers and the wake-up descriptor of a daemon."""
    received: list[int] = []
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = {
        each: signal.signal(each, lambda number, _: received.append(number)) for each in numbers
    }
    descriptor = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
    try:
        yield received
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        near.close()
        far.close()


def test_the_daemons_signal_handlers_are_gone(handlers: list[int]) -> None:
    def look() -> object:
        numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD)
        return (
            [signal.getsignal(number) == signal.SIG_IGN for number in numbers],
            [signal.getsignal(number) == signal.SIG_DFL for number in numbers],
            signal.set_wakeup_fd(-1),
            signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        )

    ignored = [True, True, True, False, False]
    assert reported(look) == repr((ignored, [not each for each in ignored], -1, set()))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_whole_process_group_does_not_end_it(
    handlers: list[int], number: signal.Signals
) -> None:
    """Ctrl-C in a terminal, killall: what follows is the daemon's decision."""

    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.progress("waiting")
        os.kill(os.getpid(), number)
        reporter.report(ScanFinished(job.id))

    assert WorkersHarness(run_job).run(scan_job()) == [
        ScanFinished(JobId(1)),
        WorkerEnded(JobId(1)),
    ]


def test_a_signal_just_after_the_fork_ends_the_worker_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sent to the worker while it still has the handlers of its parent."""
    fork, this = os.fork, os.getpid()

    def fork_and_report() -> int:
        is_server = os.getpid() != this
        pid = fork()
        if pid == 0 and is_server:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
        return pid

    monkeypatch.setattr(os, "fork", fork_and_report)
    harness = WorkersHarness(reporting(lambda: "alive"))
    for number in (1, 2):
        harness.run(scan_job(number))
        ending = harness.ending_of(JobId(number))
        assert ending.how is not None and "SIGTERM" in ending.how.what


# --- the terminal and the environment -----------------------------------------------------------


def test_the_standard_streams_lead_nowhere() -> None:
    assert reported(lambda: [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]) == repr(
        ["/dev/null"] * 3
    )


def test_it_cannot_type_into_the_terminal_of_the_shell() -> None:
    """A worker that was taken over could push characters into it (ioctl TIOCSTI)."""

    def look() -> object:
        with pytest.raises(OSError):
            os.open("/dev/tty", os.O_RDWR)
        return os.getsid(0) not in (os.getpid(), test)

    test = os.getsid(0)
    assert reported(look) == "True"


def test_its_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret-in-the-environment")
    assert reported(lambda: dict(os.environ)) == "{}"


def test_it_knows_the_secrets_of_its_own_jobs_only() -> None:
    """Searched for in all of its memory: the daemon's configuration, and other portals' secrets."""

    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.log(Level.INFO, job.title)
        signal.pause()

    def job_with(number: int, secret: str) -> Job:
        credentials = Credentials("alice", Secret(secret))
        portal = Portal(f"127.0.0.{number}", 1)
        return login_job(number, portal, authentication=Authentication(credentials))

    harness = WorkersHarness(run_job, confine=not_confined)
    # As the daemon reads its configuration: after the fork server was started.
    first, second, configured = (secrets.token_hex(20) for _ in range(3))
    configured_later = Secret(configured)
    harness.start(job_with(1, first))
    harness.start(job_with(2, second))
    harness.until(lambda: len(harness.logged) == 2)
    found = {number: memory_of(harness.pid_of(number)) for number in (1, 2)}
    hex_of = {each: each.encode().hex().encode() for each in (first, second, configured)}

    def holds(number: int, secret: str) -> bool:
        return secret.encode() in found[number] or hex_of[secret] in found[number]

    assert holds(1, first) and holds(2, second)
    assert not holds(1, second) and not holds(2, first)
    assert not holds(1, configured) and not holds(2, configured)
    server = memory_of(int(status_of(harness.pid_of(1))["PPid"]))
    assert not any(each.encode() in server for each in (first, second, configured))
    assert configured_later.reveal() == configured.encode()
    harness.supervisor.end_all()


def memory_of(pid: int) -> bytes:
    """All that a process can write to."""
    parts = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            region, access, *_ = line.split()
            if access.startswith("rw") and "[v" not in line:
                start, end = (int(each, 16) for each in region.split("-"))
                memory.seek(start)
                parts.append(memory.read(end - start))
    return b"".join(parts)


# --- how it looks -------------------------------------------------------------------------------


def test_its_title_names_the_work() -> None:
    title = reported(lambda: Path("/proc/self/cmdline").read_text().rstrip("\0"))
    assert title == "'iscsid: scan iqn.2024-01.org.example:disks on host4'"


# --- how it ends --------------------------------------------------------------------------------


def test_an_error_of_ours_is_a_failed_attempt() -> None:
    error = ConnectionFailed("connecting: refused", advice="start it")
    harness = WorkersHarness(raising(error))
    assert harness.run(login_job()) == [
        LoginFailed(JobId(1), Failure(Retry.SOON, "connecting: refused", "start it")),
        WorkerEnded(JobId(1)),
    ]


def test_a_file_that_needs_too_much_memory_is_not_the_fault_of_a_target() -> None:
    def read_files(_job: WorkerJob, _reporter: Reporter) -> None:
        raise MemoryError

    job = ReadFilesJob(id=JobId(1), config="/a", initiatorname="/b", bindings="/c")
    failure = attempt(read_files, job, cast(Reporter, None))
    assert failure is not None and failure.advice == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, ""), "connection refused"),
        (MemoryError(), "more than the 128 MiB of memory"),
    ],
)
def test_an_error_of_the_system_is_a_failed_attempt(error: Exception, words: str) -> None:
    failed, ended = WorkersHarness(raising(error)).run(login_job())
    assert isinstance(failed, LoginFailed)
    assert words in failed.failure.what
    assert ended == WorkerEnded(JobId(1))


@pytest.mark.parametrize(
    "error", [RuntimeError("the login is over"), SystemExit(0), KeyboardInterrupt(), ValueError()]
)
def test_a_bug_is_one_failed_attempt_and_is_described_in_the_log(error: BaseException) -> None:
    harness = WorkersHarness(raising(error))
    (ended,) = harness.run(login_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "the worker met an error of its own while testing"
    level, line = harness.logged[-1]
    assert level is Level.ERROR
    start = f"internal error: {type(error).__name__}: {error}, at test_worker_main.py:"
    assert line.startswith(start)
    assert "\n" not in line


def test_a_bug_while_the_daemon_is_gone_ends_it_all_the_same() -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        os.close(reporter.fileno())
        raise RuntimeError

    (ended,) = WorkersHarness(run_job).run(scan_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None


def test_nothing_of_the_daemons_runs_at_its_end(tmp_path: Path) -> None:
    """python-daemon would remove the pid file; what is buffered would be written twice."""
    note = tmp_path / "note"
    harness = WorkersHarness(reporting(lambda: "alive"))
    with note.open("w") as buffered:
        buffered.write("once")
        forget = atexit.register(lambda: note.write_text("the worker's"))
        try:
            harness.run(scan_job())
        finally:
            atexit.unregister(forget)
    assert note.read_text() == "once"


def test_it_dies_with_the_daemon() -> None:
    """Whatever kills the daemon; and also if the worker has changed its user since."""
    reader, writer = os.pipe()

    def run_job(_job: Job, _reporter: Reporter) -> None:
        time.sleep(60)

    def daemon() -> None:
        harness = WorkersHarness(run_job)
        harness.start(login_job())
        worker = harness.pid_of()
        until(lambda: status_of(worker)["NoNewPrivs"] == "1")
        os.write(writer, str(worker).encode())
        time.sleep(60)

    with forked(daemon) as pid:
        worker = int(os.read(reader, 20))
        os.kill(pid, signal.SIGKILL)
        until(lambda: status_of(worker).get("State", "Z")[0] in "ZX")
    os.close(reader)
    os.close(writer)


def test_a_fork_server_that_died_during_the_fork_leaves_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker sees that its parent is another one."""
    getppid = os.getppid
    monkeypatch.setattr(os, "getppid", lambda: getppid() + 1)
    harness = WorkersHarness(reporting(lambda: "alive"))
    harness.run(scan_job())
    assert harness.lines == []


def test_a_worker_that_cannot_be_confined_does_no_job() -> None:
    def refuse(*_: object) -> list[str]:
        raise PermissionError(1, "Operation not permitted")

    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.log(Level.INFO, "at work")

    harness = WorkersHarness(run_job, confine=refuse)
    failed, _ = harness.run(login_job())
    assert isinstance(failed, LoginFailed)
    assert "cannot give up its privileges" in failed.failure.what
    assert harness.lines == []


def test_what_the_kernel_does_not_offer_is_logged_once() -> None:
    def confine(*_: object) -> list[str]:
        return ["forbidding system calls (seccomp): Function not implemented"]

    harness = WorkersHarness(lambda _job, _reporter: None, confine=confine)
    for number in (1, 2, 3):
        harness.run(login_job(number, Portal("127.0.0.1", number)))
    assert harness.logged == [
        (
            Level.WARNING,
            "workers are not protected by forbidding system calls (seccomp): "
            "Function not implemented",
        )
    ]


ALL_OF_A_DISCOVERY = """
import os, signal, sys
from iscsid.facts import DiscoveryCompleted
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.workers import worker_main
from tests.support.jobs import discovery_job
from tests.support.supervisor_harness import WorkersHarness
from tests.target.portal import listen, serve
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget

def run_job(job, reporter):
    before = set(sys.modules)
    worker_main.run_job(job, reporter)
    reporter.log(Level.WARNING, " ".join(set(sys.modules) - before))

listener = listen()
target = os.fork()
if target == 0:
    script = Script(listed=(Listed("no name \\x01 at all", ("\\x02",)),))
    serve(listener, lambda: ScriptedTarget(script))
harness = WorkersHarness(run_job, Level.INFO)
completed, _ = harness.run(discovery_job(portal=Portal(*listener.getsockname())))
os.kill(target, signal.SIGKILL)
assert isinstance(completed, DiscoveryCompleted), completed
print([text for level, text in harness.logged if level is Level.WARNING])
harness.close()
"""


def test_no_module_is_loaded_once_a_worker_is_at_work() -> None:
    """The disk may be on the session that is down; and a confined worker may not read it."""
    done = subprocess.run(
        [sys.executable, "-c", ALL_OF_A_DISCOVERY], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['']\n"
