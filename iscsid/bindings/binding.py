"""The persistent number of a target: the key of its session everywhere in the daemon.

A pure value; iscsid(8), TARGET BINDINGS, defines it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BUSES = 256
TARGETS_PER_BUS = 256

ENTITY_MARK = "="
"""Begins the path of a target that only its NetworkEntity distinguishes from others of its name."""
SESSION_MARK = ";"
"""Stands before the number of a session beyond the first of its path, at the end of the name."""
_SESSION = re.compile(rf"{SESSION_MARK}(?:[2-9]|[1-9][0-9]{{1,2}})\Z")


def path_of_session(path: str, number: int) -> str:
    """Return the name of one of several sessions of a path: the first has that of the path."""
    return path if number == 1 else f"{path}{SESSION_MARK}{number}"


def session_of_path(path: str) -> str:
    """Return the mark and number at the end of a path's name; empty for the first session."""
    match = _SESSION.search(path)
    return match[0] if match else ""


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """An iSCSI bus number and a target id on it, each 0 to 255. Not a SCSI host number."""

    bus: int
    target: int

    def __post_init__(self) -> None:
        if not (0 <= self.bus < BUSES and 0 <= self.target < TARGETS_PER_BUS):
            raise ValueError(f"no such binding: bus {self.bus}, target {self.target}")

    def __str__(self) -> str:
        return f"bus{self.bus}/target{self.target}"
