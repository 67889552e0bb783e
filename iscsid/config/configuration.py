"""The configuration as one value, and ``parse_configuration``, which makes it from the text.

Pure: the text comes in as an argument; reading the file is ``process.config_files``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter

from iscsid.config.consistency import check, check_effects
from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic
from iscsid.config.grammar import EntryKind, ParsedFile
from iscsid.config.lexer import decode, lex
from iscsid.config.parser import Parser
from iscsid.config.resolve import Resolver, discovery_settings, static_target
from iscsid.config.settings import DiscoverySettings, SessionSettings, StaticTarget
from iscsid.protocol.names import IscsiName, Portal

Resolve = Callable[[IscsiName, Portal, Portal | None], SessionSettings]


def _defaults(_name: IscsiName, _portal: Portal, _found_at: Portal | None) -> SessionSettings:
    return SessionSettings()


@dataclass(frozen=True)
class Configuration:
    """The contents of /etc/iscsi.conf. Files with the same settings make equal configurations."""

    discoveries: tuple[DiscoverySettings, ...] = ()
    static_targets: tuple[StaticTarget, ...] = ()
    resolver: Resolve = field(default=_defaults, compare=False)
    """Answers from ``contents``."""
    contents: ParsedFile = field(default_factory=ParsedFile)
    """Entries and globals with their origins, for ``--show-config``."""
    notes: tuple[Diagnostic, ...] = field(default=(), compare=False)
    """Remarks about the file that are no errors."""
    has_secrets: bool = field(default=False, compare=False)
    """Whether the file contains a password; then only root may read it."""

    def session_settings(
        self, target_name: IscsiName, portal: Portal, discovered_at: Portal | None
    ) -> SessionSettings:
        """Return what holds for a session with ``target_name`` through ``portal``.

        ``discovered_at`` is the DiscoveryAddress that reported the target; ``None`` for a target
        the file names itself.
        """
        return self.resolver(target_name, portal, discovered_at)


_SECRET = re.compile(r"^[ \t]*\w*password", re.IGNORECASE | re.MULTILINE)
"""A line that holds a secret, or was meant to: broken lines count too."""


def parse_configuration(text: str | bytes, filename: str) -> Configuration:
    """Parse the text of /etc/iscsi.conf.

    ``filename`` is for messages only. Raises ``ConfigurationErrors`` with all diagnostics,
    and no other exception whatever the text.
    """
    decoded = decode(text, filename)
    if isinstance(decoded, Diagnostic):
        raise ConfigurationErrors([decoded])
    has_secrets = _SECRET.search(decoded) is not None
    reader = Parser(filename)
    contents = reader.read(lex(decoded, filename))
    diagnostics = reader.diagnostics + check(contents)
    remarks: list[Diagnostic] = []
    if not diagnostics:
        diagnostics, remarks = check_effects(contents)
    if diagnostics:
        raise ConfigurationErrors(diagnostics, has_secrets=has_secrets)
    return Configuration(
        discoveries=tuple(
            discovery_settings(entry)
            for entry in contents.entries
            if entry.kind is EntryKind.DISCOVERY
        ),
        static_targets=tuple(static_target(entry) for entry in contents.entries if entry.addresses),
        resolver=Resolver(contents),
        contents=contents,
        notes=tuple(
            replace(each, is_note=True)
            for each in sorted((*reader.notes, *remarks), key=attrgetter("line", "column"))
        ),
        has_secrets=has_secrets,
    )
