"""Every status of a Login Response: its meaning, its likely cause, and when to retry.

One table for Status-Class and Status-Detail (RFC 7143, section 11.13.5), and the functions that
make an exception of a row. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from iscsid.errors import AuthenticationFailed, LoginRejected, Retry

SECTION = "11.13.5"

SUCCESS = 0x0000
MOVED_TEMPORARILY = 0x0101
MOVED_PERMANENTLY = 0x0102
INITIATOR_ERROR = 0x0200
AUTHENTICATION_FAILURE = 0x0201


class Consequence(Enum):
    """What kind of answer a status is."""

    GO_ON = "go on"
    FOLLOW = "follow the redirection"
    AUTHENTICATION = "fail as authentication"
    REFUSAL = "fail"


@dataclass(frozen=True, slots=True)
class LoginStatus:
    """One row: ``retry`` is what holds for the next attempt when this one has failed."""

    words: str
    consequence: Consequence
    retry: Retry
    likely: str = ""
    advice: str = ""


_AUTHENTICATION, _REFUSAL = Consequence.AUTHENTICATION, Consequence.REFUSAL
_RETRY, _SLOWLY, _GIVE_UP = Retry.SOON, Retry.LATER, Retry.NEVER
_ACCESS_LIST = "let the target's access list name our InitiatorName"
_CREDENTIALS = (
    "compare OutgoingUsername and OutgoingPassword with what the target has for this initiator; "
    "if it has none, remove them"
)
_DISCOVERY_CREDENTIALS = (
    "compare the user name and the password with what the target has for discovery; if its "
    "discovery is open to all, set DiscoveryCHAP=no"
)
_PARAMETERS = "compare the parameters set in the configuration with what the target supports"
_TARGET_LOG = "look into the target's log"

STATUSES: dict[int, LoginStatus] = {
    SUCCESS: LoginStatus("success", Consequence.GO_ON, _RETRY),
    MOVED_TEMPORARILY: LoginStatus("target moved temporarily", Consequence.FOLLOW, _SLOWLY),
    MOVED_PERMANENTLY: LoginStatus("target moved permanently", Consequence.FOLLOW, _SLOWLY),
    # LIO answers 0200 to whatever value it cannot take.
    INITIATOR_ERROR: LoginStatus(
        "initiator error",
        _REFUSAL,
        _GIVE_UP,
        "the target does not accept an offered value",
        _PARAMETERS,
    ),
    AUTHENTICATION_FAILURE: LoginStatus(
        "authentication failure",
        _AUTHENTICATION,
        _SLOWLY,
        "the target does not know this user name with this password here",
        _CREDENTIALS,
    ),
    0x0202: LoginStatus(
        "authorization failure",
        _AUTHENTICATION,
        _SLOWLY,
        "this initiator is not allowed to use the target",
        _ACCESS_LIST,
    ),
    0x0203: LoginStatus(
        "not found",
        _REFUSAL,
        _SLOWLY,
        "there is no target of this name here",
        "compare the target's name; if it was removed for good, remove it from the configuration",
    ),
    0x0204: LoginStatus(
        "target removed",
        _REFUSAL,
        _GIVE_UP,
        "the target is gone and left no new address",
        "remove it from the configuration",
    ),
    0x0205: LoginStatus(
        "unsupported version",
        _REFUSAL,
        _GIVE_UP,
        "the target supports no version of iSCSI that this initiator supports",
        _TARGET_LOG,
    ),
    0x0206: LoginStatus(
        "too many connections",
        _REFUSAL,
        _SLOWLY,
        "the target's limit of connections or sessions is reached",
        "end other sessions or raise the target's limit",
    ),
    0x0207: LoginStatus(
        "missing parameter",
        _REFUSAL,
        _GIVE_UP,
        "the target wants a key we did not send",
        _TARGET_LOG,
    ),
    0x0208: LoginStatus(
        "can't include in session",
        _REFUSAL,
        _GIVE_UP,
        "the target does not take the connection into the session",
        _TARGET_LOG,
    ),
    0x0209: LoginStatus(
        "session type not supported",
        _REFUSAL,
        _GIVE_UP,
        "the portal offers no discovery, or nothing else",
        "name the target and its address with TargetName and Address in the configuration",
    ),
    0x020A: LoginStatus(
        "session does not exist",
        _REFUSAL,
        _RETRY,
        "the target forgot the session",
    ),
    0x020B: LoginStatus(
        "invalid request during login",
        _REFUSAL,
        _GIVE_UP,
        "the target does not follow our login",
        _TARGET_LOG,
    ),
    0x0300: LoginStatus(
        "target error", _REFUSAL, _RETRY, "the target has a hardware or software error", _TARGET_LOG
    ),
    # LIO answers 0301 to a target name it does not know.
    0x0301: LoginStatus(
        "service unavailable",
        _REFUSAL,
        _RETRY,
        "the target is not running, or has no target of this name",
        "make sure that the target is there and enabled",
    ),
    0x0302: LoginStatus(
        "out of resources",
        _REFUSAL,
        _RETRY,
        "the target is short of memory or sessions",
        _TARGET_LOG,
    ),
}

UNLISTED_DETAIL: dict[int, LoginStatus] = {
    0x01: LoginStatus("redirected in an unknown way", _REFUSAL, _SLOWLY, advice=_TARGET_LOG),
    0x02: LoginStatus("unknown initiator error", _REFUSAL, _GIVE_UP, advice=_TARGET_LOG),
    0x03: LoginStatus("unknown target error", _REFUSAL, _RETRY, advice=_TARGET_LOG),
}
"""By Status-Class: what holds for a detail the standard does not list."""

UNLISTED_CLASS = LoginStatus("status of an unknown class", _REFUSAL, _GIVE_UP, advice=_TARGET_LOG)


def explain(status: int) -> LoginStatus:
    """Return the row of a status, 0x0203 for instance; every number has one."""
    return STATUSES.get(status) or UNLISTED_DETAIL.get(status >> 8, UNLISTED_CLASS)


def rejection(
    status: int, *, has_credentials: bool, is_discovery: bool = False
) -> LoginRejected | AuthenticationFailed:
    """Make the exception for a status that ends the login.

    ``has_credentials``: whether CHAP was offered. Without, an authentication failure means that the
    target requires authentication.
    """
    if status == AUTHENTICATION_FAILURE and not has_credentials:
        return authentication_required(is_discovery=is_discovery)
    row = explain(status)
    what = f"the target refused the login: {row.words} (status {status:04x})"
    if row.likely:
        what = f"{what}: {row.likely}"
    if row.consequence is Consequence.AUTHENTICATION:
        is_about_discovery = is_discovery and status == AUTHENTICATION_FAILURE
        advice = _DISCOVERY_CREDENTIALS if is_about_discovery else row.advice
        return AuthenticationFailed(what, advice=advice, retry=row.retry)
    return LoginRejected(status, what, advice=row.advice, retry=row.retry)


_SET_FOR_DISCOVERY = (
    "set DiscoveryUsername and DiscoveryPassword, or for discovery and sessions OutgoingUsername "
    "and OutgoingPassword, and no DiscoveryCHAP=no"
)
_SET_FOR_SESSIONS = "set OutgoingUsername and OutgoingPassword for it in the configuration"


def authentication_required(*, is_discovery: bool = False) -> AuthenticationFailed:
    """The target requires CHAP and no credentials are set for it.

    tgtd reports it with status 0201, istgt with AuthMethod=Reject.
    """
    if is_discovery:
        return AuthenticationFailed(
            "authentication required: the target wants CHAP for discovery, and no user name and "
            "password are set for that",
            advice=_SET_FOR_DISCOVERY,
            retry=Retry.LATER,
        )
    return AuthenticationFailed(
        "authentication required: the target wants CHAP, and no user name and password are set "
        "for it",
        advice=_SET_FOR_SESSIONS,
        retry=Retry.LATER,
    )


def closed_unanswered(*, is_discovery: bool = False) -> AuthenticationFailed:
    """The target closes the connection instead of answering a login without credentials.

    LIO does so if it requires CHAP; any target does so while it goes down, so the retry comes soon.
    """
    purpose = "for discovery there" if is_discovery else "for it"
    advice = _SET_FOR_DISCOVERY if is_discovery else _SET_FOR_SESSIONS
    return AuthenticationFailed(
        "the target closed the connection instead of answering the login: it may require CHAP, and "
        f"no user name and password are set {purpose}",
        advice=f"look into the target's log; if it requires CHAP, {advice}",
        retry=Retry.SOON,
    )
