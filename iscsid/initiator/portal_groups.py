"""Whether a login has reached the portal group that it was meant for. Pure.

A target sends its TargetPortalGroupTag in the login (RFC 7143, section 13.9), and SendTargets
returns the tag of each portal. If the two differ, another target answers at the portal's address.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.errors import Failure, Retry
from iscsid.facts import LoginSucceeded
from iscsid.initiator.planning import PortalOption
from iscsid.protocol.names import Portal

_ADVICE = (
    "find out what answers at this address; if the target was set up anew, SIGHUP makes iscsid "
    "discover it again"
)


@dataclass(frozen=True, slots=True)
class LoginEndpoint:
    """The end of a session's last login: after redirections, with the tag that the target sent."""

    portal: Portal
    portal_group_tag: int | None


def reached(login: LoginSucceeded) -> LoginEndpoint:
    return LoginEndpoint(login.portal, login.result.target_portal_group_tag)


def compare_portal_group(
    option: PortalOption, login: LoginSucceeded, before: LoginEndpoint | None
) -> Failure | None:
    """Return what is wrong if the login ended in another portal group than ``option``'s.

    If either tag is unknown, or after a redirection, they cannot be compared. The group that the
    session had ``before`` at this portal is right, too, whatever discovery reports.
    """
    now = reached(login)
    known, found = option.portal_group_tag, now.portal_group_tag
    if now.portal != option.portal or None in (known, found) or found == known or now == before:
        return None
    what = f"another target answers here: the portal group tag was {known} and is {found}"
    return Failure(Retry.LATER, what, _ADVICE)
