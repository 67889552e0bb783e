"""Logging in to LIO, the strict target of the kernel: what only the machine can show of a login."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from iscsid.errors import AuthenticationFailed, LoginRejected
from iscsid.protocol.login_status import authentication_required, closed_unanswered
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Credentials,
    Digest,
    LoginPlan,
    Offer,
)
from iscsid.secret import Secret
from tests.loopback.driver import discover, log_in
from tests.target.pairing import make_plan
from tests.vm.lio import ISCSI, Account, Lio

PORTAL = Portal("127.0.0.1", 3260)
ONE_WAY = Account("alice", "secret-alice-123")
MUTUAL = Account("alice", "secret-alice-123", "target", "secret-target-456")
OURS = Credentials("alice", Secret("secret-alice-123"))
THEIRS = Credentials("target", Secret("secret-target-456"))
WRONG = Secret("secret-wrong-789")
DISCOVERY = make_plan(discovery=True)
DISCOVERY_AUTH = ISCSI / "discovery_auth"
ALGORITHMS = tuple(ChapAlgorithm)


def name_of(target: str) -> IscsiName:
    return IscsiName(f"iqn.2024-01.org.example:{target}")


def plan(
    target: str,
    outgoing: Credentials | None = None,
    incoming: Credentials | None = None,
    *algorithms: ChapAlgorithm,
    offer: Offer | None = None,
) -> LoginPlan:
    proof = Authentication(outgoing, incoming, algorithms or (ChapAlgorithm.MD5,))
    return replace(make_plan(authentication=proof, offer=offer), target_name=name_of(target))


@pytest.fixture(scope="module")
def lio() -> Iterator[Lio]:
    """LIO with the targets plain, chap, mutual, digests and closed."""
    target = Lio()
    try:
        target.add_target(name_of("plain"), {})
        target.add_target(name_of("chap"), {}, account=ONE_WAY)
        target.add_target(name_of("mutual"), {}, account=MUTUAL)
        required = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
        target.add_target(name_of("digests"), {}, parameters=required)
        target.add_target(name_of("closed"), {}, open_to_all=False)
        yield target
    finally:
        target.stop()


def write_discovery_auth(**values: str) -> None:
    for name, value in values.items():
        (DISCOVERY_AUTH / name).write_text(value)


@pytest.fixture
def guarded(lio: Lio) -> Iterator[Lio]:
    """The same, with CHAP both ways before discovery."""
    write_discovery_auth(
        userid=MUTUAL.user,
        password=MUTUAL.password,
        userid_mutual=MUTUAL.mutual_user,
        password_mutual=MUTUAL.mutual_password,
        enforce_discovery_auth="1",
    )
    yield lio
    write_discovery_auth(enforce_discovery_auth="0")


@pytest.mark.parametrize("skip", [False, True], ids=["both stages", "operational stage only"])
def test_an_open_target_is_logged_in_to(lio: Lio, skip: bool) -> None:
    with log_in(PORTAL, replace(plan("plain"), skip_security=skip)) as session:
        assert session.result.target_alias == "LIO Target"
        session.ping()
        session.log_out()


@pytest.mark.parametrize("skip", [False, True], ids=["both stages", "operational stage only"])
def test_a_target_that_wants_chap_says_so_even_by_saying_nothing(lio: Lio, skip: bool) -> None:
    """Asked for None, LIO closes the connection without an answer."""
    with pytest.raises(AuthenticationFailed) as raised:
        log_in(PORTAL, replace(plan("chap"), skip_security=skip))
    expected = authentication_required() if skip else closed_unanswered()
    assert str(raised.value) == str(expected)


@pytest.mark.parametrize(
    "algorithms",
    [*((each,) for each in ALGORITHMS), ALGORITHMS, ALGORITHMS[::-1]],
    ids=lambda algorithms: ",".join(each.name for each in algorithms),
)
@pytest.mark.parametrize("target", ["chap", "mutual"])
def test_every_algorithm_logs_in(
    lio: Lio, target: str, algorithms: tuple[ChapAlgorithm, ...]
) -> None:
    incoming = THEIRS if target == "mutual" else None
    with log_in(PORTAL, plan(target, OURS, incoming, *algorithms)) as session:
        session.ping()
        session.log_out()


@pytest.mark.parametrize("wrong", [replace(OURS, password=WRONG), replace(OURS, username="eve")])
@pytest.mark.parametrize("target", ["chap", "mutual"])
def test_our_wrong_secret_is_refused(lio: Lio, target: str, wrong: Credentials) -> None:
    incoming = THEIRS if target == "mutual" else None
    with pytest.raises(AuthenticationFailed, match="0201"):
        log_in(PORTAL, plan(target, wrong, incoming))


@pytest.mark.parametrize(
    "wrong", [replace(THEIRS, password=WRONG), replace(THEIRS, username="somebody")]
)
def test_a_target_with_a_wrong_secret_is_left(lio: Lio, wrong: Credentials) -> None:
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(PORTAL, plan("mutual", OURS, wrong))


def test_a_target_without_a_secret_of_its_own_is_left(lio: Lio) -> None:
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(PORTAL, plan("chap", OURS, THEIRS))


@pytest.mark.parametrize(("target", "status"), [("closed", "0202"), ("nowhere", "0301")])
def test_a_refusal_is_read(lio: Lio, target: str, status: str) -> None:
    with pytest.raises((AuthenticationFailed, LoginRejected), match=status):
        log_in(PORTAL, plan(target))


@pytest.mark.parametrize("digests", [(Digest.CRC32C,), (Digest.CRC32C, Digest.NONE)])
@pytest.mark.parametrize("target", ["plain", "digests"])
def test_a_session_with_digests_lives(lio: Lio, target: str, digests: tuple[Digest, ...]) -> None:
    offer = Offer(header_digest=digests, data_digest=digests)
    with log_in(PORTAL, plan(target, offer=offer)) as session:
        parameters = session.result.parameters
        assert parameters.header_digest is parameters.data_digest is Digest.CRC32C
        session.ping()
        session.log_out()


def test_a_target_that_requires_digests_refuses_a_session_without(lio: Lio) -> None:
    with pytest.raises(LoginRejected, match="0200"):
        log_in(PORTAL, plan("digests"))


def test_discovery_lists_every_target(lio: Lio) -> None:
    names = {record.target_name for record in discover(PORTAL, DISCOVERY)}
    assert names == {name_of(each) for each in ("plain", "chap", "mutual", "digests", "closed")}


@pytest.mark.parametrize("incoming", [None, THEIRS], ids=["one-way", "mutual"])
def test_discovery_with_chap_gets_the_list(guarded: Lio, incoming: Credentials | None) -> None:
    login = replace(DISCOVERY, authentication=Authentication(OURS, incoming))
    assert len(discover(PORTAL, login)) == 5


def test_discovery_without_the_right_secrets_gets_nothing(guarded: Lio) -> None:
    wrong = Authentication(replace(OURS, password=WRONG))
    untrue = Authentication(OURS, replace(THEIRS, password=WRONG))
    with pytest.raises(AuthenticationFailed, match="0201"):
        discover(PORTAL, replace(DISCOVERY, authentication=wrong))
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        discover(PORTAL, replace(DISCOVERY, authentication=untrue))
    with pytest.raises(AuthenticationFailed) as raised:
        discover(PORTAL, DISCOVERY)
    assert str(raised.value) == str(closed_unanswered(is_discovery=True))
