"""How the targets found in the field look from outside, as far as they can be distinguished.

What a scripted target does by default, unless a test wants otherwise. Observed on the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RefusesWithoutChap(Enum):
    """What a target that requires CHAP does to an initiator that offers None only."""

    STATUS = "status 0201 and AuthMethod=Reject"
    REJECT = "AuthMethod=Reject with status 0000"
    SILENCE = "the connection is closed without a response"


class Continuation(Enum):
    """How a target sends an answer that is longer than one PDU may be."""

    NO_C_BIT = "cut anywhere, F=0, C=0, with a Target Transfer Tag"
    C_BIT = "cut anywhere, F=0, C=1, Target Transfer Tag 0"
    ONE_LONG_PDU = "everything in one PDU, whatever was declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of target."""

    name: str
    first_stat_sn: int = 0
    window: int = 1
    """MaxCmdSN minus ExpCmdSN."""
    tsih: int = 0x0100
    alias: str = ""
    alias_after_digests: bool = False
    stages_in_refusals: bool = False
    """Whether a refusal repeats T, CSG and NSG of the request."""
    isid_in_refusals: bool = False
    next_stage_without_transit: bool = False
    refuses_without_chap: RefusesWithoutChap = RefusesWithoutChap.STATUS
    continuation: Continuation = Continuation.NO_C_BIT
    originates: tuple[tuple[str, str], ...] = ()
    """Keys it brings up in the operational stage where the initiator did not."""
    leaves_out: tuple[str, ...] = ()
    """Offers of the initiator's that get no answer; the default then holds."""
    wants_every_answer: bool = False
    """Whether an offer of its own that stays without an answer ends the login."""


EVERY_KEY = (
    ("HeaderDigest", "CRC32C,None"),
    ("DataDigest", "CRC32C,None"),
    ("MaxConnections", "1"),
    ("InitialR2T", "Yes"),
    ("ImmediateData", "Yes"),
    ("MaxBurstLength", "262144"),
    ("FirstBurstLength", "65536"),
    ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "20"),
    ("MaxOutstandingR2T", "1"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
    ("ErrorRecoveryLevel", "0"),
    ("IFMarker", "No"),
    ("OFMarker", "No"),
    ("IFMarkInt", "2048~65535"),
    ("OFMarkInt", "2048~65535"),
    ("TaskReporting", "FastAbort,ResponseFence,RFC3720"),
    ("iSCSIProtocolLevel", "2"),
)

TGTD = Profile(name="tgtd", originates=EVERY_KEY[:13])

ISTGT = Profile(
    name="istgt",
    window=7,
    tsih=1,
    alias="iSCSI Target",
    stages_in_refusals=True,
    isid_in_refusals=True,
    next_stage_without_transit=True,
    refuses_without_chap=RefusesWithoutChap.REJECT,
    continuation=Continuation.ONE_LONG_PDU,
)

LIO = Profile(
    name="LIO",
    first_stat_sn=0x8F3C5A1E,
    window=0,
    tsih=1,
    alias="LIO Target",
    alias_after_digests=True,
    refuses_without_chap=RefusesWithoutChap.SILENCE,
    continuation=Continuation.C_BIT,
    originates=EVERY_KEY[:10] + EVERY_KEY[12:13],
    leaves_out=("DataPDUInOrder", "DataSequenceInOrder"),
    wants_every_answer=True,
)

IET = Profile(name="IET", window=32, tsih=0x0200, alias="IET", isid_in_refusals=True)

PROFILES = (TGTD, ISTGT, LIO, IET)
