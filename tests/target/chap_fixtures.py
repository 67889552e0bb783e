"""Two names and two secrets, the plans that use them, and a target that knows both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from iscsid.protocol.parameters import Authentication, ChapAlgorithm, Credentials, LoginPlan
from iscsid.secret import Secret
from tests.target.pairing import make_plan
from tests.target.profile import TGTD, Profile
from tests.target.script import Script

OURS, THEIRS = b"secret-of-initiator", b"secret-of-target"
ALICE = Credentials("alice", Secret(OURS))
BOB = Credentials("bob", Secret(THEIRS))
ONE_WAY = make_plan(authentication=Authentication(ALICE))
MUTUAL = make_plan(authentication=Authentication(ALICE, BOB))


def script(profile: Profile = TGTD, **changes: Any) -> Script:
    """Return a target that knows alice, and is bob."""
    knowing = Script(profile=profile, accounts={"alice": OURS}, own_account=("bob", THEIRS))
    return replace(knowing, **changes)


def with_algorithms(*algorithms: ChapAlgorithm, mutual: bool = False) -> LoginPlan:
    """Return a plan that offers these algorithms, in this order."""
    return make_plan(authentication=Authentication(ALICE, BOB if mutual else None, algorithms))
