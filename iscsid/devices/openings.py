"""The openings of iSCSI disks that are explained by users, beside those that the kernel counts.

Every session of iscsi_tcp holds a reference to the module, and so does every opening of a disk. A
user in the kernel that is shown nowhere, such as an exported LUN, appears in this count alone. One
reference that is explained twice, or explained by what has ended, would hide it. So an opening
explains a reference only if it was there before the count was read and after that; what is opened
for a moment is not in the smallest of several counts.

Reads the module's count under /sys and the kernel's release under /proc, and compares descriptors
with kcmp(2).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from iscsid.devices.sysfs import read_attribute

READINGS = 6
BETWEEN = 0.05
"""Seconds between two readings: a program that reads from a disk now and then is missed by one."""
_EACH_OF_A_PARTITION = (6, 5)
"""From Linux 6.5 on each opening of a partition is one of the disk; before, only the first is."""
_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "ppc64le": 354, "s390x": 343}
_KCMP_FILE = 0
_HIDING = ("target_core_mod", "nvmet", "drbd", "bcache", "bcachefs", "zfs", "rnbd_server")

Descriptor = tuple[int, int]
"""The id of a process, and the number of the descriptor there."""


class Counted(Enum):
    """Which openings of a device node hold a reference to the module."""

    EACH = auto()
    FIRST = auto()
    NONE = auto()


def counted_of_partitions(proc: Path) -> Counted:
    """Return what this kernel counts of a partition; the fewer if its release is not known."""
    release = read_attribute(proc / "sys/kernel/osrelease") or ""
    match = re.match(r"(\d+)\.(\d+)", release)
    is_new = match is not None and (int(match[1]), int(match[2])) >= _EACH_OF_A_PARTITION
    return Counted.EACH if is_new else Counted.FIRST


@dataclass(slots=True)
class Openings:
    """What one survey has found, each under a name under which a later one finds it again."""

    references: set[str] = field(default_factory=set)
    """What holds a reference without an opening: sessions and scans."""
    removed: dict[str, Counted] = field(default_factory=dict)
    """Devices that are gone, and still have users."""
    by_kernel: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By device: file systems, swap, holders, loop devices, exports, openings that wait."""
    by_descriptor: defaultdict[str, set[Descriptor]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def that_last(self, later: Openings) -> Openings:
        """Return what a later survey has found again."""
        lasting = Openings(self.references & later.references, self.removed)
        for key, users in self.by_kernel.items():
            lasting.by_kernel[key] = users & later.by_kernel.get(key, set())
        for key, descriptors in self.by_descriptor.items():
            lasting.by_descriptor[key] = descriptors & later.by_descriptor.get(key, set())
        return lasting

    def explain(
        self, counted: dict[str, Counted], is_same: Callable[[Descriptor, Descriptor], bool]
    ) -> int:
        """Return how many references are explained; ``counted`` has the devices of all disks."""
        explained = len(self.references)
        for key, which in (*counted.items(), *self.removed.items()):
            openings = len(self.by_kernel.get(key, ()))
            openings += _count_different(self.by_descriptor.get(key, ()), is_same)
            if which is not Counted.NONE:
                explained += openings if which is Counted.EACH else min(openings, 1)
        return explained


def hidden_users(root: Path) -> list[str]:
    """Return the loaded drivers that may have disks open, which nothing but the count shows."""
    return [name for name in _HIDING if (root / "module" / name).exists()]


def lowest_count(root: Path, enough: int, pause: Callable[[float], None]) -> int | None:
    """Return the smallest of several counts: an opening that lasts is in every one.

    ``None``: the kernel counts nothing, as the module is built in. The first count that is not
    above ``enough`` is the last. Raises ``OSError`` or ``ValueError`` if a count cannot be read.
    """
    lowest: int | None = None
    for reading in range(READINGS):
        if reading:
            pause(BETWEEN)
        try:
            count = int((root / "module/iscsi_tcp/refcnt").read_text())
        except FileNotFoundError:
            return None
        lowest = count if lowest is None else min(lowest, count)
        if lowest <= enough:
            break
    return lowest


def _count_different(
    descriptors: Iterable[Descriptor], is_same: Callable[[Descriptor, Descriptor], bool]
) -> int:
    """Count the openings behind descriptors: a process inherits some, and duplicates others."""
    different: list[Descriptor] = []
    for descriptor in descriptors:
        if not any(is_same(descriptor, other) for other in different):
            different.append(descriptor)
    return len(different)


def is_same_opening(one: Descriptor, other: Descriptor) -> bool:
    """Whether two descriptors come of one opening; so they do as long as nothing is known."""
    number = _KCMP.get(os.uname().machine)
    if number is None:
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    # 1, 2 and 3 are three ways of being different, -1 is an error.
    return int(libc.syscall(number, one[0], other[0], _KCMP_FILE, one[1], other[1])) < 1
