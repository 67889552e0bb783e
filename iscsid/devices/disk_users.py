"""The users of the disks of sessions, which are checked before a session or a LUN is removed.

A disk is in use if it, a partition of it, or its generic or tape node is mounted in any mount
namespace, carries a live file system, is swap, is held by a driver above it (device-mapper, md,
bcache), backs a loop device, is exported, or is open in a process. What cannot be learnt counts as
use: the answer then begins with ``NOT_CHECKED``.

No device node is opened, because opening one waits for a target that may never answer. Instead the
kernel's count of openings is compared with the users that were found (``openings``): users in the
kernel that are shown nowhere appear in this count alone. The count is one for all disks, so that an
opening which no user explains is a doubt about each of them. The users of disks that have been
removed are in it, too, and are found by the marks on their nodes (``nodes``); they use no disk that
is there.

Each of /proc's tables and each process is read once a survey for all disks. Reads /proc, /sys and
the status of nodes under /dev; enters mount namespaces that no process is in, so it must run in a
process of its own. Even these reads may wait, for instance for a file server: they are for a
worker.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from iscsid.devices.exports import exports
from iscsid.devices.kernel_waits import opens_that_wait, threads_that_report_luns
from iscsid.devices.mount_namespace import mounts_of_namespace
from iscsid.devices.mounts import unescape
from iscsid.devices.nodes import mark, mark_of, number_at, number_of
from iscsid.devices.openings import (
    Counted,
    Descriptor,
    Openings,
    counted_of_partitions,
    hidden_users,
    is_same_opening,
    lowest_count,
)
from iscsid.devices.sysfs import ScsiDevice, Sysfs, entries, read_attribute
from iscsid.facts import NOT_CHECKED

_LOOKS = 4
_PAUSE = 0.3
"""Seconds between two looks. udev's rules open a new or changed disk for some milliseconds."""
_WATCHERS = frozenset({"multipathd", "systemd-udevd", "(udev-worker)", "udevd", "eudevd"})
"""Programs that keep nodes open to watch the devices, and lose nothing when those go; the same
holds for what they start. udev's rules run scsi_id, which hangs at a disk whose target is gone."""
_GENERATIONS = 3
"""How far a process is followed to those: a rule may start its program by way of a shell."""
_OURS = "iscsid"
"""How the names of our own workers begin: one that hangs in a scan may have a node open."""
_REMOTE = frozenset(
    "9p afs ceph cifs coda fuse fuseblk gfs2 lustre ncpfs nfs nfs4 ocfs2 smb3 smbfs".split()
)
"""File systems whose files are not looked at: the status of one may wait for a server."""
_SCAN = re.compile(r"/host(\d+)/scsi_host/host\1/scan")
_FILE_SYSTEM = "file system"
"""One opening, whether it is seen in a table of mounts, under /sys/fs or by its open files."""
_CHARACTER_DEVICES = {
    "scsi_generic": Counted.EACH,
    "scsi_tape": Counted.EACH,
    "bsg": Counted.NONE,
}
_OF_ISCSI_TCP = r".*/devices/platform/host\d+/session\d+/target[^/]+/[^/]+"
"""The host of a session of another driver (ib_iser, qedi) is below the device of its adapter."""
_OF_OUR_DRIVER = re.compile(f"{_OF_ISCSI_TCP}/")
_OF_REMOVED_DISK = re.compile(rf"{_OF_ISCSI_TCP}/block/[^/]+(/[^/]+)?")
"""A disk or partition."""
_NODE_OF_REMOVED_DISK = re.compile(r"/dev/(s[dgrt]|nst)\S+ \(deleted\)")
_MOST_GUESSES = 3
"""So many users that may be what is counted are named in a line of the log."""
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, slots=True)
class _Node:
    """A device node of a logical unit: a disk, a partition, a tape, a generic device."""

    directory: Path
    number: str
    is_block: bool
    counted: Counted

    @property
    def path(self) -> str:
        return f"/dev/{self.directory.name.replace('!', '/')}"

    @property
    def key(self) -> str:
        return _key(self.is_block, self.number)


