"""The shape of the keyword table: what a row says of a keyword, and where one may stand. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import Any

from iscsid.config.entries import EntryKind
from iscsid.config.values import Syntax


class Scope(Flag):
    """Where a keyword may stand."""

    GLOBAL = auto()
    DISCOVERY = auto()
    TARGET = auto()
    SUBNET = auto()


SCOPE_OF = {
    EntryKind.DISCOVERY: Scope.DISCOVERY,
    EntryKind.TARGET: Scope.TARGET,
    EntryKind.SUBNET: Scope.SUBNET,
}

PLACES = {
    Scope.GLOBAL: "outside of entries",
    Scope.DISCOVERY: "below DiscoveryAddress",
    Scope.TARGET: "below TargetName",
    Scope.SUBNET: "below Subnet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyword:
    """One row."""

    name: str
    aliases: tuple[str, ...] = ()
    syntax: Syntax[Any]
    field: str = ""
    """The attribute it sets in ``SessionSettings`` or ``DiscoverySettings``; a dot leads into a
    group of them. Empty where the keyword opens an entry."""
    default: str = ""
    """As one would write it in the file; empty: none."""
    scope: Scope
    opens: EntryKind | None = None
    """The entry it opens, unless it stands below one that takes it (``Address``)."""
    not_inherited: Scope = Scope(0)
    """Entries that do not take this setting over from the globals."""
    extension: Scope = Scope(0)
    """Where it may stand although Linux-iSCSI did not know it there."""
    summary: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def is_extension(self) -> bool:
        """Whether Linux-iSCSI did not know the keyword at all, or only for SLP."""
        return self.extension == self.scope
