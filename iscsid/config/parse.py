"""The one door of the room: text in, a ``Configuration`` or all complaints out. Pure."""

from __future__ import annotations

import re

from iscsid.config.build_settings import discovery_settings, static_target
from iscsid.config.configuration import Configuration
from iscsid.config.consistency import check, notes
from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic
from iscsid.config.entries import EntryKind
from iscsid.config.lexer import decode, lex
from iscsid.config.parser import Parser
from iscsid.config.resolve import Resolver

_SECRET = re.compile(r"^[ \t]*\w*password", re.IGNORECASE | re.MULTILINE)
"""A line that holds a secret, or was meant to: broken lines count too."""


def parse_configuration(text: str | bytes, filename: str) -> Configuration:
    """Return what the text of /etc/iscsi.conf says.

    ``filename`` is for messages only. Raises ``ConfigurationErrors`` with every complaint there is,
    and nothing else whatever the text.
    """
    decoded = decode(text, filename)
    if isinstance(decoded, Diagnostic):
        raise ConfigurationErrors([decoded])
    has_secrets = _SECRET.search(decoded) is not None
    reader = Parser(filename)
    contents = reader.read(lex(decoded, filename))
    diagnostics = reader.diagnostics + check(contents)
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
        notes=(*reader.notes, *notes(contents)),
        has_secrets=has_secrets,
    )
