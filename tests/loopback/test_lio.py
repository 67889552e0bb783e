"""Logging in to LIO, the kernel's own strict target, in the virtual machine: what it alone does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from iscsid.errors import AuthenticationFailed, LoginRejected
from iscsid.protocol.login_status import closed_unanswered
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Authentication, ChapAlgorithm, Credentials, Digest, Offer
from tests.loopback.driver import discover, log_in
from tests.loopback.plans import DISCOVERY, MUTUAL, OURS, THEIRS, WRONG, full_name, plan
from tests.vm.conftest import needs_lio
from tests.vm.lio import ISCSI, Lio

pytestmark = [pytest.mark.vm, needs_lio]

PORTAL = Portal("127.0.0.1", 3260)
DISCOVERY_AUTH = ISCSI / "discovery_auth"
ALGORITHMS = tuple(ChapAlgorithm)


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


def test_a_target_without_a_secret_of_its_own_is_left(lio: Lio) -> None:
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(PORTAL, plan("chap", OURS, THEIRS))


def test_a_target_that_is_closed_to_us_refuses(lio: Lio) -> None:
    with pytest.raises((AuthenticationFailed, LoginRejected), match="0202"):
        log_in(PORTAL, plan("closed"))


@pytest.mark.parametrize("digests", [(Digest.CRC32C,), (Digest.CRC32C, Digest.NONE)])
def test_a_session_with_digests_lives(lio: Lio, digests: tuple[Digest, ...]) -> None:
    offer = Offer(header_digest=digests, data_digest=digests)
    with log_in(PORTAL, plan("plain", offer=offer)) as session:
        parameters = session.result.parameters
        assert parameters.header_digest is parameters.data_digest is Digest.CRC32C
        session.ping()
        session.log_out()


def test_a_target_that_requires_digests_refuses_a_session_without(lio: Lio) -> None:
    with pytest.raises(LoginRejected, match="0200"):
        log_in(PORTAL, plan("digests"))


def test_discovery_lists_every_target(lio: Lio) -> None:
    names = {record.target_name for record in discover(PORTAL, DISCOVERY)}
    assert names == {full_name(each) for each in ("plain", "chap", "mutual", "digests", "closed")}


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
