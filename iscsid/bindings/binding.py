"""The persistent number of a target: the key of its session everywhere in the daemon.

A pure value; iscsid(8), TARGET BINDINGS, defines it.
"""

from __future__ import annotations

from dataclasses import dataclass

BUSES = 256
TARGETS_PER_BUS = 256

ENTITY_MARK = "="
"""Begins the path of a target that only its NetworkEntity distinguishes from others of its name."""


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