def find_users(
    sysfs: Sysfs,
    devices: Sequence[ScsiDevice],
    *,
    proc: Path = Path("/proc"),
    pause: Callable[[float], None] = time.sleep,
    is_same: Callable[[Descriptor, Descriptor], bool] = is_same_opening,
    mark_of: Callable[[Path], str | None] = mark_of,
) -> list[tuple[str, ...]]:
    """Return in words, for each of ``devices``, what uses it; empty for one that is not in use.

    Users that may be there for a moment only (a process, a difference of counts) are looked for
    again, and count if they are still there.
    """
    of_partitions = counted_of_partitions(proc)
    nodes = {device: _nodes(device, of_partitions) for device in (*devices, *sysfs.all_devices())}
    counted = {node.key: node.counted for found in nodes.values() for node in found}
    for node in (node for found in nodes.values() for node in found):
        mark(node.directory, node.path)
    before: frozenset[str] = frozenset()

    def look_around() -> _Survey:
        return _Survey(sysfs, nodes, proc, of_partitions, mark_of)

    survey = look_around()
    for look in range(_LOOKS):
        if look:
            pause(_PAUSE)
        earlier = survey.openings
        try:
            enough = earlier.explain(counted, is_same)
            count, error = lowest_count(sysfs.root, enough, pause), ""
        except (OSError, ValueError) as failure:
            count, error = None, str(getattr(failure, "strerror", None) or failure)
        survey = look_around()
        explained = earlier.that_last(survey.openings).explain(counted, is_same)
        survey.compare(count, explained, error)
        passing = survey.passing(devices)
        if not passing or (look and passing <= before):
            break
        before = passing
    return [survey.uses(device, confirmed=before) for device in devices]


