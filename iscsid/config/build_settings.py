"""From settings by field to the typed values that the rest of the daemon sees. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from iscsid.config.entries import Entry, Settings
from iscsid.config.grammar import Scope
from iscsid.config.keywords import BY_FIELD
from iscsid.config.settings import DiscoverySettings, SessionSettings, StaticTarget, Timeouts
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Authentication, Credentials

AUTHENTICATION_FIELDS = (
    "outgoing_username",
    "outgoing_password",
    "incoming_username",
    "incoming_password",
    "chap_algorithms",
)
_TIMEOUTS = "timeouts."
_SESSION_FIELDS = tuple(field for field, row in BY_FIELD.items() if Scope.TARGET in row.scope)
_DISCOVERY_FIELDS = tuple(field for field, row in BY_FIELD.items() if Scope.DISCOVERY in row.scope)


def session_settings(settings: Settings) -> SessionSettings:
    """Return what holds for a session; ``settings`` holds every field."""
    return SessionSettings(**_attributes(settings, _SESSION_FIELDS))


def discovery_settings(entry: Entry) -> DiscoverySettings:
    """Return what holds for the discovery session of a DiscoveryAddress."""
    settings = {**entry.inherited, **entry.own}
    portal: Portal = entry.subject  # type: ignore[assignment]  # the kind of entry says so
    return DiscoverySettings(portal=portal, **_attributes(settings, _DISCOVERY_FIELDS))


def static_target(entry: Entry) -> StaticTarget:
    """Return a TargetName that has addresses of its own."""
    target_name: IscsiName = entry.subject  # type: ignore[assignment]  # the kind says so
    return StaticTarget(target_name, entry.addresses, entry.spelling)


def _attributes(settings: Settings, fields: Iterable[str]) -> dict[str, Any]:
    """Return keyword arguments for a settings class; their types are a test's business."""
    plain: dict[str, Any] = {}
    timeouts: dict[str, Any] = {}
    for field in fields:
        if field.startswith(_TIMEOUTS):
            timeouts[field.removeprefix(_TIMEOUTS)] = settings[field].value
        elif field not in AUTHENTICATION_FIELDS:
            plain[field] = settings[field].value
    plain["timeouts"] = Timeouts(**timeouts)
    plain["authentication"] = authentication(settings)
    return plain


def authentication(settings: Settings) -> Authentication:
    """Return the credentials among ``settings``. Half a pair counts as none: it is complained of
    where it could be used."""
    username, password, username_in, password_in, algorithms = (
        settings[field].value for field in AUTHENTICATION_FIELDS
    )
    return Authentication(
        outgoing=Credentials(username, password) if username and password else None,
        incoming=Credentials(username_in, password_in) if username_in and password_in else None,
        algorithms=algorithms,
    )
