"""The report of ``--show-config``: effective settings and the line each comes from.

Secrets are masked. What depends on discovery is marked as such, not guessed. Pure: a configuration
in, text or JSON out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from iscsid.config.configuration import Configuration
from iscsid.config.diagnostics import LONGEST_LINE
from iscsid.config.grammar import (
    SCOPE_OF,
    ConfigEntry,
    EntryKind,
    Keyword,
    Scope,
    Setting,
    Settings,
)
from iscsid.config.keywords import BY_FIELD
from iscsid.config.resolve import FROM_DISCOVERY_FIELDS, Resolver
from iscsid.config.values import ALGORITHM_NAMES, MASK
from iscsid.protocol.names import IscsiName, TargetAddress
from iscsid.protocol.printable import printable
from iscsid.secret import Secret

DEFAULT = "default"
FROM_DISCOVERY = "the DiscoveryAddress that reports the target"

Plain = bool | int | str | list[int] | list[str] | None

_ALGORITHMS = {algorithm: name for name, algorithm in ALGORITHM_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Effective:
    """One effective setting."""

    keyword: str
    value: Plain
    """For programs: seconds, bytes, true or false, a list of LUNs, ..."""
    text: str
    """As it would be written in the file."""
    origin: str
    """``file:line``, ``default``, or what it depends on."""


@dataclass(frozen=True, slots=True)
class Section:
    """The effective settings of one discovery address, target, or subnet."""

    kind: str
    """DiscoveryAddress, TargetName or Subnet."""
    subject: str
    """Empty: every target that has no section of its own."""
    origin: str
    addresses: tuple[str, ...]
    """The target's own addresses to which this applies; empty: they come from discovery."""
    settings: tuple[Effective, ...]


def report(
    configuration: Configuration, target_names: Iterable[IscsiName] = ()
) -> tuple[Section, ...]:
    """Return the effective settings: entries in the order of the file, then ``target_names``
    without an entry (those in the bindings file, for instance), then all other targets.
    """
    return tuple(_Report(configuration).sections(target_names))


class _Report:
    def __init__(self, configuration: Configuration) -> None:
        self._contents = configuration.contents
        self._resolver = Resolver(configuration.contents)
        portals = [discovery.portal for discovery in configuration.discoveries]
        self._only_discovery = portals[0] if len(portals) == 1 else None

    def sections(self, target_names: Iterable[IscsiName]) -> Iterator[Section]:
        for entry in self._contents.entries:
            if entry.addresses:
                yield from self._static_target(entry)
            elif entry.kind is EntryKind.TARGET:
                yield self._section(entry, self._found(str(entry.subject), entry.own))
            else:
                yield self._section(entry, {**entry.inherited, **entry.own})
        named = {entry.subject for entry in self._contents.entries}
        # One value for all: a bindings file names up to 65536 targets.
        settings = self._effective(self._found("", {}), Scope.TARGET)
        for name in (*sorted(set(target_names) - named), ""):
            yield Section(EntryKind.TARGET.value, name, DEFAULT, (), settings)

    def _static_target(self, entry: ConfigEntry) -> Iterator[Section]:
        """Yield one section for all addresses with the same settings: Subnets can differ."""
        alike: dict[str, tuple[Settings, list[TargetAddress]]] = {}
        for address in entry.addresses:
            settings = self._resolver.settings(str(entry.subject), address.portal, None)
            alike.setdefault(repr(settings), (settings, []))[1].append(address)
        for settings, addresses in alike.values():
            yield self._section(entry, settings, addresses)

    def _found(self, name: str, own: Settings) -> Mapping[str, Setting | None]:
        """Return the settings of a discovered target; ``None``: depends on its DiscoveryAddress."""
        settings: dict[str, Setting | None] = {
            **self._resolver.settings(name, None, self._only_discovery)
        }
        if not self._only_discovery:
            settings.update({field: own.get(field) for field in FROM_DISCOVERY_FIELDS})
        return settings

    def _section(
        self,
        entry: ConfigEntry,
        settings: Mapping[str, Setting | None],
        addresses: Iterable[TargetAddress] = (),
    ) -> Section:
        effective = self._effective(settings, SCOPE_OF[entry.kind])
        place = self._origin(entry.line)
        shown = tuple(map(str, addresses))
        return Section(entry.kind.value, str(entry.subject), place, shown, effective)

    def _effective(
        self, settings: Mapping[str, Setting | None], scope: Scope
    ) -> tuple[Effective, ...]:
        rows = ((field, row) for field, row in BY_FIELD.items() if scope in row.scope)
        return tuple(self._one(row, settings[field]) for field, row in rows)

    def _one(self, row: Keyword, setting: Setting | None) -> Effective:
        if setting is None:
            return Effective(row.name, None, "-", FROM_DISCOVERY)
        is_absent = setting.value is None and not row.default
        text = row.unset if is_absent else row.syntax.format(setting.value)
        return Effective(row.name, _plain(setting.value), text, self._origin(setting.line))

    def _origin(self, line: int) -> str:
        return f"{self._contents.filename}:{line}" if line else DEFAULT


def _plain(value: Any) -> Plain:
    match value:
        case None | bool() | int() | str():
            return value
        case Secret():
            return MASK
        case Enum():
            return str(value.value)
        case frozenset():
            return sorted(value)
        case tuple():
            return [_ALGORITHMS[algorithm] for algorithm in value]
        case _:
            return str(value)


def format_text(configuration: Configuration, sections: Iterable[Section]) -> Iterator[str]:
    """Yield the report line by line, for people to read."""
    shown: tuple[Effective, ...] | None = None
    settings: list[str] = []
    for section in sections:
        subject = section.subject or "(every other target)"
        where = f" at {', '.join(section.addresses)}" if section.addresses else ""
        yield printable(f"{section.kind} {subject}{where}  [{section.origin}]", LONGEST_LINE)
        if section.settings is not shown:
            shown, settings = section.settings, [_format_setting(each) for each in section.settings]
        yield from settings
        yield ""
    for note in configuration.notes:
        yield printable(str(note), LONGEST_LINE)


def _format_setting(setting: Effective) -> str:
    line = f"    {setting.keyword:<24}  {setting.text:<24}  {setting.origin}"
    return printable(line, LONGEST_LINE)


def format_json(configuration: Configuration, sections: Iterable[Section]) -> Iterator[str]:
    """Yield the report line by line, for programs: one object, a section to a line."""
    yield f'{{"file": {json.dumps(configuration.contents.filename)},'
    yield '"sections": ['
    shown: tuple[Effective, ...] | None = None
    settings = before = ""
    for section in sections:
        if before:
            yield f"{before},"
        if section.settings is not shown:
            shown = section.settings
            settings = json.dumps([asdict(each) for each in shown])
        head = json.dumps(asdict(replace(section, settings=())))
        before = head.replace('"settings": []', f'"settings": {settings}')
    yield before
    yield f'],\n"notes": {json.dumps(list(map(str, configuration.notes)))}}}'
