"""The pid file, and the lock that keeps a second daemon from starting.

The lock is on a file beside the pid file, ``PIDFILE.lock``, which only its owner can open: whoever
can read a file can lock it (flock(2)), and the pid file is read by everybody. The lock decides, not
the existence of a file: what a daemon that died has left is no obstacle (lockfile's own
``PIDLockFile`` takes it for one, so only lockfile's protocol is used, which python-daemon calls).

The pid file is locked, too, which shows to everybody that its daemon lives. It is made anew, and
takes its place when it is locked already. Versions before 4.0.0 had this lock alone; one that runs
still holds it, and has the file open for writing. May touch these two files and /proc; never
follows a symbolic link to them, and never replaces what is no pid file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from contextlib import suppress

from lockfile import LockBase

from iscsid.errors import AlreadyRunning, IscsidError, Retry, advice_in_shortage

MODE, LOCK_MODE = 0o644, 0o600
LONGEST = 64
"""Bytes. A file with more in it is no pid file."""
PATIENCE = 5.0
"""Seconds for another daemon to write its pid, or for another process to test the lock."""

_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME_ANOTHER = "name another with --pidfile"
_REMOVE = f"remove it, or {_NAME_ANOTHER}"


class PidFileUnusable(IscsidError):
    """The pid file or its lock cannot be opened, locked or written."""

    retry = Retry.NEVER


class PidFile(LockBase):
    """The pid file at ``path``.

    ``lock`` comes first, before detaching; the lock belongs to the open file and passes to the
    processes forked from there. ``acquire`` then makes the file, with the pid of the process that
    calls it, and ``release`` removes it. A process that neither acquires nor releases leaves the
    files alone, so parents may exit and workers ``close``.
    """

    def __init__(self, path: str) -> None:
        # Not LockBase's initialiser, which invents names for files that are never made here.
        self.path = self.unique_name = path
        self._lock_path = f"{path}.lock"
        self._lock = -1
        self._file = -1
        self._owner = 0

    def fileno(self) -> int:
        """Return the lock's descriptor, which must stay open through the detaching; -1 before."""
        return self._lock

    def lock(self) -> None:
        """Take the lock.

        Raises ``AlreadyRunning`` if another daemon holds it, ``PidFileUnusable`` if one of the
        files cannot be used.
        """
        if self._lock >= 0:
            return
        until = time.monotonic() + PATIENCE
        try:
            self._lock = self._open_locked(until)
            self._check_place(until)
        except OSError as error:
            self._remove()
            raise self._unusable(error) from error
        except IscsidError:
            self._remove()
            raise

    def acquire(self, timeout: float | None = None) -> None:
        """Take the lock if that is still to be done, and make the file, which names this process.

        It is locked and complete when others can see it.
        """
        self.lock()
        try:
            self._make()
        except PidFileUnusable:
            self._remove()
            raise
        self._owner = os.getpid()

    def restore(self) -> bool:
        """Make what is gone of the two files anew; return whether anything was.

        Raises ``AlreadyRunning`` if a second daemon has taken the place, ``PidFileUnusable`` if
        nothing can be made there now.
        """
        if not self.i_am_locking():
            return False
        try:
            has_lock = _is_at(self._lock_path, self._lock)
            if has_lock and _is_at(self.path, self._file):
                return False
            if not has_lock:
                lock, self._lock = self._lock, self._open_locked(0)
                os.close(lock)
            if _is_at(self.path, self._file):
                return True
        except OSError as error:
            raise self._unusable(error) from error
        old = self._file
        self._make()
        os.close(old)
        return True

    def _make(self) -> None:
        """Make the file, locked, in the place of what an earlier daemon has left."""
        self._check_place(0)  # an older daemon may have begun since the lock was taken
        new, made = f"{self.path}.new", -1
        try:
            with suppress(FileNotFoundError):
                os.unlink(new)
            made = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAREFULLY, LOCK_MODE)
            fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(made, f"{os.getpid()}\n".encode(), 0)
            os.fchmod(made, MODE)  # whatever the umask left of it
            os.rename(new, self.path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(new)
            if made >= 0:
                os.close(made)
            raise self._unusable(error) from error
        self._file = made

    def release(self) -> None:
        """Remove the file and let go of the lock, if this process is the one named in it."""
        if self.i_am_locking():
            self._remove()
        self._owner = 0

    def close(self) -> None:
        """Close this process's copies of the descriptors: a worker that lives on after the daemon
        was killed must not keep the next one from starting."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def is_locked(self) -> bool:
        """Whether a living daemon holds the file; needs no more than permission to read it."""
        fd = self._open_to_read()
        if fd is None:
            return False
        try:
            pid = _parse_pid(os.pread(fd, LONGEST, 0))
            # One that is left by a daemon may be locked by anybody.
            return _is_held(fd, fcntl.LOCK_SH) and pid is not None and _is_alive(pid)
        except OSError:  # a directory
            return False
        finally:
            os.close(fd)

    def read_pid(self) -> int | None:
        """Return the process id in the file, ``None`` if there is none, locked or not."""
        fd = self._open_to_read()
        if fd is None:
            return None
        try:
            return _parse_pid(os.pread(fd, LONGEST, 0))
        except OSError:  # a directory
            return None
        finally:
            os.close(fd)

    def i_am_locking(self) -> bool:
        """Whether this process is the daemon that the file names."""
        return self._file >= 0 and self._owner == os.getpid()

    # --- the lock -------------------------------------------------------------------------------

    def _open_locked(self, until: float) -> int:
        while True:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | _CAREFULLY, LOCK_MODE)
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
        is_ours = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
        if not (stat.S_ISREG(status.st_mode) and is_ours):
            raise PidFileUnusable(
                f"{self._lock_path} is no file that its owner alone can open, or is another user's",
                advice=_REMOVE,
            )
        if _is_held(fd, fcntl.LOCK_EX):
            self._wait_for_holder(until)
            return False
        # Its last owner may have removed the file between our opening and locking it.
        return _is_at(self._lock_path, fd)

    def _wait_for_holder(self, until: float) -> None:
        """Give the holder of the lock a moment to write its pid, or to release the lock."""
        pid = self.read_pid()
        if pid is not None and _is_alive(pid):
            raise self._already_running(pid)
        if time.monotonic() >= until:
            raise AlreadyRunning(
                f"iscsid is already running: {self._lock_path} is locked, and {self.path} names no "
                "process",
                advice=f"'fuser {self._lock_path}' finds it",
            )
        time.sleep(0.01)

    def _already_running(self, pid: int) -> AlreadyRunning:
        return AlreadyRunning(f"iscsid is already running, pid {pid} (pid file {self.path})")

    # --- what is in the place of the pid file ---------------------------------------------------

    def _check_place(self, until: float) -> None:
        """Refuse to replace what is no pid file, or that of an older daemon that runs."""
        while True:
            try:
                fd = os.open(self.path, os.O_RDONLY | _CAREFULLY)
            except FileNotFoundError:
                return
            try:
                if self._may_be_replaced(fd) or time.monotonic() >= until:
                    return
            finally:
                os.close(fd)
            time.sleep(0.01)

    def _may_be_replaced(self, fd: int) -> bool:
        """Return false for the file of an older daemon that may be about to write its pid."""
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise PidFileUnusable(f"{self.path} is not a regular file", advice=_REMOVE)
        content = os.pread(fd, LONGEST + 1, 0)
        if not _is_left_by_a_daemon(content):
            raise PidFileUnusable(
                f"{self.path} holds something other than a process id, and is not overwritten",
                advice=_REMOVE,
            )
        if not _is_held(fd, fcntl.LOCK_EX):
            return True
        pid = _parse_pid(content)
        if pid is not None and _is_alive(pid) and _writes(pid, fd):
            raise self._already_running(pid)
        return pid is not None

    def _open_to_read(self) -> int | None:
        try:
            return os.open(self.path, os.O_RDONLY | _CAREFULLY)
        except OSError:
            return None

    def _remove(self) -> None:
        # Under the lock, so that no other daemon puts its file there meanwhile.
        for path, fd in ((self.path, self._file), (self._lock_path, self._lock)):
            # What cannot be removed is no obstacle to the next daemon without its lock.
            with suppress(OSError):
                if fd >= 0 and _is_at(path, fd):
                    os.unlink(path)
        self.close()

    def _unusable(self, error: OSError) -> PidFileUnusable:
        path = error.filename if isinstance(error.filename, str) else self.path
        if error.errno == errno.ELOOP:
            return PidFileUnusable(
                f"the pid file {path} is a symbolic link, which is not followed",
                advice=_REMOVE,
            )
        advice = advice_in_shortage(error) or _NAME_ANOTHER
        if error.errno == errno.EACCES:
            advice = "iscsid is run by root"
        return PidFileUnusable(f"pid file {path}: {error.strerror}", advice=advice)


def _is_at(path: str, fd: int) -> bool:
    """Whether ``path`` is the file that is open as ``fd``."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _is_held(fd: int, lock: int) -> bool:
    """Whether another one has a lock that excludes this one, which is taken if not."""
    try:
        fcntl.flock(fd, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _writes(pid: int, fd: int) -> bool:
    """Whether a process has the file open for writing, which only its owner can."""
    directory = f"/proc/{pid}"
    try:
        for number in os.listdir(f"{directory}/fd"):
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(f"{directory}/fd/{number}"), os.fstat(fd)):
                    with open(f"{directory}/fdinfo/{number}", encoding="ascii") as file:
                        flags = int(file.read().partition("flags:")[2].split()[0], 8)
                    if flags & os.O_ACCMODE != os.O_RDONLY:
                        return True
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended meanwhile
    except PermissionError:
        return True  # another user's, who may run iscsid
    return False


def _parse_pid(content: bytes) -> int | None:
    match = re.fullmatch(rb"\s*0*([1-9][0-9]{0,9})\s*", content)
    return int(match[1]) if match else None


def _is_left_by_a_daemon(content: bytes) -> bool:
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
