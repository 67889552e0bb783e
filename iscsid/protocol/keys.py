"""The table of text keys: one row for every key of a login.

A row contains what RFC 7143, section 13 defines for a key: how two offers make a result, the range,
the default, the sender, when it is irrelevant. What one side may answer is derived from the row
alone. Which values were offered is in ``negotiation``. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from iscsid.errors import ProtocolError
from iscsid.protocol.parameters import AgreedParameters, Digest
from iscsid.protocol.text import parse_boolean, parse_number

Value = int | bool | str
"""What a key holds; digests and the like are their spelling."""

NOT_UNDERSTOOD = "NotUnderstood"
IRRELEVANT = "Irrelevant"
REJECT = "Reject"
NO_VALUES = frozenset({NOT_UNDERSTOOD, IRRELEVANT, REJECT})
"""Answers that carry no value (RFC 7143, section 6.2)."""


class Rule(Enum):
    """How a value comes about."""

    MINIMUM = "the smaller number"
    MAXIMUM = "the larger number"
    OR = "Yes if either side offers Yes"
    AND = "Yes if both sides offer Yes"
    LIST = "the first of the offerer's values that the other side supports"
    DECLARED_NUMBER = "each side declares its own number"
    DECLARED_TEXT = "each side declares its own text"
    OBSOLETE = "refused by answering with the default"


class Use(Enum):
    """When a key may be sent, in the standard's words."""

    INITIALIZE_ONLY = "IO"
    LEADING_ONLY = "LO"
    FULL_FEATURE_PHASE_ONLY = "FFPO"
    ALL = "ALL"


class Sender(Enum):
    INITIATOR = "initiator"
    TARGET = "target"
    BOTH = "initiator and target"


class Irrelevant(Enum):
    """When a key makes no sense, so that an offer of it is answered ``Irrelevant``."""

    NEVER = "never"
    IN_DISCOVERY = "SessionType=Discovery"
    WITHOUT_UNSOLICITED_DATA = "SessionType=Discovery, or InitialR2T=Yes and ImmediateData=No"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One row. ``default`` applies if the key was not negotiated."""

    name: str
    section: str
    rule: Rule
    use: Use = Use.LEADING_ONLY
    sender: Sender = Sender.BOTH
    irrelevant: Irrelevant = Irrelevant.NEVER
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    """What a list may hold; values outside are skipped in an offer, and illegal as an answer."""
    supported: tuple[str, ...] = ()
    """Of ``choices``, what iscsid supports if it makes no offer of its own."""
    default: Value = ""
    attribute: str = ""
    """Where ``AgreedParameters`` keeps the result; empty if it is not used."""
    ours: str = ""
    """Where ``Offer`` keeps our value; if it has none, the default is offered."""

    @property
    def is_declared(self) -> bool:
        """Whether the key is declared, and so gets no answer."""
        return self.rule in (Rule.DECLARED_NUMBER, Rule.DECLARED_TEXT)

    @property
    def wanted(self) -> str:
        """What a value looks like, in words."""
        if self.rule in COMBINE_BOOLEANS:
            return "Yes or No"
        if self.rule is Rule.LIST:
            return f"one of {', '.join(self.choices)}"
        return f"a number from {self.low} to {self.high}"

    def parse(self, text: str) -> Value:
        """Parse one value; raises ``ProtocolError`` if it is not allowed."""
        if self.rule in COMBINE_BOOLEANS:
            return parse_boolean(text)
        if self.rule in COMBINE_NUMBERS or self.rule is Rule.DECLARED_NUMBER:
            number = parse_number(text)
            if self.low <= number <= self.high:
                return number
        elif self.rule is not Rule.LIST or text in self.choices:
            return text
        raise ProtocolError(f"{self.name} is {self.wanted}")

    def combine(self, ours: Value, theirs: Value) -> Value:
        """Return the result of two offers; the same whichever side made the first."""
        if self.rule in COMBINE_NUMBERS:
            return COMBINE_NUMBERS[self.rule](ours, theirs)
        return COMBINE_BOOLEANS[self.rule](bool(ours), bool(theirs))

    def needs_no_answer(self, offered: Value) -> bool:
        """Whether an offer is the result by itself (RFC 7143, section 6.2.2): a Yes to an OR, a No
        to an AND. LIO leaves them without an answer.
        """
        return self.rule in COMBINE_BOOLEANS and self.combine(offered, not offered) == offered

    def choose(self, offered: str, supported: tuple[str, ...]) -> str:
        """Answer an offered list: its first value that we support, or ``Reject``."""
        return next((value for value in offered.split(",") if value in supported), REJECT)


def format_value(value: Value) -> str:
    """Return how a value is written."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return str(value)


COMBINE_NUMBERS: dict[Rule, Callable[..., Value]] = {Rule.MINIMUM: min, Rule.MAXIMUM: max}
COMBINE_BOOLEANS: dict[Rule, Callable[[bool, bool], bool]] = {
    Rule.OR: lambda ours, theirs: ours or theirs,
    Rule.AND: lambda ours, theirs: ours and theirs,
}

_DEFAULTS = AgreedParameters()
_MAX_LENGTH = 0xFFFFFF
_DIGESTS = tuple(digest.value for digest in Digest)
_IN_DISCOVERY = Irrelevant.IN_DISCOVERY


