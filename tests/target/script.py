"""What a scripted target does: a profile, and what a test wants otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from iscsid.protocol.pdu import LoginResponse, TextResponse
from tests.target.negotiator import Pairs
from tests.target.profile import TGTD, Profile

Amend = Callable[[int, LoginResponse], LoginResponse | bytes | None]
Edit = Callable[[int, Pairs], Pairs]
AmendText = Callable[[int, TextResponse], TextResponse | bytes | None]


def _as_it_is(_number: int, response: LoginResponse) -> LoginResponse:
    return response


def _listed_as_it_is(_number: int, response: TextResponse) -> TextResponse:
    return response


def change(at: int, **fields: Any) -> Amend:
    """Return a fault: response number ``at`` has these header fields."""

    def amend(number: int, response: LoginResponse) -> LoginResponse:
        return replace(response, **fields) if number == at else response

    return amend


def hang_up(at: int) -> Amend:
    """Return a fault: the connection is closed instead of response number ``at``."""

    def amend(number: int, response: LoginResponse) -> LoginResponse | None:
        return None if number == at else response

    return amend


def only(at: int, *pairs: tuple[str, str]) -> Edit:
    """Return a fault: response number ``at`` has ``pairs`` and nothing else."""

    def edit(number: int, sent: Pairs) -> Pairs:
        return pairs if number == at else sent

    return edit


def add(at: int, *pairs: tuple[str, str]) -> Edit:
    """Return a fault: response number ``at`` has ``pairs`` too."""

    def edit(number: int, sent: Pairs) -> Pairs:
        return sent + pairs if number == at else sent

    return edit


def put(at: int, name: str, value: str | None) -> Edit:
    """Return a fault: in response number ``at`` the key has ``value``, or is left out."""

    def edit(number: int, sent: Pairs) -> Pairs:
        if number != at:
            return sent
        assert name in dict(sent), f"{name} is not in response {at}"
        changed = ((key, value if key == name else old) for key, old in sent)
        return tuple((key, new) for key, new in changed if new is not None)

    return edit


def _unchanged(_number: int, pairs: Pairs) -> Pairs:
    return pairs


@dataclass(frozen=True, slots=True)
class Listed:
    """A target as SendTargets lists it; addresses are written as they are sent."""

    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One target's behaviour. Numbers of responses count from 0."""

    profile: Profile = TGTD

    # Operational negotiation.
    values: Mapping[str, str] = field(default_factory=dict)
    """The target's own values, where they are not the standard's defaults."""
    declares: Pairs = (("MaxRecvDataSegmentLength", "65536"),)
    """Sent in the first response of the operational stage."""
    originates: Pairs | None = None
    """Offers of its own; ``None`` is the profile's."""
    originates_early: Pairs = ()
    """Offers in its first response in the security stage, where they do not belong."""
    security_rounds: int = 0
    """Responses with T=0 before a transit that could be granted is."""
    operational_rounds: int = 0
    portal_group_tag: int | None = 1
    tsih_at_once: bool = False
    """Whether every response carries the TSIH, as an IBM target's do."""

    # Security.
    accounts: Mapping[str, bytes] = field(default_factory=dict)
    """Names and secrets that may log in; none, and no authentication is required."""
    own_account: tuple[str, bytes] | None = None
    """With what the target proves itself if it is challenged."""
    algorithms: tuple[int, ...] = (5,)
    refuses_lists: bool = False
    """Whether more than one algorithm in CHAP_A ends the login, as with LIO before Linux 3.15."""
    challenge: bytes = bytes(range(100, 116))
    challenge_identifier: int = 7
    base64: bool = False
    proves_itself_late: bool = False
    """Whether the proof comes in a response of its own, after an empty one."""

    # Refusals and faults.
    statuses: Mapping[int, int] = field(default_factory=dict)
    """Number of a response to the status it carries."""
    moved_to: tuple[str, ...] = ()
    """TargetAddress values of a response with status 0101 or 0102."""
    piece: int = 0
    """Octets of text in one response, the rest follows with the C bit; 0 does not cut."""
    edit: Edit = _unchanged
    """Last word on the text of a response, before it is cut."""
    amend: Amend = _as_it_is
    """Last word on a response; other octets may stand for it, ``None`` closes the connection."""

    # After the login.
    listed: tuple[Listed, ...] = ()
    amend_text: AmendText = _listed_as_it_is
    """Last word on a Text Response, as with ``amend``."""
    piece_of_listing: int = 0
    """Octets of one Text Response; 0 sends what the initiator declared, or all of it."""
    luns: tuple[int, ...] = (0, 1)
    serials: Mapping[int, str] = field(default_factory=dict)
    """The serial numbers of logical units that have other ones than usual."""
