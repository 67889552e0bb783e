"""What the files, and the tree of links, have said. Past tense, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.config.configuration import Configuration
from iscsid.protocol.names import IscsiName


@dataclass(frozen=True, slots=True)
class ConfigurationRead:
    """/etc/iscsi.conf and /etc/initiatorname.iscsi were read and hold no error."""

    configuration: Configuration
    initiator_name: IscsiName
    initiator_alias: str = ""


@dataclass(frozen=True, slots=True)
class ConfigurationRefused:
    """The file could not be read or holds errors; each complaint is a line for the log."""

    complaints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BindingsRead:
    """The bindings file was read; ``text`` is empty where there was none.

    Also the answer to ``SaveBindings`` where the file had been changed by hand meanwhile.
    """

    text: str
    remarks: tuple[str, ...] = ()
    """What to warn of, the file's owner or directory for instance."""


@dataclass(frozen=True, slots=True)
class BindingsSaved:
    """The bindings file now holds what the last ``SaveBindings`` said."""


@dataclass(frozen=True, slots=True)
class BindingsNotSaved:
    """The bindings file could not be replaced; the old one is whole."""

    reason: str


@dataclass(frozen=True, slots=True)
class BindingsNotRead:
    """There is a bindings file but it cannot be read: who has which number is not known."""

    reason: str


@dataclass(frozen=True, slots=True)
class LinksFound:
    """The links that an earlier life of the daemon has left: their paths and nodes."""

    links: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()
    """What could not be looked at."""


@dataclass(frozen=True, slots=True)
class LinkNotMade:
    """``path`` does not point to where it should; ``reason`` says why and what to do."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkNotRemoved:
    """``path`` is still there although it should not be."""

    path: str
    reason: str
