"""Detaching from the shell, which still gets the daemon's exit status if the start fails.

python-daemon does the detaching; its parents leave at once, so one more process waits in front of
them until the daemon reports that it is ready or that it failed, and leaves with that status.
May touch this process: its streams, descriptors, directory, mask and session. It opens nothing
of the daemon's own, for whatever is open before the detaching is closed by it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from iscsid.errors import IscsidError
from iscsid.exit_status import ExitStatus
from iscsid.process import signals
from iscsid.process.pidfile import PidFile

if TYPE_CHECKING:
    from daemon import DaemonContext

UMASK = 0o022
DESCRIPTORS = 65536
"""Far more than the shell leaves open, far less than the limit a system may allow."""
_STOPPING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def open_standard_streams() -> None:
    """Make sure that descriptors 0, 1 and 2 lead somewhere, if only to /dev/null.

    Called before anything else is opened: else the pid file could become standard error.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is taken, which is ``fd``: those below it are open by now.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", errors="backslashreplace"))


class Background:
    """The daemon in the background, or in the foreground, as a context.

    Inside it the process is the daemon: the pid file is locked and names it, the directory is /,
    the umask 022, all other descriptors are closed, and the signals of ``signals`` wait until
    ``Signals`` is opened. ``ready`` ends the wait of the shell; an exception that leaves the
    context before is passed to the shell as one line and an exit status. The shell's own process
    never comes out of ``__enter__``.
    """

    def __init__(
        self, pidfile: PidFile, *, foreground: bool = False, kept: tuple[int, ...] = ()
    ) -> None:
        """``kept`` are descriptors that stay open."""
        self._pidfile = pidfile
        self._foreground = foreground
        self._kept = kept
        self._result = -1
        self._context = ExitStack()

    def __enter__(self) -> Background:
        """Become the daemon. Raises what ``PidFile.lock`` raises, before detaching."""
        open_standard_streams()
        # Imported first: between the lock and the name in the file there should be little time.
        context = _import_daemon_context()
        self._pidfile.lock()
        if not self._foreground:
            self._result = _fork_behind_a_waiting_process()
        try:
            signals.hold()
            self._context.enter_context(self._make(context))
        except BaseException as error:
            self._report(error)
            raise
        return self

    def ready(self) -> None:
        """The start has succeeded: let the shell go, and let go of its terminal."""
        if self._result < 0:
            return
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        self._send_result(ExitStatus.SUCCESS, "")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context.close()
        if error is not None:
            self._report(error)

    def _make(self, context: type[DaemonContext]) -> DaemonContext:
        return context(
            umask=UMASK,
            working_directory="/",
            detach_process=not self._foreground,
            prevent_core=True,  # it would hold every secret
            files_preserve=[
                fd for fd in (self._pidfile.fileno(), self._result, *self._kept) if fd >= 0
            ],
            pidfile=self._pidfile,
            # Kept until the daemon is ready, so that even a crash of Python itself is seen.
            stdin=sys.stdin,
            stdout=sys.stdout,
            stderr=sys.stderr,
            # Those of ``signals`` are not python-daemon's business. The others stop a process,
            # which a daemon without a terminal must not be; in the foreground a person may.
            signal_map={} if self._foreground else dict.fromkeys(_STOPPING),
        )

    def _report(self, error: BaseException) -> None:
        """Pass ``error`` to the waiting process, and end this one with the same status."""
        if self._result < 0:
            return
        status, text = _in_one_line(error)
        self._send_result(status, text)
        if status != ExitStatus.BUG:  # of which Python shows the traceback
            raise SystemExit(status) from error

    def _send_result(self, status: int, text: str) -> None:
        """Send the result of the start: a byte, its exit status, and one line of text."""
        line = " ".join(text.split("\n")) + "\n"
        result, self._result = self._result, -1
        try:
            os.write(result, bytes([status]) + line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the shell no longer waits
        os.close(result)


def _fork_behind_a_waiting_process() -> int:
    """Return in a child, with the descriptor on which the parent awaits the result."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        return writer
    os.close(writer)
    _wait_for_result(reader)


def _wait_for_result(reader: int) -> NoReturn:
    """Be the shell's process: wait, print what the daemon sends, and leave.

    It leaves by ``_exit``: all that needs cleaning up belongs to the daemon.
    """
    # An interrupt ends this wait only: the daemon is in another session by then.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    received = b""
    # Up to the end of the line, not of the stream, which children of the daemon may hold open.
    while b"\n" not in received[1:] and (chunk := os.read(reader, 4096)):
        received += chunk
    if not received:
        received = bytes([ExitStatus.FAILURE]) + b"the daemon died before it was ready\n"
    status, text = received[0], received[1:].decode("utf-8", "replace").rstrip("\n")
    if text:
        try:
            os.write(2, f"iscsid: {text}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the exit status shows it, too
    os._exit(status)


def _in_one_line(error: BaseException) -> tuple[int, str]:
    """Return exit status and text for an exception that ends the start."""
    match error:
        case SystemExit(code=int(status)):
            return status, ""
        case SystemExit(code=None):
            return ExitStatus.SUCCESS, ""
        case SystemExit(code=text):
            return ExitStatus.FAILURE, str(text)
        case IscsidError() | OSError():
            return ExitStatus.FAILURE, str(error)
        case MemoryError():
            return ExitStatus.FAILURE, "out of memory"
    return ExitStatus.BUG, f"{type(error).__name__}: {error}"


def _import_daemon_context() -> type[DaemonContext]:
    """Import python-daemon with a modest limit on descriptors.

    Debian 12's python-daemon 2.3 makes a set of all possible descriptor numbers as it is
    imported, which under systemd's limits takes tens of megabytes for good.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    from daemon import DaemonContext

    with suppress(ValueError):  # not allowed to raise it again: the modest limit will do
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return DaemonContext
