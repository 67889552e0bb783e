"""The whole configuration as one value, and the one question asked of it: what holds here?

Pure. ``parse_configuration`` makes it; the owner asks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from iscsid.config.diagnostics import Diagnostic
from iscsid.config.entries import ParsedFile
from iscsid.config.settings import DiscoverySettings, SessionSettings, StaticTarget
from iscsid.protocol.names import IscsiName, Portal

Resolve = Callable[[IscsiName, Portal, Portal | None], SessionSettings]


def _defaults(_name: IscsiName, _portal: Portal, _found_at: Portal | None) -> SessionSettings:
    return SessionSettings()


@dataclass(frozen=True)
class Configuration:
    """What /etc/iscsi.conf says. Two files that say the same make equal configurations."""

    discoveries: tuple[DiscoverySettings, ...] = ()
    static_targets: tuple[StaticTarget, ...] = ()
    resolver: Resolve = field(default=_defaults, compare=False)
    """Answers from ``contents``."""
    contents: ParsedFile = field(default_factory=ParsedFile)
    """Entries and globals with their origins, for ``--show-config``."""
    notes: tuple[Diagnostic, ...] = field(default=(), compare=False)
    """What is worth knowing about the file although it is no error."""
    has_secrets: bool = field(default=False, compare=False)
    """Whether a password stands in the file: then nobody but root may read it."""

    def session_settings(
        self, target_name: IscsiName, portal: Portal, discovered_at: Portal | None
    ) -> SessionSettings:
        """Return what holds for a session with ``target_name`` through ``portal``.

        ``discovered_at`` is the DiscoveryAddress that reported the target; ``None`` for a target
        the file names itself.
        """
        return self.resolver(target_name, portal, discovered_at)
