"""The pid file: the daemon's process id, and the lock that keeps a second one from starting.

The lock decides, not the file's existence: a file left by a daemon that died is no obstacle
(lockfile's own ``PIDLockFile`` takes it for one, so only lockfile's protocol is used, which
python-daemon calls). May touch the pid file alone; never follows a symbolic link to
it, and never empties what is no pid file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time

from lockfile import LockBase

from iscsid.errors import AlreadyRunning, IscsidError, Retry

MODE = 0o644
LONGEST = 64
"""Bytes. A file with more in it is no pid file."""
PATIENCE = 5.0
"""Seconds for another daemon to write its pid, or for another process to test the lock."""

_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME_ANOTHER = "name another with --pidfile"
_REMOVE = f"remove it, or {_NAME_ANOTHER}"


class PidFileUnusable(IscsidError):
    """The pid file cannot be opened, locked or written."""

    retry = Retry.NEVER


class PidFile(LockBase):
    """The pid file at ``path``.

    ``lock`` comes first, before detaching; the lock belongs to the open file and passes to the
    processes forked from there. ``acquire`` then writes the pid of the process that calls it,
    and ``release`` removes the file. A process that neither acquires nor releases leaves the
    file alone, so parents may exit and workers ``close``.
    """

    def __init__(self, path: str) -> None:
        # Not LockBase's initialiser, which invents names for files that are never made here.
        self.path = self.unique_name = path
        self._fd = -1
        self._owner = 0

    def fileno(self) -> int:
        """Return the descriptor, which must be kept open through the detaching; -1 before."""
        return self._fd

    def lock(self) -> None:
        """Open and lock the file, and empty it.

        Raises ``AlreadyRunning`` if another daemon holds it, ``PidFileUnusable`` if it cannot be
        used.
        """
        if self._fd >= 0:
            return
        try:
            self._fd = self._open_locked()
            os.fchmod(self._fd, MODE)  # whatever the umask, or who made the file, left of it
            os.ftruncate(self._fd, 0)
        except OSError as error:
            self.close()
            raise self._unusable(error) from error

    def acquire(self, timeout: float | None = None) -> None:
        """Lock the file if that is still to be done, and write this process's pid into it."""
        self.lock()
        try:
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self._remove()
            raise self._unusable(error) from error
        self._owner = os.getpid()

    def release(self) -> None:
        """Remove the file and let go of the lock, if this process is the one named in it."""
        if self.i_am_locking():
            self._remove()
        self._owner = 0

    def close(self) -> None:
        """Close this process's copy of the descriptor: a worker that lives on after the daemon
        was killed must not keep the next one from starting."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def is_locked(self) -> bool:
        """Whether a living daemon holds the file; needs no more than permission to read it."""
        try:
            fd = os.open(self.path, os.O_RDONLY | _CAREFULLY)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def read_pid(self) -> int | None:
        """Return the process id in the file, ``None`` if there is none, locked or not."""
        try:
            fd = os.open(self.path, os.O_RDONLY | _CAREFULLY)
        except OSError:
            return None
        try:
            return _parse_pid(os.pread(fd, LONGEST, 0))
        except OSError:  # a directory
            return None
        finally:
            os.close(fd)

    def i_am_locking(self) -> bool:
        """Whether this process is the daemon that the file names."""
        return self._fd >= 0 and self._owner == os.getpid()

    def _open_locked(self) -> int:
        until = time.monotonic() + PATIENCE
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | _CAREFULLY, MODE)
            try:
                if self._take(fd, until):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _take(self, fd: int, until: float) -> bool:
        """Lock ``fd``; false if the file must be opened again."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PidFileUnusable(f"{self.path} is not a regular file", advice=_REMOVE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait_for_holder(fd, until)
            return False
        if not _may_be_emptied(os.pread(fd, LONGEST + 1, 0)):
            raise PidFileUnusable(
                f"{self.path} holds something other than a process id, and is not overwritten",
                advice=_REMOVE,
            )
        # Its last owner may have removed the file between our opening and locking it.
        return self._is_in_place(fd)

    def _wait_for_holder(self, fd: int, until: float) -> None:
        """Give the holder of the lock a moment to write its pid, or to release the lock."""
        pid = _parse_pid(os.pread(fd, LONGEST, 0))
        if pid is not None and _is_alive(pid):
            raise AlreadyRunning(f"iscsid is already running, pid {pid} (pid file {self.path})")
        if time.monotonic() >= until:
            raise AlreadyRunning(
                f"iscsid is already running: {self.path} is locked, by a process it does not name",
                advice=f"'fuser {self.path}' finds it",
            )
        time.sleep(0.01)

    def _is_in_place(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _remove(self) -> None:
        # Under the lock, so that no other daemon puts its file there meanwhile.
        try:
            if self._is_in_place(self._fd):
                os.unlink(self.path)
        except OSError:
            pass  # without the lock it is no obstacle to the next daemon
        self.close()

    def _unusable(self, error: OSError) -> PidFileUnusable:
        if error.errno == errno.ELOOP:
            return PidFileUnusable(
                f"the pid file {self.path} is a symbolic link, which is not followed",
                advice=_REMOVE,
            )
        advice = "iscsid is run by root" if error.errno == errno.EACCES else _NAME_ANOTHER
        return PidFileUnusable(f"pid file {self.path}: {error.strerror}", advice=advice)


def _parse_pid(content: bytes) -> int | None:
    match = re.fullmatch(rb"\s*0*([1-9][0-9]{0,9})\s*", content)
    return int(match[1]) if match else None


def _may_be_emptied(content: bytes) -> bool:
    """Whether this is what a daemon that died may have left: a number or nothing at all, or the
    zeros of a file that was written just before the power went."""
    is_ours = re.fullmatch(rb"[\s\0]*[0-9]*[\s\0]*", content) is not None
    return is_ours and len(content) <= LONGEST


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
