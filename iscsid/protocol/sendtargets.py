"""Parses a SendTargets answer into discovery records while it comes in.

The text arrives in pieces that may be cut anywhere, and each is parsed once: kept are one record
for each target and an unfinished pair. An error in one record does not affect another: an invalid
name, address or pair becomes a note. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from iscsid.errors import ProtocolError
from iscsid.protocol.names import (
    DiscoveryRecord,
    IscsiName,
    Portal,
    TargetAddress,
    lacks_scope,
    parse_iscsi_name,
    parse_target_address,
    why_irregular,
    why_unusable,
)
from iscsid.protocol.printable import Notes, printable
from iscsid.protocol.text import PairSplitter, parse_pair

MAX_TARGETS = 65536
"""As many as can have a number of their own: 256 buses of 256 targets."""

MAX_ADDRESSES = 256
"""Of one target."""

MAX_ANSWER_LENGTH = 64 << 20
"""Octets, which is enough for all these targets."""

MAX_EMPTY_PIECES = 16
"""In a row: a target may send an empty piece now and then, but not for ever."""

_MAX_PAIR_LENGTH = 512
_MAX_REMEMBERED = 1024


@dataclass(slots=True)
class _Target:
    """One target as listed so far."""

    name: IscsiName
    spelling: str
    addresses: dict[TargetAddress, None] = field(default_factory=dict)

    def record(self) -> DiscoveryRecord:
        tagged = {each.portal for each in self.addresses if each.portal_group_tag is not None}
        addresses = tuple(
            each
            for each in self.addresses
            if each.portal_group_tag is not None or each.portal not in tagged
        )
        spelling = "" if self.spelling == self.name else self.spelling
        return DiscoveryRecord(self.name, addresses, spelling)


@dataclass(slots=True)
class _Listing:
    """From one TargetName to the next."""

    target: _Target
    known_addresses: int
    """How many the target had before."""
    has_address: bool = False
    """Whether one was given, be it one that can be used or not."""


class SendTargetsAnswer:
    """One answer to SendTargets, from its first octet to its last.

    ``portal`` is where the discovery session runs: a target listed without any address is there.
    """

    def __init__(self, portal: Portal, notes: Notes) -> None:
        self._portal = portal
        self._notes = notes
        self._splitter = PairSplitter(_MAX_PAIR_LENGTH)
        self._length = 0
        self._empty_pieces = 0
        self._targets: dict[str, _Target] = {}
        self._grown: dict[str, _Target] = {}
        self._listing: _Listing | None = None
        self._is_skipping = False
        self._skipped_names = 0
        self._remembered: dict[str, TargetAddress | None] = {}

    def receive_text(self, piece: bytes) -> None:
        """Take the next piece of the text; raises ``ProtocolError`` if it has no end."""
        self._length += len(piece)
        self._empty_pieces = 0 if piece else self._empty_pieces + 1
        if self._length > MAX_ANSWER_LENGTH or self._empty_pieces > MAX_EMPTY_PIECES:
            raise ProtocolError(
                f"the answer to SendTargets has no end after {self._length} octets and "
                f"{len(self._targets)} targets"
            )
        for pair in self._splitter.split(piece):
            self._take_pair(pair)

    @property
    def skipped(self) -> int:
        """Targets of the answer that cannot be used: for their name, or for all their addresses."""
        return self._skipped_names + sum(not each.addresses for each in self._targets.values())

    def finish(self) -> None:
        """End the answer after its last piece."""
        if rest := self._splitter.take_rest():
            self._notes.add("the answer does not end in NUL")
            self._take_pair(rest)
        self._end_listing()
        for target in self._targets.values():
            if not target.addresses:
                self._notes.add(f"skipped {target.name}: none of its portals can be used")

    def take_records(self) -> tuple[DiscoveryRecord, ...]:
        """Return the targets that are new, or have become more, since the last call.

        A target may be listed more than once; its later record then replaces the earlier one, all
        of which it holds.
        """
        grown = self._grown.values()
        records = tuple(target.record() for target in grown if target.addresses)
        self._grown.clear()
        return records

    def _take_pair(self, pair: bytes) -> None:
        key = pair.partition(b"=")[0]
        try:
            if key == b"TargetName":
                self._begin_listing(pair)
            elif key == b"TargetAddress":
                self._add_address(pair)
            else:
                self._notes.add(f"ignored in the answer: {printable(pair, 60)}")
        except ProtocolError as error:
            self._notes.add(f"skipped a {key.decode()}: {error.what}")
            if key == b"TargetName":
                self._skipped_names += 1

    def _begin_listing(self, pair: bytes) -> None:
        self._end_listing()
        self._is_skipping = True
        spelling = _value(pair)
        target = self._find_target(parse_iscsi_name(spelling), spelling)
        self._is_skipping = False
        self._listing = _Listing(target, len(target.addresses))

    def _find_target(self, name: IscsiName, spelling: str) -> _Target:
        # By its spelling: names that differ in capitals only may be those of two targets.
        target = self._targets.get(spelling)
        if target is None:
            if len(self._targets) == MAX_TARGETS:
                raise ProtocolError(f"{name} comes after {MAX_TARGETS} others")
            target = self._targets[spelling] = _Target(name, spelling)
            if why := why_irregular(name):
                self._notes.add(f"the name of {name} is against the rules ({why}); used as it is")
        return target

    def _add_address(self, pair: bytes) -> None:
        listing = self._listing
        if listing is None:
            if not self._is_skipping:
                self._notes.add(f"ignored without a target: {printable(pair, 60)}")
            return
        listing.has_address = True
        address = self._parse_address(_value(pair))
        if address is None:
            return
        known = listing.target.addresses
        if len(known) >= MAX_ADDRESSES and address not in known:
            raise ProtocolError(f"{listing.target.name} has more than {MAX_ADDRESSES} of them")
        known[address] = None

    def _parse_address(self, text: str) -> TargetAddress | None:
        """Parse ``text``; ``None`` if it was refused before.

        Results are cached: most targets of an answer have the same few addresses.
        """
        if text in self._remembered:
            return self._remembered[text]
        if len(self._remembered) == _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[text] = None
        address = parse_target_address(text)
        address = replace(address, portal=self._with_scope(address.portal))
        if why := why_unusable(address.portal):
            raise ProtocolError(f"{address} cannot be used: {why}")
        self._remembered[text] = address
        return address

    def _with_scope(self, portal: Portal) -> Portal:
        """Give a link-local address the interface over which the answer came."""
        _, percent, scope = self._portal.host.partition("%")
        if percent and lacks_scope(portal):
            return replace(portal, host=f"{portal.host}%{scope}")
        return portal

    def _end_listing(self) -> None:
        listing, self._listing = self._listing, None
        if listing is None:
            return
        target = listing.target
        if not listing.has_address:
            target.addresses[TargetAddress(self._portal)] = None
        if len(target.addresses) > listing.known_addresses:
            self._grown[target.spelling] = target


def _value(pair: bytes) -> str:
    if len(pair) > _MAX_PAIR_LENGTH:
        raise ProtocolError(f"the pair has more than {_MAX_PAIR_LENGTH} octets")
    return parse_pair(pair)[1]
