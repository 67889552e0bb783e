"""The processes that tests start: found, described and ended, whatever became of their parents.

pytest runs in a child of a small process (``run_below_a_reaper``), which is their subreaper: to it
go the processes whose parent ended, as they would go to init. So everything that a test started is
below it in the tree of processes, and ends with pytest, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT)
HUNG = 99
"""The exit status if pytest did not end a test that was over its limit."""


@dataclass(frozen=True)
class Process:
    """One process. A pid alone may be given to another one later; not so with its start time."""

    pid: int
    start_time: int


class Deadline:
    """The reaper's knowledge of how long the present test may take; 0 is for ever."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._value = 0.0

    def set(self, seconds: float) -> None:
        os.write(self._writer, struct.pack("d", seconds and time.monotonic() + seconds))

    def is_over(self) -> bool:
        with suppress(BlockingIOError):
            while record := os.read(self._reader, 8):
                (self._value,) = struct.unpack("d", record)
        return 0 < self._value < time.monotonic()


def run_below_a_reaper() -> Deadline:
    """Go on in a child of this process, which from here on only waits for it."""
    deadline = Deadline()
    signals = {signal.SIGCHLD, *FORWARDED}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    parent = os.getpid()
    if (child := os.fork()) == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(HUNG)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return deadline
    try:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        # A terminal sends SIGINT to pytest, too.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = _wait_for(child, signals, deadline)
        _end_children()
    except BaseException:
        traceback.print_exc()
        os._exit(HUNG)
    _exit_like(status)


def _wait_for(child: int, signals: set[signal.Signals], deadline: Deadline) -> int:
    """Reap what ends, and return the status of ``child``."""
    while True:
        received = signal.sigtimedwait(signals, 1.0)
        if received is not None and received.si_signo in FORWARDED:
            os.kill(child, received.si_signo)
        if deadline.is_over():
            # pytest has set this signal to print where every thread is.
            deadline.set(0)
            os.kill(child, signal.SIGABRT)
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                return ended[1]


def _end_children(limit: float = 30.0) -> None:
    """End all that is left; children of what is ended come here in their turn."""
    until = time.monotonic() + limit
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            for process in descendants(os.getpid()):
                end(process)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)


def _exit_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        print(f"pytest was ended by {signal.Signals(number).name}", file=sys.stderr, flush=True)
        with suppress(OSError):  # of SIGKILL it is the only one
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def descendants(top: int) -> dict[Process, int]:
    """Return every process below ``top`` that has not ended, and its parent's pid."""
    parents: dict[Process, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (fields := _stat(int(entry))) and fields[0] not in "ZX":
            parents[Process(int(entry), int(fields[19]))] = int(fields[1])
    found = {top}
    while new := {each.pid for each, parent in parents.items() if parent in found} - found:
        found |= new
    return {each: parent for each, parent in parents.items() if each.pid in found - {top}}


def children(pid: int) -> set[int]:
    """Return the pids of the children of ``pid``, zombies too; none if it is gone."""
    while True:
        # The kernel may leave one out while another one ends.
        first, second = _children(pid), _children(pid)
        if first == second:
            return first


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            found |= {int(child) for child in text.split()}
    return found


def is_alive(pid: int) -> bool:
    """Whether there is a process ``pid`` that is more than a zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def program_of(pid: int) -> str:
    """Return the path of the program that a process runs; empty if it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _stat(pid: int) -> list[str]:
    """Return /proc/PID/stat from the state on; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def end(process: Process) -> None:
    with suppress(ProcessLookupError):
        if (fields := _stat(process.pid)) and int(fields[19]) == process.start_time:
            os.kill(process.pid, signal.SIGKILL)


def describe(pid: int) -> str:
    """Describe a process and, as far as the kernel shows it, what it waits for."""

    def read(name: str) -> str:
        try:
            return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode().strip()
        except (OSError, UnicodeDecodeError):
            return "?"

    fields = _stat(pid) or ["gone", "?"]
    lines = [f"process {pid}, child of {fields[1]}, state {fields[0]}: {read('cmdline')}"]
    lines += [f"system call: {read('syscall')}", *read("stack").splitlines()]
    return "\n    ".join(lines)
