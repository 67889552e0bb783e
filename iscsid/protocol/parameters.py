"""The three parameter sets of a login, which are three different things.

*Offered* is what we ask for, *agreed* what both sides must keep to; what the target *answered* or
offered on its own stays inside the login exchange. Pure values, no behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NewType

from iscsid.protocol.names import IscsiName, Portal
from iscsid.secret import Secret

Isid = NewType("Isid", bytes)
"""The initiator's half of a session identifier: six octets (RFC 7143, section 11.12.5)."""


class Digest(Enum):
    """A value of HeaderDigest and DataDigest (RFC 7143, section 13.1)."""

    NONE = "None"
    CRC32C = "CRC32C"


class ChapAlgorithm(IntEnum):
    """A value of CHAP_A."""

    MD5 = 5
    SHA1 = 6
    SHA256 = 7
    SHA3_256 = 8


@dataclass(frozen=True, slots=True)
class Credentials:
    """A CHAP name and its secret."""

    username: str
    password: Secret


@dataclass(frozen=True, slots=True)
class Authentication:
    """How the two sides prove themselves.

    No ``outgoing`` credentials: no CHAP is offered. With ``incoming`` ones the target must prove
    itself too (mutual CHAP), and nothing less is accepted. ``incoming`` needs ``outgoing``.
    """

    outgoing: Credentials | None = None
    incoming: Credentials | None = None
    algorithms: tuple[ChapAlgorithm, ...] = (ChapAlgorithm.MD5,)
    """In order of preference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the initiator offers in operational negotiation. Lengths in bytes, times in seconds."""

    header_digest: tuple[Digest, ...] = (Digest.NONE,)
    data_digest: tuple[Digest, ...] = (Digest.NONE,)
    initial_r2t: bool = False
    immediate_data: bool = True
    max_recv_data_segment_length: int = 262144
    first_burst_length: int = 262144
    max_burst_length: int = 16776192
    max_outstanding_r2t: int = 1
    default_time2wait: int = 0
    default_time2retain: int = 0
    extra: tuple[tuple[str, str], ...] = ()
    """X- keys that are offered as they are, and whose answers are noted only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPlan:
    """All that a login phase needs to know beforehand.

    ``target_name`` is ``None`` for a discovery session. ``cmd_sn`` is the CmdSN of every Login
    Request, and of the first command in the full feature phase.
    """

    initiator_name: IscsiName
    initiator_alias: str = ""
    target_name: IscsiName | None
    isid: Isid
    cmd_sn: int = 1
    authentication: Authentication = field(default_factory=Authentication)
    offer: Offer = field(default_factory=Offer)
    skip_security: bool = False
    """Begin in the operational stage, one answer sooner; only without credentials.

    Standard targets take it, yet hardly an initiator does it, so it is no default.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedParameters:
    """What holds once the login is through. The defaults are the standard's own."""

    header_digest: Digest = Digest.NONE
    data_digest: Digest = Digest.NONE
    max_connections: int = 1
    initial_r2t: bool = True
    immediate_data: bool = True
    max_recv_data_segment_length: int = 8192
    """What *we* declared: the longest data segment the target may send."""
    target_max_recv_data_segment_length: int = 8192
    """What the *target* declared: the longest data segment we may send."""
    first_burst_length: int = 65536
    max_burst_length: int = 262144
    default_time2wait: int = 2
    default_time2retain: int = 20
    max_outstanding_r2t: int = 1
    data_pdu_in_order: bool = True
    data_sequence_in_order: bool = True
    error_recovery_level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResult:
    """A login that is through: what the next PDU on the connection builds on."""

    isid: Isid
    tsih: int
    cmd_sn: int
    """CmdSN of the first non-immediate command."""
    exp_stat_sn: int
    """StatSN of the last Login Response plus one, modulo 2**32."""
    target_alias: str | None = None
    target_portal_group_tag: int | None = None
    parameters: AgreedParameters = field(default_factory=AgreedParameters)


@dataclass(frozen=True, slots=True)
class Redirection:
    """The target moved: log in at one of ``portals``, from scratch (RFC 7143, section 11.13.5)."""

    portals: tuple[Portal, ...]
    permanent: bool
