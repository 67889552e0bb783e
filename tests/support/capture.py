"""Reads recorded sessions: bytes from outside, kept as text under ``tests/captures``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "captures"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One PDU of a recorded session."""

    is_sent: bool
    octets: bytes


def names() -> list[str]:
    """Return what sessions there are."""
    return sorted(path.stem for path in DIRECTORY.glob("*.hex"))


def read(name: str) -> list[Recorded]:
    """Return the PDUs of a session in their order; ``>`` was sent by us, ``<`` by the target."""
    lines: list[str] = []
    for line in (DIRECTORY / f"{name}.hex").read_text().splitlines():
        if line.startswith((">", "<")):
            lines.append(line)
        elif not line.startswith("#"):
            lines[-1] += line
    return [Recorded(line[0] == ">", bytes.fromhex(line[1:])) for line in lines]


def received(name: str) -> list[bytes]:
    """Return what the target of a session sent, PDU by PDU."""
    return [each.octets for each in read(name) if not each.is_sent]