def _session(
    name: str,
    section: str,
    attribute: str,
    rule: Rule,
    low: int = 0,
    high: int = 0,
    irrelevant: Irrelevant = _IN_DISCOVERY,
) -> Key:
    """Make the row of a key that the leading login agrees for the session."""
    return Key(
        name=name,
        section=section,
        rule=rule,
        low=low,
        high=high,
        irrelevant=irrelevant,
        attribute=attribute,
        ours=attribute,
        default=getattr(_DEFAULTS, attribute),
    )


def _digest(name: str, attribute: str) -> Key:
    return Key(
        name=name,
        section="13.1",
        rule=Rule.LIST,
        use=Use.INITIALIZE_ONLY,
        choices=_DIGESTS,
        default=Digest.NONE.value,
        attribute=attribute,
        ours=attribute,
    )


def _declared(name: str, section: str, use: Use, sender: Sender) -> Key:
    return Key(name=name, section=section, rule=Rule.DECLARED_TEXT, use=use, sender=sender)


def _obsolete(name: str, answer: str) -> Key:
    # To the two that are Yes or No the standard would rather have Reject, and allows No: LIO ends
    # the login on IFMarker=Reject.
    return Key(
        name=name,
        section="13.25",
        rule=Rule.OBSOLETE,
        use=Use.INITIALIZE_ONLY,
        default=answer,
    )


_NEVER = Irrelevant.NEVER
_ROWS = (
    _digest("HeaderDigest", "header_digest"),
    _digest("DataDigest", "data_digest"),
    _session("MaxConnections", "13.2", "max_connections", Rule.MINIMUM, 1, 65535),
    _declared("SendTargets", "13.3", Use.FULL_FEATURE_PHASE_ONLY, Sender.INITIATOR),
    _declared("TargetName", "13.4", Use.INITIALIZE_ONLY, Sender.INITIATOR),
    _declared("InitiatorName", "13.5", Use.INITIALIZE_ONLY, Sender.INITIATOR),
    _declared("TargetAlias", "13.6", Use.ALL, Sender.TARGET),
    _declared("InitiatorAlias", "13.7", Use.ALL, Sender.INITIATOR),
    _declared("TargetAddress", "13.8", Use.ALL, Sender.TARGET),
    Key(
        name="TargetPortalGroupTag",
        section="13.9",
        rule=Rule.DECLARED_NUMBER,
        use=Use.INITIALIZE_ONLY,
        sender=Sender.TARGET,
        high=65535,
    ),
    _session("InitialR2T", "13.10", "initial_r2t", Rule.OR),
    _session("ImmediateData", "13.11", "immediate_data", Rule.AND),
    Key(
        name="MaxRecvDataSegmentLength",
        section="13.12",
        rule=Rule.DECLARED_NUMBER,
        use=Use.ALL,
        low=512,
        high=_MAX_LENGTH,
        default=_DEFAULTS.target_max_recv_data_segment_length,
        attribute="target_max_recv_data_segment_length",
        ours="max_recv_data_segment_length",
    ),
    _session("MaxBurstLength", "13.13", "max_burst_length", Rule.MINIMUM, 512, _MAX_LENGTH),
    _session(
        "FirstBurstLength",
        "13.14",
        "first_burst_length",
        Rule.MINIMUM,
        512,
        _MAX_LENGTH,
        Irrelevant.WITHOUT_UNSOLICITED_DATA,
    ),
    # The larger one (RFC 7143, section 13.15), though some implementations take the smaller one.
    _session("DefaultTime2Wait", "13.15", "default_time2wait", Rule.MAXIMUM, 0, 3600, _NEVER),
    _session("DefaultTime2Retain", "13.16", "default_time2retain", Rule.MINIMUM, 0, 3600, _NEVER),
    _session("MaxOutstandingR2T", "13.17", "max_outstanding_r2t", Rule.MINIMUM, 1, 65535),
    _session("DataPDUInOrder", "13.18", "data_pdu_in_order", Rule.OR),
    _session("DataSequenceInOrder", "13.19", "data_sequence_in_order", Rule.OR),
    _session("ErrorRecoveryLevel", "13.20", "error_recovery_level", Rule.MINIMUM, 0, 2, _NEVER),
    _declared("SessionType", "13.21", Use.LEADING_ONLY, Sender.INITIATOR),
    Key(
        name="TaskReporting",
        section="13.23",
        rule=Rule.LIST,
        choices=("RFC3720", "ResponseFence", "FastAbort"),
        supported=("RFC3720",),
        irrelevant=_IN_DISCOVERY,
        default="RFC3720",
    ),
    Key(
        name="iSCSIProtocolLevel",
        section="13.24",
        rule=Rule.MINIMUM,
        high=31,
        irrelevant=_IN_DISCOVERY,
        default=1,
    ),
    _obsolete("IFMarker", "No"),
    _obsolete("OFMarker", "No"),
    _obsolete("IFMarkInt", REJECT),
    _obsolete("OFMarkInt", REJECT),
    # It is neither sent nor logged, but NotUnderstood is not an allowed answer.
    _declared("X#NodeArchitecture", "13.26", Use.LEADING_ONLY, Sender.BOTH),
)

KEYS: dict[str, Key] = {key.name: key for key in _ROWS}

SECURITY_KEYS = frozenset({"AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"})
"""The keys of the security stage that are ours to read (RFC 7143, section 12.1)."""
