"""Random targets that keep to the standard, and random plans to log in with: for properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from hypothesis import strategies as st

from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Digest,
    LoginPlan,
    Offer,
)
from tests.target.chap_fixtures import ALICE, BOB, OURS, THEIRS
from tests.target.negotiator import Pairs
from tests.target.pairing import RANDOM, make_plan
from tests.target.profile import EVERY_KEY, PROFILES, Profile
from tests.target.script import Script

LENGTHS = st.integers(512, 16777215)
YES_OR_NO = st.sampled_from(["Yes", "No"])
VALUES = {
    "HeaderDigest": st.sampled_from(["None", "None,CRC32C", "CRC32C,None"]),
    "DataDigest": st.sampled_from(["None", "None,CRC32C", "CRC32C,None"]),
    "MaxConnections": st.integers(1, 65535).map(str),
    "InitialR2T": YES_OR_NO,
    "ImmediateData": YES_OR_NO,
    "MaxBurstLength": LENGTHS.map(str),
    "FirstBurstLength": LENGTHS.map(str),
    "DefaultTime2Wait": st.integers(0, 3600).map(str),
    "DefaultTime2Retain": st.integers(0, 3600).map(str),
    "MaxOutstandingR2T": st.integers(1, 65535).map(str),
    "DataPDUInOrder": YES_OR_NO,
    "DataSequenceInOrder": YES_OR_NO,
    "ErrorRecoveryLevel": st.integers(0, 2).map(str),
}
DIGESTS = st.sampled_from(
    [(Digest.NONE,), (Digest.NONE, Digest.CRC32C), (Digest.CRC32C, Digest.NONE)]
)


@dataclass(frozen=True)
class Encounter:
    """A plan and a target that must come to terms."""

    plan: LoginPlan
    script: Script


def shuffled(seed: int) -> Callable[[int, Pairs], Pairs]:
    """Return an edit that puts the pairs of every response into another order."""

    def edit(number: int, sent: Pairs) -> Pairs:
        return tuple(sorted(sent, key=lambda pair: crc32(f"{seed} {number} {pair[0]}".encode())))

    return edit


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    return Offer(
        header_digest=draw(DIGESTS),
        data_digest=draw(DIGESTS),
        initial_r2t=draw(st.booleans()),
        immediate_data=draw(st.booleans()),
        max_recv_data_segment_length=draw(LENGTHS),
        first_burst_length=draw(LENGTHS),
        max_burst_length=draw(LENGTHS),
        max_outstanding_r2t=draw(st.integers(1, 65535)),
        default_time2wait=draw(st.integers(0, 3600)),
        default_time2retain=draw(st.integers(0, 3600)),
    )


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    base = draw(st.sampled_from(PROFILES))
    return Profile(
        name=base.name,
        first_stat_sn=draw(st.integers(0, 2**32 - 1)),
        window=draw(st.integers(0, 127)),
        tsih=draw(st.integers(1, 65535)),
        alias=draw(st.sampled_from(["", "an alias", "größer als Ähre"])),
        alias_after_digests=draw(st.booleans()),
        next_stage_without_transit=draw(st.booleans()),
        originates=tuple(draw(st.permutations(EVERY_KEY)))[: draw(st.integers(0, len(EVERY_KEY)))],
        leaves_out=base.leaves_out,
        wants_every_answer=draw(st.booleans()),
    )


@st.composite
def encounters(draw: st.DrawFn, *, answers_only: bool = False) -> Encounter:
    """Draw a legal target and a plan it must accept.

    One that ``answers_only`` offers nothing itself, and sends all its answers in one response.
    """
    authentication = draw(st.sampled_from(["none", "one-way", "mutual"]))
    algorithms = tuple(draw(st.permutations(list(ChapAlgorithm))))
    known = draw(st.sampled_from(ChapAlgorithm))
    with_chap = authentication != "none"
    script = Script(
        profile=draw(profiles()),
        originates=() if answers_only else None,
        values={name: draw(values) for name, values in VALUES.items()},
        declares=draw(
            st.one_of(
                st.just(()),
                LENGTHS.map(lambda number: (("MaxRecvDataSegmentLength", str(number)),)),
            )
        ),
        security_rounds=draw(st.integers(0, 3)),
        operational_rounds=draw(st.integers(0, 3)),
        portal_group_tag=draw(st.one_of(st.none(), st.integers(0, 65535))),
        tsih_at_once=draw(st.booleans()),
        accounts={"alice": OURS} if with_chap else {},
        own_account=("bob", THEIRS),
        algorithms=(int(known),),
        challenge=draw(st.binary(min_size=1, max_size=1024).filter(RANDOM[1:].__ne__)),
        challenge_identifier=draw(st.integers(0, 255)),
        base64=draw(st.booleans()),
        proves_itself_late=draw(st.booleans()),
        piece=draw(st.sampled_from([0, 0, 40, 100, 8192])) if not answers_only else 0,
        edit=shuffled(draw(st.integers(0, 1000))),
    )
    alice = ALICE if with_chap else None
    bob = BOB if authentication == "mutual" else None
    plan = make_plan(
        discovery=draw(st.booleans()),
        authentication=Authentication(alice, bob, algorithms),
        offer=draw(offers()),
        cmd_sn=draw(st.integers(0, 2**32 - 1)),
        skip_security=draw(st.booleans()),
    )
    return Encounter(plan, script)
