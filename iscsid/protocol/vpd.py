"""The Device Identification page of vital product data, by which a logical unit is known.

Page 83h is a list of designators (SCSI Primary Commands). Some name the logical unit and no other
in the world, and those it must keep; others name the port that was asked, or the target, or are
specific to the vendor, and may differ from one login to the next. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from iscsid.protocol.printable import printable

DEVICE_IDENTIFICATION = 0x83
HEADER_LENGTH = 4

_DISKS = (0x00, 0x0E)
"""The PERIPHERAL DEVICE TYPEs of a direct access block device, and of a reduced one."""
_LOGICAL_UNIT = 0
"""The ASSOCIATION of a designator that is neither of a port nor of the target."""
_NAMES = {1: "t10", 2: "eui", 3: "naa", 7: "md5", 8: "", 10: "uuid"}
"""The DESIGNATOR TYPEs that name a logical unit; the words are the kernel's (``wwid`` in sysfs)."""
_TEXTS = (1, 8)
_PREFERENCE = (8, 3, 2, 10, 7, 1)
"""Which of them to show, the best first."""

LunIdentity = tuple[int, bytes]
"""A LUN as the kernel numbers it, and the page that it answered when the kernel met it."""


@dataclass(frozen=True, slots=True)
class ReplacedLun:
    """A LUN that answered with another identity than before, and which one, as a digest."""

    lun: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Designator:
    """One name of a logical unit."""

    kind: int
    octets: bytes

    def __str__(self) -> str:
        is_text = self.kind in _TEXTS
        shown = printable(self.octets.rstrip(b"\0 ")) if is_text else self.octets.hex()
        return ".".join(filter(None, (_NAMES[self.kind], shown)))


def page_length(page: bytes) -> int:
    """Return the length in the page's header, the header included."""
    return HEADER_LENGTH + int.from_bytes(page[2:4], "big")


def is_identification_page(page: bytes) -> bool:
    """Whether this is a Device Identification page at all, and of a logical unit that is there.

    A target answers for a LUN that it does not have, too: with a peripheral qualifier of 3.
    """
    return len(page) >= HEADER_LENGTH and page[1] == DEVICE_IDENTIFICATION and page[0] >> 5 < 3


def is_disk(page: bytes) -> bool:
    """Whether the page is that of a logical unit of blocks, no tape or controller for instance."""
    return page[0] & 0x1F in _DISKS


def designators(page: bytes) -> frozenset[Designator]:
    """Return the complete designators of the logical unit in ``page``."""
    return frozenset(_designators(page[: page_length(page)]))


def _designators(page: bytes) -> Iterator[Designator]:
    at = HEADER_LENGTH
    while at + 4 <= len(page):
        kind, association, length = page[at + 1] & 0x0F, page[at + 1] >> 4 & 0x03, page[at + 3]
        octets = page[at + 4 : at + 4 + length]
        if association == _LOGICAL_UNIT and kind in _NAMES and octets and len(octets) == length:
            yield Designator(kind, octets)
        at += 4 + length


def fingerprint(page: bytes) -> bytes:
    """Return a digest of the names in ``page``: 32 octets, however long the page is."""
    names = sorted((name.kind, name.octets) for name in designators(page))
    return sha256(repr(names).encode()).digest()


def comparable(identities: Iterable[LunIdentity]) -> tuple[LunIdentity, ...]:
    """Return those whose page names the logical unit; the others cannot be compared."""
    return tuple(each for each in identities if designators(each[1]))


def best(names: frozenset[Designator]) -> str:
    """Return the name to show, empty if there is none: the longest of the preferred kind."""

    def rank(name: Designator) -> tuple[int, int, bytes]:
        return _PREFERENCE.index(name.kind), -len(name.octets), name.octets

    return str(min(names, key=rank)) if names else ""


def changed_identity(was: str, now: str) -> str:
    """Describe a changed identity; ``now`` is empty if the unit has no name any more."""
    return (
        f"another logical unit than before answers here: it was {was!r} and "
        f"{f'is {now!r}' if now else 'has no name now'}"
    )
