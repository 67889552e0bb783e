"""What is offered in the logins to real targets: their names, the right secrets and wrong ones."""

from __future__ import annotations

from dataclasses import replace

from iscsid.protocol.names import IscsiName
from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Credentials,
    LoginPlan,
    Offer,
)
from iscsid.secret import Secret
from tests.target.pairing import make_plan
from tests.vm.lio import Account

ALICE = Account("alice", "secret-alice-123")
MUTUAL = Account("alice", "secret-alice-123", "target", "secret-target-456")
OURS = Credentials(MUTUAL.user, Secret(MUTUAL.password))
THEIRS = Credentials(MUTUAL.mutual_user, Secret(MUTUAL.mutual_password))
WRONG = Secret("secret-wrong-789")
DISCOVERY = make_plan(discovery=True)


def full_name(name: str) -> IscsiName:
    return IscsiName(f"iqn.2024-01.org.example:{name}")


def plan(
    name: str,
    outgoing: Credentials | None = None,
    incoming: Credentials | None = None,
    *algorithms: ChapAlgorithm,
    offer: Offer | None = None,
    skip_security: bool = False,
) -> LoginPlan:
    made = make_plan(
        authentication=Authentication(outgoing, incoming, algorithms or (ChapAlgorithm.MD5,)),
        offer=offer,
        skip_security=skip_security,
    )
    return replace(made, target_name=full_name(name))
