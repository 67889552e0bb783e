"""Logging in to istgt: the same rules before another code base."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.errors import AuthenticationFailed, LoginRejected, NegotiationError
from iscsid.protocol.login_status import authentication_required
from iscsid.protocol.names import IscsiName, TargetAddress
from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Credentials,
    Digest,
    LoginPlan,
    Offer,
)
from iscsid.secret import Secret
from tests.loopback.conftest import MUTUAL, UNITS
from tests.loopback.driver import discover, log_in
from tests.loopback.istgt import NODE_BASE, Istgt, Unit
from tests.target.pairing import make_plan

OURS = Credentials(MUTUAL.user, Secret(MUTUAL.password))
THEIRS = Credentials(MUTUAL.mutual_user, Secret(MUTUAL.mutual_password))
WRONG = Secret("secret-wrong-789")
DISCOVERY = make_plan(discovery=True)


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
    return replace(made, target_name=IscsiName(f"{NODE_BASE}:{name}"))


@pytest.mark.parametrize("skip", [False, True], ids=["both stages", "operational stage only"])
def test_an_open_target_is_logged_in_to(istgt: Istgt, skip: bool) -> None:
    with log_in(istgt.portal, plan("plain", skip_security=skip)) as session:
        assert session.result.target_alias == "plain of istgt"
        assert session.result.target_portal_group_tag == 1
        session.ping()
        session.log_out()


def test_the_other_portal_group_has_its_own_tag(istgt: Istgt) -> None:
    with log_in(istgt.second_portal, plan("plain")) as session:
        assert session.result.target_portal_group_tag == 2


@pytest.mark.parametrize("skip", [False, True], ids=["both stages", "operational stage only"])
@pytest.mark.parametrize("name", ["chap", "mutual"])
def test_a_target_that_wants_chap_says_so(istgt: Istgt, name: str, skip: bool) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        log_in(istgt.portal, plan(name, skip_security=skip))
    assert str(raised.value) == str(authentication_required())


@pytest.mark.parametrize(
    "algorithms",
    [(ChapAlgorithm.MD5,), (ChapAlgorithm.SHA256, ChapAlgorithm.SHA1, ChapAlgorithm.MD5)],
    ids=["MD5", "a list"],
)
def test_one_way_chap_logs_in(istgt: Istgt, algorithms: tuple[ChapAlgorithm, ...]) -> None:
    with log_in(istgt.portal, plan("chap", OURS, None, *algorithms)) as session:
        session.ping()


@pytest.mark.parametrize("name", ["chap", "mutual"])
def test_mutual_chap_logs_in(istgt: Istgt, name: str) -> None:
    with log_in(istgt.portal, plan(name, OURS, THEIRS)) as session:
        session.ping()


@pytest.mark.parametrize("wrong", [replace(OURS, password=WRONG), replace(OURS, username="eve")])
@pytest.mark.parametrize("name", ["chap", "mutual"])
def test_our_wrong_secret_is_refused(istgt: Istgt, name: str, wrong: Credentials) -> None:
    incoming = THEIRS if name == "mutual" else None
    with pytest.raises(AuthenticationFailed, match="0201"):
        log_in(istgt.portal, plan(name, wrong, incoming))


@pytest.mark.parametrize(
    "wrong", [replace(THEIRS, password=WRONG), replace(THEIRS, username="somebody")]
)
def test_a_target_with_a_wrong_secret_is_left(istgt: Istgt, wrong: Credentials) -> None:
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(istgt.portal, plan("mutual", OURS, wrong))


def test_a_target_that_insists_on_mutual_chap_refuses_one_way(istgt: Istgt) -> None:
    with pytest.raises(AuthenticationFailed, match="0201"):
        log_in(istgt.portal, plan("mutual", OURS))


def test_credentials_for_an_open_target_are_named_as_the_cause(istgt: Istgt) -> None:
    with pytest.raises(AuthenticationFailed, match="does not take CHAP"):
        log_in(istgt.portal, plan("plain", OURS))


def test_a_target_that_is_not_there_is_not_found(istgt: Istgt) -> None:
    with pytest.raises(LoginRejected) as raised:
        log_in(istgt.portal, plan("nowhere"))
    assert raised.value.status == 0x0203


@pytest.mark.parametrize("header", [(Digest.CRC32C,), (Digest.CRC32C, Digest.NONE)])
@pytest.mark.parametrize("data", [(Digest.CRC32C,), (Digest.NONE, Digest.CRC32C)])
def test_a_target_that_requires_digests_gets_them_and_the_session_lives(
    istgt: Istgt, header: tuple[Digest, ...], data: tuple[Digest, ...]
) -> None:
    offer = Offer(header_digest=header, data_digest=data)
    with log_in(istgt.portal, plan("digests", offer=offer)) as session:
        assert session.result.parameters.header_digest is Digest.CRC32C
        session.ping()
        session.log_out()


def test_a_target_that_requires_digests_does_not_get_a_session_without(istgt: Istgt) -> None:
    """It answers Reject and success, and then never another word."""
    with pytest.raises(NegotiationError, match="HeaderDigest"):
        log_in(istgt.portal, plan("digests"))


def test_discovery_lists_every_unit_in_both_portal_groups(istgt: Istgt) -> None:
    addresses = (TargetAddress(istgt.portal, 1), TargetAddress(istgt.second_portal, 2))
    records = {record.target_name: record.addresses for record in discover(istgt.portal, DISCOVERY)}
    assert records == {IscsiName(unit.target_name): addresses for unit in UNITS}


@pytest.mark.parametrize("method", ["CHAP", "CHAP Mutual"])
def test_discovery_with_chap_both_ways_of_failing_and_the_one_that_works(method: str) -> None:
    guarded = Istgt((Unit("plain"),), MUTUAL, discovery=method)
    try:
        incoming = THEIRS if method == "CHAP Mutual" else None
        right = Authentication(OURS, incoming)
        wrong = Authentication(replace(OURS, password=WRONG), incoming)
        (record,) = discover(guarded.portal, replace(DISCOVERY, authentication=right))
        assert record.target_name == f"{NODE_BASE}:plain"
        with pytest.raises(AuthenticationFailed, match="0201"):
            discover(guarded.portal, replace(DISCOVERY, authentication=wrong))
        with pytest.raises(AuthenticationFailed) as raised:
            discover(guarded.portal, DISCOVERY)
        assert str(raised.value) == str(authentication_required(is_discovery=True))
    finally:
        guarded.stop()
