"""What a daemon and its children cost: processor time, memory, wake-ups, from /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return the words of /proc/PID/stat from the state on; proc(5) counts from 3."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def processor_time(pid: int) -> float:
    """Return the seconds that a process and the children it has waited for have used."""
    return sum(map(int, _stat(pid)[11:15])) / TICKS


def members(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


@dataclass
class ProcessTree:
    """A daemon, its children, and theirs. ``sample`` as often as the peak matters."""

    root: int
    peak_pss: int = 0
    """Kilobytes, of all processes together."""
    _seen: dict[int, float] = field(default_factory=dict)

    def sample(self) -> None:
        """Note memory and processor time now."""
        pss = 0
        for pid in members(self.root):
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                pss += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
                self._seen[pid] = processor_time(pid)
        self.peak_pss = max(self.peak_pss, pss)

    def processor_time(self) -> float:
        """Return seconds of all that live; a process counts the children it has waited for."""
        self.sample()
        return sum(self._seen.get(pid, 0.0) for pid in members(self.root))

    def wake_ups(self) -> int:
        """Return how often the living processes have waited and gone on."""
        total = 0
        for pid in members(self.root):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text().splitlines()
                lines = (line for line in status if line.startswith("voluntary_ctxt_switches"))
                total += sum(int(line.split()[1]) for line in lines)
        return total


def forks() -> int:
    """Return the number of processes that this machine has made since it booted."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes"))
