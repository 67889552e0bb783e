"""The grammar of /etc/iscsi.conf: keywords, scopes, entries, and a parsed file.

An entry is a DiscoveryAddress, a TargetName or a Subnet with the settings below it. It keeps the
globals in force at its line: a later global does not change it. Pure values; the line of a setting
is not part of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Any

from iscsid.config.addresses import Network
from iscsid.config.values import Syntax
from iscsid.protocol.names import IscsiName, Portal, TargetAddress


class EntryKind(Enum):
    """What an entry is about; the value is the keyword that opens it."""

    DISCOVERY = "DiscoveryAddress"
    TARGET = "TargetName"
    SUBNET = "Subnet"


INVALID = object()
"""The value of a setting whose line is in error."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and its line; line 0: the default."""

    value: Any
    """Of the type that the keyword's syntax makes."""
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)

    @property
    def is_default(self) -> bool:
        return self.line == 0


Settings = Mapping[str, Setting]
"""Settings by field, as ``keywords`` names them: ``header_digest``, ``timeouts.login``, ..."""

Subject = Portal | IscsiName | Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigEntry:
    """One entry of the file."""

    kind: EntryKind
    subject: Subject
    own: Settings
    """The settings below it."""
    inherited: Settings
    """The globals in force at its line, as far as this kind of entry takes them."""
    addresses: tuple[TargetAddress, ...] = ()
    """A target's own addresses: with them it needs no discovery."""
    spelling: str = ""
    """A target's name as the file writes it, if it differs from its folded form."""
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """The contents of a file. Subjects of one kind differ from one another."""

    filename: str = field(default="", compare=False)
    entries: tuple[ConfigEntry, ...] = ()
    """In the order of the file."""
    globals: Settings = field(default_factory=dict)
    """Those in force at the end of the file, defaults included."""


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
    group of them. Empty if the keyword opens an entry."""
    default: str = ""
    """As one would write it in the file; empty: none."""
    scope: Scope
    opens: EntryKind | None = None
    """The entry it opens, unless it stands below one that takes it (``Address``)."""
    not_inherited: Scope = Scope(0)
    """Entries that do not take this setting over from the globals."""
    extension: Scope = Scope(0)
    """Where it may stand although Linux-iSCSI did not know it there."""
    unset: str = "none"
    """What ``--show-config`` prints if it has no value and no default."""
    for_all: str = ""
    """What to do, for a keyword that is no global, if it shall hold for everything."""
    summary: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def is_extension(self) -> bool:
        """Whether Linux-iSCSI did not know the keyword at all, or only for SLP."""
        return self.extension == self.scope
