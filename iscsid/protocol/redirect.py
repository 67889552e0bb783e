"""Redirections: the addresses a target names in a login response, and how far they are followed.

A target may answer any Login Request with another address (RFC 7143, section 11.13.5). The caller
follows it with a new connection and a login from scratch; this module chooses the next portal and
when to stop. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.errors import InvalidName, LoginRejected, Retry
from iscsid.protocol.login_status import MOVED_PERMANENTLY, MOVED_TEMPORARILY, explain
from iscsid.protocol.names import Portal, parse_target_address, why_unusable
from iscsid.protocol.parameters import Redirection
from iscsid.protocol.printable import printable
from iscsid.protocol.text import Pairs

MAX_REDIRECTIONS = 8
"""Redirections followed in one login attempt. Arrays that balance load need one or two."""

MAX_PORTALS = 8
"""Addresses of one redirection that are tried: a target must not cause connects everywhere."""


def read_redirection(status: int, pairs: Pairs) -> Redirection:
    """Make a redirection of a Login Response with status 0101 or 0102.

    Addresses that cannot be used are passed over, and a portal group tag, which may not be there,
    is too. Raises ``LoginRejected`` if no address is left.
    """
    addresses = [value for name, value in pairs if name == "TargetAddress"]
    portals = [portal for text in addresses if (portal := _usable(text))]
    if not portals:
        given = ", ".join(f"'{printable(text)}'" for text in addresses) or "nothing"
        raise LoginRejected(
            status,
            f"{explain(status).words} (status {status:04x}), but the address it gives is of no "
            f"use: {given}",
            advice="look into the target's configuration",
            retry=Retry.LATER,
        )
    portals = list(dict.fromkeys(portals))[:MAX_PORTALS]
    return Redirection(tuple(portals), permanent=status == MOVED_PERMANENTLY)


def _usable(text: str) -> Portal | None:
    try:
        portal = parse_target_address(text).portal
    except InvalidName:
        return None
    return None if why_unusable(portal) else portal


@dataclass(frozen=True, slots=True)
class RedirectTrail:
    """The portals of one login attempt, from the first to the current one.

    ``moved_to`` is what may be remembered after the login: where the target moved for good. A
    portal reached by a temporary redirection is forgotten after use, and so is all beyond it.
    """

    portal: Portal
    """Where to log in now."""
    moved_to: Portal | None = None
    visited: tuple[Portal, ...] = ()
    """The portals before, in order."""

    @property
    def origin(self) -> Portal:
        return self.visited[0] if self.visited else self.portal

    def follow(self, redirection: Redirection) -> tuple[RedirectTrail, ...]:
        """Return where to go on after the login at ``portal`` ended in ``redirection``.

        The trails are tried in order until a portal answers; then the rest is of no interest any
        more. Raises ``LoginRejected`` if they would lead in a circle, or too far.
        """
        visited = (*self.visited, self.portal)
        is_permanent = redirection.permanent and self.moved_to == (
            self.portal if self.visited else None
        )
        trails = tuple(
            RedirectTrail(portal, portal if is_permanent else self.moved_to, visited)
            for portal in redirection.portals
            if portal not in visited
        )
        if not trails:
            raise self._refused(redirection, "in a circle")
        if len(visited) > MAX_REDIRECTIONS:
            raise self._refused(redirection, f"more than {MAX_REDIRECTIONS} times")
        return trails

    def _refused(self, redirection: Redirection, how: str) -> LoginRejected:
        way = " -> ".join(map(str, (*self.visited, self.portal, redirection.portals[0])))
        return LoginRejected(
            MOVED_PERMANENTLY if redirection.permanent else MOVED_TEMPORARILY,
            f"the target sends us on {how}: {way}",
            advice="look into the target's configuration",
            retry=Retry.LATER,
        )
