"""Forks workers from a small process that holds no secret.

The fork server is started before the configuration is read and before most of the daemon is
imported, so a worker inherits neither secrets nor the memory of the daemon. It forks a worker when
the daemon asks, gives it one end of a channel, reports its end, and sends it signals. Being the
parent of the workers it alone knows that a process id is still theirs. If it does not answer, for
it was stopped, the daemon gives it up.

A second one stands by, forked by the first: if the first is killed, its workers die with it and the
second takes over. One that was killed while it stood by is replaced when the next worker is forked.
Both leave when the daemon closes its ends, by whatever way it ends.

``ForkServer`` is the daemon's side; ``_serve`` runs in the process. May touch processes.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from iscsid.process.protection import protect_helper
from iscsid.workers import sandbox
from iscsid.workers.channel import send_with
from iscsid.workers.process_title import find_title_buffer, set_title
from iscsid.workers.sandbox import Confinement
from iscsid.workers.worker_main import (
    Confine,
    RunJob,
    WorkerSetup,
    drop_inherited_state,
    run_job,
    worker_main,
)

_ALL_SIGNALS = signal.valid_signals()
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
"""It leaves when the daemon does, and with the daemon's workers only."""


class _ForkRequest(IntEnum):
    FORK, STAND_BY, SIGNAL, PROTECT = range(4)


class _ForkReport(IntEnum):
    FORKED, NOT_FORKED, ENDED, SIGNALLED = range(4)


HANGS_AFTER = 30.0
"""Seconds without an answer to a request, after which the fork server is given up. A fork takes
milliseconds; something has stopped it (SIGSTOP, a debugger)."""


_REQUEST = struct.Struct("!BIB")
"""What is wanted, the serial number of a worker, and its confinement or a signal."""
_SO_SNDBUFFORCE = 32
"""Of asm-generic/socket.h, which Python's library does not name."""
_REQUESTS, _REQUEST_OVERHEAD = 4096, 1024
"""How many requests may wait while the fork server forks, and what the kernel counts for each. The
default buffer has room for fewer than 300, and --max-processes=0 starts all logins at once."""
_REPORT = struct.Struct("!BIi")
"""What happened, the serial number, and a process id, an errno or a wait status."""


@dataclass(frozen=True, slots=True)
class WorkerForked:
    serial: int
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerNotForked:
    serial: int
    error: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    serial: int
    status: int
    """Of waitpid(2)."""


@dataclass(frozen=True, slots=True)
class ForkServerLost:
    """It was killed, and all workers died with it; or it was given up, and they end."""

    has_hung: bool


Event = WorkerForked | WorkerNotForked | WorkerExited | ForkServerLost


class ForkServer:
    """The daemon's side. Nothing here blocks."""

    def __init__(self, run_job: RunJob = run_job, confine: Confine = sandbox.confine) -> None:
        """Fork. ``run_job`` does a job in a worker; ``confine`` confines the worker."""
        setup = WorkerSetup(find_title_buffer(), run_job, confine)
        ours, theirs = _make_pair()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _serve(theirs, setup, is_protected=False)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        self._active = ours
        self._unanswered = 0
        """Requests to fork or to signal that have no answer yet."""
        self._answered_at = 0.0
        """When it answered last, or was asked first since then."""
        self._has_hung = False
        self._standby = self._ask_for_standby()

    def fileno(self) -> int:
        return self._active.fileno()

    def filenos(self) -> tuple[int, ...]:
        """Every descriptor that must stay open."""
        return tuple(each.fileno() for each in (self._active, self._standby) if each is not None)

    def fork(self, serial: int, confinement: Confinement, end: socket.socket) -> None:
        """Ask for a worker, which gets ``end`` of a channel. Raises ``OSError``."""
        if self._standby is None or _has_ended(self._standby):
            self._replace_standby()
        self._send(_ForkRequest.FORK, serial, list(Confinement).index(confinement), end)

    def signal(self, serial: int, number: signal.Signals) -> None:
        """Send a signal to a worker; one that is gone is no error."""
        try:
            self._send(_ForkRequest.SIGNAL, serial, number)
        except OSError:
            pass

    @property
    def due(self) -> float | None:
        """When it is to be given up, on the monotonic clock; ``None`` while it owes no answer."""
        return self._answered_at + HANGS_AFTER if self._unanswered and not self._has_hung else None

    def give_up(self) -> None:
        """Wait for it no more: the next ``read`` reports its loss. It leaves once it goes on."""
        self._has_hung = True
        self._active.shutdown(socket.SHUT_RDWR)

    def protect(self) -> None:
        """Let both be spared by the out-of-memory killer, and keep their memory in memory."""
        for each in (self._active, self._standby):
            if each is not None:
                send_with(each, _REQUEST.pack(_ForkRequest.PROTECT, 0, 0), [])

    def read(self) -> list[Event]:
        """Return what has happened.

        After ``ForkServerLost``, ``fileno`` is another one, or negative if both are lost.
        """
        events: list[Event] = []
        while True:
            try:
                received = self._active.recv(_REPORT.size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return events
            except ConnectionResetError:
                received = b""
            if not received:
                has_hung, self._has_hung, self._unanswered = self._has_hung, False, 0
                self._replace()
                return [*events, ForkServerLost(has_hung)]
            report, serial, value = _REPORT.unpack(received)
            self._answered_at = time.monotonic()
            self._unanswered -= report != _ForkReport.ENDED
            if report == _ForkReport.SIGNALLED:
                continue
            kind = (WorkerForked, WorkerNotForked, WorkerExited)[report]
            events.append(kind(serial, value))

    def reap(self) -> None:
        """Collect the first fork server, if this process is its parent and it was killed."""
        try:
            os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pass

    def close(self) -> None:
        """Let both leave."""
        self._active.close()
        if self._standby is not None:
            self._standby.close()

    def _replace(self) -> None:
        self._active.close()
        if self._standby is None or _has_ended(self._standby):
            # Both were killed. A closed socket refuses every request.
            return
        self._active = self._standby
        self._standby = self._ask_for_standby()

    def _replace_standby(self) -> None:
        if self._standby is not None:
            self._standby.close()
        self._standby = self._ask_for_standby()

    def _ask_for_standby(self) -> socket.socket | None:
        try:
            ours, theirs = _make_pair()
        except OSError:
            return None  # descriptors have run out; the next fork asks again
        with theirs:
            try:
                self._send(_ForkRequest.STAND_BY, end=theirs)
            except OSError:
                ours.close()
                return None
        return ours

    def _send(
        self,
        request: _ForkRequest,
        serial: int = 0,
        argument: int = 0,
        end: socket.socket | None = None,
    ) -> None:
        descriptors = [] if end is None else [end.fileno()]
        message = _REQUEST.pack(request, serial, argument)
        if self._active.fileno() < 0:
            raise OSError(errno.ESRCH, "")
        send_with(self._active, message, descriptors)
        if request in (_ForkRequest.FORK, _ForkRequest.SIGNAL):
            if not self._unanswered:
                self._answered_at = time.monotonic()
            self._unanswered += 1


def _has_ended(standby: socket.socket) -> bool:
    """Whether a process that stands by has ended: it sends nothing before."""
    poll = select.poll()
    poll.register(standby, select.POLLIN)
    return bool(poll.poll(0))


def _make_pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a control socket; raises ``OSError`` if descriptors run out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with suppress(PermissionError):
        ours.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _REQUESTS * _REQUEST_OVERHEAD)
    return ours, theirs