class _Survey:
    """One look at everything."""

    def __init__(
        self,
        sysfs: Sysfs,
        nodes: Mapping[ScsiDevice, Sequence[_Node]],
        proc: Path,
        of_partitions: Counted,
        mark_of: Callable[[Path], str | None],
    ) -> None:
        self._sysfs, self._nodes, self._proc = sysfs, nodes, proc
        self._of_partitions, self._mark_of = of_partitions, mark_of
        self._wanted = {node.key for found in nodes.values() for node in found}
        self._lasting: dict[str, str] = {}
        """By device: a use that does not end by itself."""
        self._processes: dict[str, dict[str, None]] = {}
        """By device: the processes that have it open."""
        self.openings = Openings()
        self._file_systems: dict[str, str] = {}
        """By mount id: the type."""
        self.doubts: dict[str, None] = {}
        self._guesses: dict[str, None] = {}
        """Users of removed devices of which it is not known whether they were of iscsi_tcp."""
        namespaces = self._read_processes_namespaces()
        descriptors = list(self._descriptors(namespaces))
        self._read_namespaces(namespaces)
        self._read_swaps()
        self._read_loops()
        self._read_exports()
        self._read_descriptors(descriptors)
        self._read_opens_that_wait()
        self._live = self._live_file_systems()
        self._holders = {
            node.key: _holders(node) for found in nodes.values() for node in found if node.is_block
        }
        self._note_openings()
        self._read_holders_of_removed()

    def compare(self, count: int | None, explained: int, error: str) -> None:
        """Take note of how many references the kernel counts, or why that is not known."""
        if error:
            self._doubt(f"the kernel's count of openings: {error}")
        elif count is None:
            for name in hidden_users(self._sysfs.root):
                self._doubt(f"this kernel counts no openings, and {name} may have some")
        elif count > explained:
            self._doubt(self._unexplained(count - explained))

    def _unexplained(self, number: int) -> str:
        openings = "1 opening" if number == 1 else f"{number} openings"
        guesses = "; ".join(list(self._guesses)[:_MOST_GUESSES])
        perhaps = f" (perhaps of a removed one: {guesses})" if guesses else ""
        return f"the kernel counts {openings} of iSCSI disks more than users were found{perhaps}"

    def passing(self, devices: Iterable[ScsiDevice]) -> frozenset[str]:
        """Return the uses that may be gone a moment later, of disks that have no others."""
        found = set()
        for device in devices:
            nodes = self._nodes[device]
            if not any(self._lasting_uses(node) for node in nodes):
                found |= {use for node in nodes for use in self._open_in(node)}
                found |= self.doubts.keys()
        return frozenset(found)

    def uses(self, device: ScsiDevice, confirmed: frozenset[str]) -> tuple[str, ...]:
        """Return what uses a disk; of what may be gone, only what is ``confirmed`` by a look."""
        nodes = self._nodes[device]
        if uses := tuple(use for node in nodes for use in self._lasting_uses(node)):
            return uses
        if uses := tuple(use for n in nodes for use in self._open_in(n) if use in confirmed):
            return uses
        return tuple(NOT_CHECKED + why for why in self.doubts)

    # --- what was found of a node ---------------------------------------------------------------

    def _lasting_uses(self, node: _Node) -> list[str]:
        uses = [self._lasting[node.key]] if node.key in self._lasting else []
        if not uses and node.is_block and node.directory.name in self._live:
            uses.append(self._live[node.directory.name])
        uses += (f"is held by {_holder_name(each)}" for each in self._holders.get(node.key, ()))
        return [f"{node.path} {use}" for use in uses]

    def _open_in(self, node: _Node) -> list[str]:
        return [f"{node.path} is open in {who}" for who in self._processes.get(node.key, ())]

    def _note_openings(self) -> None:
        """Note what holds a reference beside loop devices, swap and descriptors."""
        self.openings.references |= {f"session {sid}" for sid in self._sysfs.session_ids()}
        for nodes in self._nodes.values():
            for node in nodes:
                users = self.openings.by_kernel[node.key]
                users |= {f"holder {holder.name}" for holder in self._holders.get(node.key, ())}
                if node.is_block and node.directory.name in self._live:
                    users.add(_FILE_SYSTEM)

    # --- mounts ---------------------------------------------------------------------------------

    def _read_processes_namespaces(self) -> dict[int, Path]:
        """Return, for each mount namespace that a process is in, that process's directory."""
        found: dict[int, Path] = {}
        own = self._proc / "self"
        for process in (own, *self._each_process()):
            with self._doubting(f"the mount namespace of {process.name}"):
                found.setdefault(os.stat(process / "ns/mnt").st_ino, process)
        return found

    def _read_namespaces(self, namespaces: dict[int, Path]) -> None:
        """Read the mounts of each namespace; one that only a file keeps alive is entered."""
        kept: dict[int, str] = {}
        for place in namespaces.values():
            with self._doubting(f"the mounts of {place.name}"):
                if place.parent.name == "fd":
                    kept[os.stat(place).st_ino] = str(place)
                else:
                    kept |= self._read_mounts((place / "mountinfo").read_text(errors="replace"))
        for inode, path in kept.items():
            if inode not in namespaces or namespaces[inode].parent.name == "fd":
                with self._doubting(f"the mounts of the namespace {path}"):
                    self._read_mounts(mounts_of_namespace(path))

    def _read_mounts(self, table: str) -> dict[int, str]:
        """Take in a table of mounts; return the mount namespaces that are mounted in it."""
        kept: dict[int, str] = {}
        for line in table.splitlines():
            place, _, kind = line.partition(" - ")
            mount, _parent, number, root, point = place.split(" ")[:5]
            file_system, source = kind.split(" ")[:2]
            self._file_systems[mount] = file_system
            if file_system == "nsfs" and (match := re.fullmatch(r"mnt:\[(\d+)\]", root)):
                kept[int(match[1])] = unescape(point)
            has_own_number = number.startswith("0:")
            # Some file systems (btrfs) have a number of their own: the source names the disk.
            key = _key_of_path(unescape(source)) if has_own_number else _key(True, number)
            if key is not None and key not in self._lasting:
                self._lasting[key] = f"is mounted on {unescape(point)}"
                if not has_own_number and self._is_gone(key):
                    self._guesses[f"{number} is mounted on {unescape(point)}"] = None
                if not has_own_number:
                    # A source is any text, and one of FUSE is opened by a process: it explains no
                    # opening. What btrfs has open is found in /sys/fs.
                    self.openings.by_kernel[key].add(_FILE_SYSTEM)
        return kept

    def _live_file_systems(self) -> dict[str, str]:
        """Return a use for each block device that a file system or journal has, mounted or not.

        A file system that was unmounted lazily is in no table of mounts, and still writes.
        """
        found = {}
        for directory in entries(self._sysfs.root, "fs/*"):
            for entry in entries(directory, "*"):
                found[entry.name] = f"carries a live {directory.name} file system"
        for entry in entries(self._sysfs.root, "fs/btrfs/*/devices/*"):
            found[entry.name] = "is part of a live btrfs file system"
        for entry in entries(self._proc, "fs/jbd2/*"):
            if not re.search(r"-\d+$", entry.name):  # a journal within a file system has an inode
                found[entry.name] = "is the journal of a live file system"
        return found

    # --- swap, loop devices, processes ----------------------------------------------------------

    def _read_swaps(self) -> None:
        with self._doubting("the table of swap"):
            for line in (self._proc / "swaps").read_text(errors="replace").splitlines()[1:]:
                path, kind = line.split()[:2]
                key = _key_of_path(unescape(path))
                if key is not None:
                    self._lasting.setdefault(key, "is swap")
                    self.openings.by_kernel[key].add("swap")
                elif kind == "partition":
                    self._doubt(f"the swap device {path} is not in /dev")

    def _read_loops(self) -> None:
        for entry in entries(self._sysfs.root, "block/loop*/loop/backing_file"):
            # A file is on a file system that is mounted or alive, and so is in use already.
            path, loop = read_attribute(entry) or "", entry.parent.parent.name
            if (key := _key_of_path(path)) is not None:
                self._lasting.setdefault(key, f"backs {loop}")
                self.openings.by_kernel[key].add(loop)
            elif _NODE_OF_REMOVED_DISK.fullmatch(path):
                self._guesses[f"{path} backs {loop}"] = None

    def _read_exports(self) -> None:
        with self._doubting("the disks that the kernel exports"):
            for number, name in exports(self._sysfs.root):
                key = _key(True, number)
                self._lasting.setdefault(key, f"is exported as {name}")
                self.openings.by_kernel[key].add(f"export {name}")
                if self._is_gone(key):
                    self._guesses[f"{number} is exported as {name}"] = None

    def _is_gone(self, key: str | None) -> bool:
        """Whether no device has this number: otherwise an old node opens another one by it."""
        if key is None or key in self._wanted:
            return False
        kind = "block" if key.startswith("b") else "char"
        return not (self._sysfs.root / "dev" / kind / key[1:]).exists()

    def _read_holders_of_removed(self) -> None:
        """A holder goes on showing the disk below: as a link to where that was."""
        for kind in ("dm-*", "md*"):
            for link in entries(self._sysfs.root, f"block/{kind}/slaves/*"):
                path = str(link.resolve())
                if _OF_REMOVED_DISK.fullmatch(path) and not os.path.lexists(path):
                    holder = link.parent.parent.name
                    self.openings.by_kernel[self._key_of_removed(path)].add(f"holder {holder}")

    def _key_of_removed(self, path: str) -> str:
        """Return the key of a removed device, which is no present one's."""
        key = f"removed {path}"
        is_partition = Path(path).parent.parent.name == "block"
        self.openings.removed[key] = self._of_partitions if is_partition else Counted.EACH
        return key

    def _descriptors(self, namespaces: dict[int, Path]) -> Iterator[tuple[Path, Path, str]]:
        """Yield process, descriptor and target of each descriptor that leads to a file.

        A descriptor may keep a mount namespace alive, which is added to ``namespaces``.
        """
        for process in self._each_process():
            with self._doubting(f"the open files of {process.name}"):
                for name in os.listdir(process / "fd"):
                    descriptor = process / "fd" / name
                    with suppress(*_GONE):
                        target = os.readlink(descriptor)
                        if target.startswith("mnt:["):
                            namespaces.setdefault(int(target[5:-1]), descriptor)
                        elif target.startswith("/"):
                            yield process, descriptor, target

    def _read_descriptors(self, descriptors: Iterable[tuple[Path, Path, str]]) -> None:
        hosts = {str(self._sysfs.host_no(sid)) for sid in self._sysfs.session_ids()}
        scans: dict[Path, bool] = {}
        """By process: whether each host that it scans is of iscsi_tcp."""
        for process, descriptor, target in descriptors:
            if target.startswith("/sys/devices/"):
                if match := _SCAN.search(target):
                    scans[process] = match[1] in hosts and scans.get(process, True)
                continue
            with self._doubting(f"the open files of {process.name}"):
                key, is_node = self._key_of_descriptor(process, descriptor, target)
                if key not in self._wanted:
                    if is_node and self._is_gone(key):
                        self._read_opening_of_removed(process, descriptor, target)
                    continue
                if is_node:
                    if _is_only_a_path(process, descriptor):
                        continue
                    which = (int(process.name), int(descriptor.name))
                    self.openings.by_descriptor[key].add(which)
                else:
                    self.openings.by_kernel[key].add(_FILE_SYSTEM)
                self._note_process(key, process)
        for process in (process for process, is_ours in scans.items() if is_ours):
            with self._doubting(f"the scan of {process.name}"):
                threads = threads_that_report_luns(process)
                self.openings.references |= {f"scan {process.name}/{each}" for each in threads}

    def _read_opens_that_wait(self) -> None:
        """An open(2) that waits for a target, as of a CD, holds its reference already."""
        for process in self._each_process():
            with self._doubting(f"the threads of {process.name}"):
                for thread, path in opens_that_wait(process):
                    # As that process sees it. What a link leads to may be another device here.
                    status = os.lstat(f"{process}/root{path}")
                    key = _key(stat.S_ISBLK(status.st_mode), number_of(status.st_rdev))
                    if key in self._wanted:
                        self.openings.by_kernel[key].add(f"open {process.name}/{thread}")
                        self._note_process(key, process)

    def _note_process(self, key: str, process: Path) -> None:
        """Note a process that has the device open, unless it only watches."""
        name = _name_of(process)
        if not self._is_watcher(process) and not name.startswith(_OURS):
            self._processes.setdefault(key, {})[f"{name} (pid {process.name})"] = None

    def _read_opening_of_removed(self, process: Path, descriptor: Path, target: str) -> None:
        path, is_guess = self._mark_of(descriptor), _NODE_OF_REMOVED_DISK.fullmatch(target)
        if path is not None and not _OF_OUR_DRIVER.match(path):
            return
        if not (path or is_guess) or _is_only_a_path(process, descriptor):
            return
        if path is not None:
            which = (int(process.name), int(descriptor.name))
            self.openings.by_descriptor[self._key_of_removed(path)].add(which)
        else:
            self._guesses[f"{target} is open in {_name_of(process)} (pid {process.name})"] = None

    def _key_of_descriptor(
        self, process: Path, descriptor: Path, target: str
    ) -> tuple[str | None, bool]:
        """Return the device that is open, or that has the unmounted file system of the file, and
        whether it is the device itself."""
        mounted = True
        if not target.startswith("/dev/"):
            mount = re.search(r"^mnt_id:\s*(\d+)", _info_of(process, descriptor), re.MULTILINE)
            file_system = self._file_systems.get(mount[1]) if mount else None
            if file_system in _REMOTE:
                return None, False
            mounted = file_system is not None
        status = os.stat(descriptor)
        if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
            return _key(stat.S_ISBLK(status.st_mode), number_of(status.st_rdev)), True
        return None if mounted else _key(True, number_of(status.st_dev)), False

    def _is_watcher(self, process: Path) -> bool:
        """Whether a process watches devices, or was started by one that does."""
        with suppress(*_GONE):  # a parent that has just gone does not make the process harmless
            for _ in range(_GENERATIONS):
                if _name_of(process) in _WATCHERS:
                    return True
                parent = re.search(r"^PPid:\s*(\d+)", _status_of(process), re.MULTILINE)
                if parent is None or parent[1] == "0":
                    return False
                process = self._proc / parent[1]
        return False

    def _each_process(self) -> list[Path]:
        return [self._proc / name for name in os.listdir(self._proc) if name.isdecimal()]

    # --- what could not be learnt ---------------------------------------------------------------

    def _doubt(self, what: str) -> None:
        self.doubts[what] = None

    @contextmanager
    def _doubting(self, what: str) -> Iterator[None]:
        """Remember that ``what`` could not be read; what has gone meanwhile uses nothing."""
        try:
            yield
        except _GONE:
            pass
        except (OSError, ValueError) as error:
            self._doubt(f"{what}: {getattr(error, 'strerror', None) or error}")


