"""Datagrams that a real kernel sent or accepted: ``tests/captures/uevents-6.1.txt``."""

from __future__ import annotations

from pathlib import Path

_FILE = Path(__file__).parents[1] / "captures" / "uevents-6.1.txt"
HANDLE = 0xFFFFFFFFC08DA060

RECORDED: dict[tuple[str, str], bytes] = {
    (name, kind): bytes.fromhex(octets)
    for name, kind, octets in (
        line.split() for line in _FILE.read_text().splitlines() if line and not line.startswith("#")
    )
}
"""From what a datagram is about, and ``request``, ``reply`` or ``event``, to its octets."""
