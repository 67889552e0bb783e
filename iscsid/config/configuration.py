"""The whole configuration as one value, and the one question asked of it: what holds here?

Pure. ``config.parse`` makes it; the owner asks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from iscsid.config.settings import DiscoverySettings, SessionSettings, StaticTarget
from iscsid.protocol.names import IscsiName, Portal

Resolver = Callable[[IscsiName, Portal, Portal | None], SessionSettings]


def _defaults(_name: IscsiName, _portal: Portal, _found_at: Portal | None) -> SessionSettings:
    return SessionSettings()


@dataclass(frozen=True)
class Configuration:
    """What /etc/iscsi.conf says."""

    discoveries: tuple[DiscoverySettings, ...] = ()
    static_targets: tuple[StaticTarget, ...] = ()
    resolver: Resolver = field(default=_defaults, compare=False)

    def session_settings(
        self, target_name: IscsiName, portal: Portal, discovered_at: Portal | None
    ) -> SessionSettings:
        """Return what holds for a session with ``target_name`` through ``portal``.

        ``discovered_at`` is the DiscoveryAddress that reported the target; ``None`` for a target
        the file names itself.
        """
        return self.resolver(target_name, portal, discovered_at)
