"""Reading a file whole, and replacing one so that at every moment it is the old or the new one.

Knows nothing of what is in the files. Never follows a symbolic link at the end of a path, so that
a user who may write to the directory cannot make root write elsewhere. Touches files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from iscsid.facts import FileContents
from iscsid.jobs import FileStamp

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 1 << 20
MOST_COPIES = 1000
LONGEST_TEXT = 16 << 20
"""Octets; a longer file was not written by a person."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A file as it was read; ``stamp`` is ``None`` if there was none."""

    octets: bytes = b""
    stamp: FileStamp | None = None


def stamp_of(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read(path: str, longest: int) -> Contents:
    """Return the first ``longest`` octets of a regular file; no file is no error.

    Raises ``OSError``, also if it is no regular file.
    """
    try:
        descriptor = os.open(path, _LOOK)
    except FileNotFoundError:
        return Contents()
    except OSError as error:
        raise _wording(error, path) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        with open(descriptor, "rb", closefd=False) as file:
            return Contents(file.read(longest), stamp_of(status))
    finally:
        os.close(descriptor)


def read_file(filename: str) -> FileContents:
    """Read a regular file, with the status of that very file."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(filename, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return FileContents(filename, error="this is no regular file")
            octets = file.read(LONGEST_TEXT + 1)
    except FileNotFoundError as error:
        if os.path.islink(filename):
            # Not missing: a file made in its place would be another than the one meant.
            what = f"this is a symbolic link to {os.readlink(filename)}, which does not exist"
            return FileContents(filename, error=what)
        what = f"the file cannot be read: {error.strerror}"
        return FileContents(filename, error=what, is_missing=True)
    except OSError as error:
        return FileContents(filename, error=f"the file cannot be read: {error.strerror}")
    if len(octets) > LONGEST_TEXT:
        return FileContents(filename, error=f"the file is longer than {LONGEST_TEXT >> 20} MiB")
    return FileContents(filename, octets, status.st_mode, status.st_uid)


class Replacement:
    """The one way to write a file: held open, it keeps every other writer out.

    The lock is a file beside it, and a POSIX lock on that: it ends with the process, is not
    inherited by children, and works on network file systems.
    """

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = name

    @classmethod
    @contextmanager
    def of(cls, path: str) -> Iterator[Replacement]:
        """Open the directory of ``path``, which is made if it is missing, and take the lock.

        Raises ``OSError``; ``BlockingIOError`` if another process is writing.
        """
        parent, name = os.path.split(os.path.abspath(path))
        os.makedirs(parent, mode=0o755, exist_ok=True)
        directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            lock = os.open(f".{name}.lock", flags, 0o600, dir_fd=directory)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield cls(directory, name)
            finally:
                os.close(lock)
        finally:
            os.close(directory)

    def stamp(self) -> FileStamp | None:
        """Return the state of the file as it is now."""
        status = self._status()
        return None if status is None else stamp_of(status)

    def keep_copy(self, suffix: str) -> str:
        """Give what is there now a second name that the replacement leaves alone; return it.

        It changes the file's stamp. A copy that was kept already is not kept again.
        """
        for number in range(1, MOST_COPIES):
            copy = f"{self._name}.{suffix}-{number}"
            try:
                self._link(copy)
            except FileExistsError:
                if not self._is_copy(copy):
                    continue
            return copy
        raise OSError(errno.EEXIST, f"there are {MOST_COPIES - 1} copies already", self._name)

    def write(self, octets: bytes, default_mode: int = 0o644) -> FileStamp:
        """Put ``octets`` in the file's place, with its mode and owner; return the new state.

        On disk when it returns. Raises ``OSError``: then the old file is still there, whole.
        """
        old = self._status()
        new = f".{self._name}.new"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=self._directory)  # left by a daemon that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600, dir_fd=self._directory)
        try:
            _fill(descriptor, octets)
            if old is not None:
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, default_mode if old is None else stat.S_IMODE(old.st_mode))
            os.fsync(descriptor)
            os.rename(new, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=self._directory)
            raise
        finally:
            os.close(descriptor)
        os.fsync(self._directory)
        status = self._status()
        if status is None:
            raise FileNotFoundError(errno.ENOENT, "it was removed as soon as written", self._name)
        return stamp_of(status)

    def _status(self) -> os.stat_result | None:
        try:
            status = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", self._name)
        return status

    def _is_copy(self, name: str) -> bool:
        status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        current = self._status()
        return current is not None and os.path.samestat(status, current)

    def _link(self, copy: str) -> None:
        """Hard link: needs no space, and is all there or not at all."""
        os.link(
            self._name,
            copy,
            src_dir_fd=self._directory,
            dst_dir_fd=self._directory,
            follow_symlinks=False,
        )


def risk_of(path: str) -> str:
    """Describe how a user other than root and ours may change the file; empty if none can."""
    path = os.path.abspath(path)
    for place in (os.path.dirname(path), path):
        try:
            status = os.lstat(place)
        except OSError:
            continue
        if status.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to user {status.st_uid}, who may change it"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode):
            return f"{place} may be changed by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def _fill(descriptor: int, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest[:_CHUNK]) :]


def _wording(error: OSError, path: str) -> OSError:
    """Reword the error of O_NOFOLLOW, which would mislead."""
    if error.errno == errno.ELOOP:
        return OSError(errno.ELOOP, "it is a symbolic link; name the file itself", path)
    return error
