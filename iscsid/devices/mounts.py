"""Where block devices are mounted, and which of them are swap: one reading of /proc.

Touches /proc, and looks up the numbers of device nodes. Needs no privilege.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from iscsid.devices.nodes import number_at

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mounts:
    """The mounts and swap areas, by the number of their device (``8:0``).

    Raises ``OSError`` if /proc cannot be read.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._points: dict[str, dict[str, None]] = {}
        for number, mount_point in _mounts(proc):
            self._points.setdefault(number, {})[mount_point] = None
        swaps = (proc / "swaps").read_text(errors="replace").splitlines()[1:]
        self._swaps = {_number_of(line.split()[0]) for line in swaps}

    def points(self, number: str) -> list[str]:
        """Return where the device is mounted."""
        return list(self._points.get(number, ()))

    def is_swap(self, number: str) -> bool:
        return number in self._swaps


def _mounts(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield number and mount point; twice if a file system has a number of its own (btrfs)."""
    for line in (proc / "self/mountinfo").read_text(errors="replace").splitlines():
        place, _, kind = line.partition(" - ")
        number, mount_point = place.split(" ")[2], unescape(place.split(" ")[4])
        yield number, mount_point
        yield _number_of(kind.split(" ")[1]), mount_point


def _number_of(path: str) -> str:
    """Return the number of the device at ``path``, as /proc writes it; empty if it is none."""
    return number_at(unescape(path)) or ""


def unescape(text: str) -> str:
    """Return a path of one of /proc's tables, in which blanks and the like are octal numbers."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