def _name_of(process: Path) -> str:
    return (process / "comm").read_text(errors="replace").strip()


def _status_of(process: Path) -> str:
    return (process / "status").read_text(errors="replace")


def _is_only_a_path(process: Path, descriptor: Path) -> bool:
    """Whether a descriptor names a device that it has not opened (O_PATH of open(2))."""
    flags = re.search(r"^flags:\s*([0-7]+)", _info_of(process, descriptor), re.MULTILINE)
    return flags is not None and bool(int(flags[1], 8) & os.O_PATH)


def _info_of(process: Path, descriptor: Path) -> str:
    return (process / "fdinfo" / descriptor.name).read_text(errors="replace")


def _nodes(device: ScsiDevice, of_partitions: Counted) -> list[_Node]:
    found = [
        (directory, True, of_partitions if (directory / "partition").exists() else Counted.EACH)
        for directory in device.block_devices()
    ]
    # An opening of a bsg node holds the device's queue, and no reference.
    for subsystem, counted in _CHARACTER_DEVICES.items():
        found += ((node, False, counted) for node in entries(device.path, f"{subsystem}/*"))
    numbers = (_device_number(directory) for directory, _, _ in found)
    return [
        _Node(directory, number, is_block, counted)
        for (directory, is_block, counted), number in zip(found, numbers, strict=True)
        if number is not None  # else it has just gone
    ]


def _device_number(directory: Path) -> str | None:
    """Return the number of a node, ``None`` if it has just gone. Raises ``OSError``: a node that
    cannot be looked for may be in use."""
    try:
        return (directory / "dev").read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def _holders(node: _Node) -> list[Path]:
    return entries(node.directory, "holders/*")


def _holder_name(holder: Path) -> str:
    return read_attribute(holder / "dm/name") or holder.name


def _key(is_block: bool, number: str) -> str:
    return f"{'b' if is_block else 'c'}{number}"


def _key_of_path(path: str) -> str | None:
    """Return the key of a block device by its path, ``None`` if it is none."""
    number = number_at(path)
    return None if number is None else _key(True, number)