def _serve(requests: socket.socket, setup: WorkerSetup, *, is_protected: bool) -> NoReturn:
    """Be the fork server. Called right after the fork, with all signals blocked."""
    status = 1
    try:
        drop_inherited_state(requests.fileno())
        _Server(requests, setup, is_protected).run()
        status = 0
    finally:
        os._exit(status)


class _Server:
    """The process's side."""

    def __init__(self, requests: socket.socket, setup: WorkerSetup, is_protected: bool) -> None:
        self._requests = requests
        self._setup = setup
        self._pids: dict[int, int] = {}
        """Of living workers, by serial number."""
        self._workers: dict[int, tuple[int, int]] = {}
        """Serial number and place of a living worker, by process id."""
        self._is_protected = is_protected
        self._wake_up, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _leave_terminal()
        os.environ.clear()
        os.chdir("/")
        os.umask(0o077)
        # A worker gets the secrets of its job, and one that reads the files all of them.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        set_title("iscsid: fork server", setup.title)
        if is_protected:
            protect_helper()
        gc.collect()
        gc.freeze()
        gc.enable()

    def run(self) -> None:
        """Serve until the daemon is gone."""
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(self._wake_up, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_up in ready:
                os.read(self._wake_up, 4096)
            self._reap()
            if self._requests.fileno() in ready and not self._take_request():
                return

    def _take_request(self) -> bool:
        """Carry out one request; return whether the daemon is there."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._requests, _REQUEST.size, 1)
        except ConnectionResetError:
            return False
        if not message:
            return False
        request, serial, argument = _REQUEST.unpack(message)
        if request == _ForkRequest.FORK:
            end = socket.socket(fileno=descriptors[0])
            self._fork_worker(end, serial, list(Confinement)[argument])
        elif request == _ForkRequest.STAND_BY:
            self._fork_standby(socket.socket(fileno=descriptors[0]))
        elif request == _ForkRequest.SIGNAL:
            if serial in self._pids:
                os.kill(self._pids[serial], argument)
            self._report(_ForkReport.SIGNALLED, serial, 0)
        elif request == _ForkRequest.PROTECT:
            self._is_protected = True
            protect_helper()
        return True

    def _fork_worker(self, end: socket.socket, serial: int, confinement: Confinement) -> None:
        parent = os.getpid()
        taken = {place for _, place in self._workers.values()}
        place = next(number for number in range(len(taken) + 1) if number not in taken)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                worker_main(end, confinement, place, parent, self._setup)
        except OSError as error:
            self._report(_ForkReport.NOT_FORKED, serial, error.errno or 0)
        else:
            self._pids[serial] = pid
            self._workers[pid] = (serial, place)
            self._report(_ForkReport.FORKED, serial, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            end.close()

    def _fork_standby(self, requests: socket.socket) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            if os.fork() == 0:
                _serve(requests, self._setup, is_protected=self._is_protected)
        except OSError:
            pass  # the daemon sees that its end is closed when it needs it
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            requests.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if worker := self._workers.pop(pid, None):
                serial, _ = worker
                del self._pids[serial]
                self._report(_ForkReport.ENDED, serial, status)

    def _report(self, report: _ForkReport, serial: int, value: int) -> None:
        try:
            self._requests.send(_REPORT.pack(report, serial, value))
        except OSError:
            pass  # the daemon is gone, which the next read shows


def _leave_terminal() -> None:
    """Have a session without a terminal, and nothing behind the standard streams.

    On a terminal a worker could otherwise push characters into the shell (ioctl TIOCSTI).
    """
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
