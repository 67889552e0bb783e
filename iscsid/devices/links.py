"""The tree of links under the base directory: make one, remove one, list what is there.

Every step down the tree is taken from an open directory and never through a symbolic link, so that
a link planted in the path cannot lead elsewhere. Everything else stays: only symbolic
links of the tree's shape that point under /dev are ever replaced or removed, and directories of
that shape when they are empty. The names of links are in ``device_paths``. Touches the base
directory and what is in it, and looks at sysfs.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from iscsid.facts import DeviceVanished, LinkNotMade, LinkNotRemoved, LinksFound

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBER = r"(?:0|[1-9][0-9]{0,9})"
_LEVELS = tuple(re.compile(word + _NUMBER) for word in ("bus", "target", "lun"))
_LINK = re.compile(r"[a-z][a-z0-9]{0,19}")
_TEMPORARY = re.compile(r"\.[a-z][a-z0-9]{0,19}\.new")
_NODE = re.compile(
    r"/dev/(?:[A-Za-z0-9_!:+-][A-Za-z0-9_!:.+-]*/)*[A-Za-z0-9_!:+-][A-Za-z0-9_!:.+-]*"
)


class LinkTree:
    """One base directory. No method raises: an error is a fact.

    ``mode`` is that of every directory made, whatever the umask.
    """

    def __init__(self, basedir: str, mode: int = 0o755) -> None:
        self._basedir = os.path.abspath(basedir)
        self._mode = mode
        self._has_made_base = False

    def present(self) -> LinksFound:
        """Return the links that are there, and remove what a killed daemon left half done."""
        links: list[tuple[str, str]] = []
        remarks: list[str] = []
        with suppress(FileNotFoundError):
            above, name = os.path.split(self._basedir)
            descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _look(descriptor, name, "", _LEVELS, links, remarks)
            finally:
                os.close(descriptor)
        return LinksFound(tuple(links), tuple(f"{self._basedir}{what}" for what in remarks))

    def make(self, path: str, node: str, device: str = "") -> LinkNotMade | DeviceVanished | None:
        """Make or replace one link; ``None`` if it is right now.

        ``device`` is the sysfs path of the device that must have the node now. If it has it no
        more, the device is reported as gone, and nothing is made.
        """
        parts = _parts(path)
        if parts is None or not _NODE.fullmatch(node):
            return LinkNotMade(path, f"no such link may be made to {node!r}")
        if device and not _is_node_of(node, device):
            return DeviceVanished(device)
        *directories, name = parts
        try:
            with self._enter(directories, create=True) as directory:
                _put(directory, name, node)
        except OSError as error:
            return LinkNotMade(path, f"{self._basedir}/{path}: {_why(error)}")
        return None

    def remove(self, path: str) -> LinkNotRemoved | None:
        """Remove one link, and the directories that are empty then.

        A link that is not there is no error.
        """
        parts = _parts(path)
        if parts is None:
            return LinkNotRemoved(path, "it is no path of a link")
        *directories, name = parts
        try:
            with self._enter(directories, create=False) as directory:
                if _node_at(directory, name) is not None:
                    os.unlink(name, dir_fd=directory)
            self._prune(directories)
        except FileNotFoundError:
            return None
        except OSError as error:
            return LinkNotRemoved(path, f"{self._basedir}/{path}: {_why(error)}")
        return None

    @contextmanager
    def _enter(self, directories: list[str], *, create: bool) -> Iterator[int]:
        """Go down from the base directory, and return the last directory's descriptor."""
        descriptor = self._enter_base(create)
        try:
            for name in directories:
                below = self._step(name, descriptor, create)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _enter_base(self, create: bool) -> int:
        parent, name = os.path.split(self._basedir)
        if create:
            os.makedirs(parent, exist_ok=True)
        above = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            existed = _exists(above, name)
            descriptor = self._step(name, above, create)
            self._has_made_base = self._has_made_base or not existed
            return descriptor
        finally:
            os.close(above)

    def _step(self, name: str, above: int, create: bool) -> int:
        """Open a directory, made if need be, that is no symbolic link."""
        try:
            return os.open(name, _DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            if not create:
                raise
        os.mkdir(name, 0o700, dir_fd=above)
        descriptor = os.open(name, _DIRECTORY, dir_fd=above)
        os.fchmod(descriptor, self._mode)
        return descriptor

    def _prune(self, directories: list[str]) -> None:
        """Remove the directories of a path that are empty, from below; the base if it is ours."""
        while directories:
            *directories, name = directories
            with self._enter(directories, create=False) as above:
                if not _rmdir(name, above):
                    return
        if self._has_made_base:
            with suppress(OSError):
                os.rmdir(self._basedir)
                self._has_made_base = False


def _look(
    above: int,
    name: str,
    path: str,
    levels: tuple[re.Pattern[str], ...],
    links: list[tuple[str, str]],
    remarks: list[str],
) -> None:
    """Collect the links in the directory ``name``, which is so many levels above them."""
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        return
    except OSError as error:
        remarks.append(f"{path}: {_why(error)}")
        return
    try:
        for entry in sorted(os.listdir(directory)):
            if not levels:
                _collect(directory, entry, path, links)
            elif levels[0].fullmatch(entry):
                _look(directory, entry, f"{path}/{entry}", levels[1:], links, remarks)
                _rmdir(entry, directory)
    except OSError as error:
        remarks.append(f"{path}: {_why(error)}")
    finally:
        os.close(directory)


def _collect(directory: int, name: str, path: str, links: list[tuple[str, str]]) -> None:
    """Collect one link of ours; one that was left half made is removed."""
    node = _node_at(directory, name)
    if node is not None and _TEMPORARY.fullmatch(name):
        os.unlink(name, dir_fd=directory)
    elif node is not None and _LINK.fullmatch(name):
        links.append((f"{path}/{name}".lstrip("/"), node))


def _put(directory: int, name: str, node: str) -> None:
    """Make the link, or let it replace one of ours in one step."""
    present = _node_at(directory, name)
    if present == node:
        return
    if present is None:
        os.symlink(node, name, dir_fd=directory)
        return
    temporary = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    os.symlink(node, temporary, dir_fd=directory)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _node_at(directory: int, name: str) -> str | None:
    """Return where a link of ours points to, ``None`` if there is none."""
    try:
        node = os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # nothing; no symbolic link
            return None
        raise
    return node if _NODE.fullmatch(node) else None


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _rmdir(name: str, above: int) -> bool:
    """Remove a directory if it is empty; return whether it is gone."""
    try:
        os.rmdir(name, dir_fd=above)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def _is_node_of(node: str, device: str) -> bool:
    """Whether a node belongs to the device that sysfs knows by this path, as of now."""
    try:
        with open(f"{device}/dev", encoding="utf-8") as file:
            major, _, minor = file.read(32).strip().partition(":")
        number = os.stat(node).st_rdev
        return (str(os.major(number)), str(os.minor(number))) == (major, minor)
    except (OSError, ValueError):
        return False


def _parts(path: str) -> list[str] | None:
    """Return the four names of a path, ``None`` if it is not of the tree's shape."""
    parts = path.split("/")
    shapes = (*_LEVELS, _LINK)
    if len(parts) != len(shapes):
        return None
    is_right = all(shape.fullmatch(part) for shape, part in zip(shapes, parts, strict=True))
    return parts if is_right else None


def _why(error: OSError) -> str:
    """Return what is wrong and what to do about it."""
    if error.errno == errno.EEXIST:
        return "something is in the way that iscsid did not make; it is left alone, remove it"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return (
            "a directory on the way is something else, a symbolic link or a file, that iscsid did "
            "not make; it is left alone, remove it"
        )
    return error.strerror or str(error)
