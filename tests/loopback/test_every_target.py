"""Logging in to three targets, each of another code base: the same rules before each of them.

tgtd and istgt run on this machine, LIO, the kernel's own, in the virtual machine.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.errors import AuthenticationFailed, LoginRejected
from iscsid.protocol.login_status import authentication_required, closed_unanswered
from iscsid.protocol.names import Portal, parse_portal
from iscsid.protocol.parameters import Authentication, Credentials, Digest, Offer
from tests.loopback.driver import discover, log_in
from tests.loopback.istgt import Istgt, Unit
from tests.loopback.plans import DISCOVERY, MUTUAL, OURS, THEIRS, WRONG, full_name, plan
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.vm.conftest import needs_lio
from tests.vm.lio import Lio

ON_LOOPBACK = ["tgtd", "istgt"]
LIO = pytest.param("lio", marks=(pytest.mark.vm, needs_lio))
each_stage = pytest.mark.parametrize(
    "skip", [False, True], ids=["both stages", "operational stage only"]
)


@pytest.fixture(scope="module", params=[*ON_LOOPBACK, LIO])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def portal(kind: str, request: pytest.FixtureRequest) -> Portal:
    """Where the targets plain, chap and mutual are."""
    target: LiveTgtd | Istgt | Lio = request.getfixturevalue(kind)
    return parse_portal(target.address) if isinstance(target, Lio) else target.portal


@each_stage
def test_an_open_target_is_logged_in_to(portal: Portal, kind: str, skip: bool) -> None:
    aliases = {"tgtd": None, "istgt": "plain of istgt", "lio": "LIO Target"}
    with log_in(portal, plan("plain", skip_security=skip)) as session:
        assert session.result.target_alias == aliases[kind]
        assert session.result.tsih and session.result.target_portal_group_tag == 1
        session.ping()
        session.log_out()


@each_stage
@pytest.mark.parametrize("name", ["chap", "mutual"])
def test_a_target_that_wants_chap_is_named_as_such(
    portal: Portal, kind: str, name: str, skip: bool
) -> None:
    """Asked for None, LIO closes the connection without an answer."""
    is_silent = kind == "lio" and not skip
    expected = closed_unanswered() if is_silent else authentication_required()
    with pytest.raises(AuthenticationFailed) as raised:
        log_in(portal, plan(name, skip_security=skip))
    assert str(raised.value) == str(expected)


@pytest.mark.parametrize(("name", "incoming"), [("chap", None), ("mutual", THEIRS)])
def test_chap_logs_in(portal: Portal, name: str, incoming: Credentials | None) -> None:
    with log_in(portal, plan(name, OURS, incoming)) as session:
        session.ping()


@pytest.mark.parametrize("wrong", [replace(OURS, password=WRONG), replace(OURS, username="eve")])
@pytest.mark.parametrize(("name", "incoming"), [("chap", None), ("mutual", THEIRS)])
def test_our_wrong_secret_is_refused(
    portal: Portal, name: str, incoming: Credentials | None, wrong: Credentials
) -> None:
    with pytest.raises(AuthenticationFailed, match="0201"):
        log_in(portal, plan(name, wrong, incoming))


@pytest.mark.parametrize(
    "wrong", [replace(THEIRS, password=WRONG), replace(THEIRS, username="mallory")]
)
def test_a_target_with_a_wrong_secret_is_left(portal: Portal, wrong: Credentials) -> None:
    with pytest.raises(AuthenticationFailed, match="did not prove itself"):
        log_in(portal, plan("mutual", OURS, wrong))


@pytest.mark.parametrize("kind", ON_LOOPBACK, indirect=True)
def test_credentials_for_an_open_target_are_named_as_the_cause(portal: Portal) -> None:
    with pytest.raises(AuthenticationFailed, match="does not take CHAP"):
        log_in(portal, plan("plain", OURS))


def test_a_target_that_is_not_there_is_not_found(portal: Portal, kind: str) -> None:
    with pytest.raises(LoginRejected) as raised:
        log_in(portal, plan("nowhere"))
    assert raised.value.status == (0x0301 if kind == "lio" else 0x0203)


@pytest.mark.parametrize("digests", [(Digest.CRC32C,), (Digest.CRC32C, Digest.NONE)])
@pytest.mark.parametrize("kind", ["istgt", LIO], indirect=True)
def test_a_target_that_requires_digests_gets_them_and_the_session_lives(
    portal: Portal, digests: tuple[Digest, ...]
) -> None:
    offer = Offer(header_digest=digests, data_digest=digests)
    with log_in(portal, plan("digests", offer=offer)) as session:
        parameters = session.result.parameters
        assert parameters.header_digest is parameters.data_digest is Digest.CRC32C
        session.ping()
        session.log_out()


@pytest.mark.parametrize("target", ["tgtd", "istgt one-way", "istgt mutual"])
def test_discovery_with_chap_both_ways_of_failing_and_the_one_that_works(target: str) -> None:
    incoming = THEIRS if target == "istgt mutual" else None
    guarded: LiveTgtd | Istgt
    if target == "tgtd":
        guarded = LiveTgtd()
    else:
        method = "CHAP Mutual" if incoming else "CHAP"
        guarded = Istgt((Unit("plain"),), MUTUAL, discovery=method)
    try:
        if isinstance(guarded, LiveTgtd):
            guarded.add_target(full_name("plain"), {})
            guarded.require_for_discovery(MUTUAL)
        right = Authentication(OURS, incoming)
        (record,) = discover(guarded.portal, replace(DISCOVERY, authentication=right))
        assert record.target_name == full_name("plain")
        wrong = Authentication(replace(OURS, password=WRONG), incoming)
        with pytest.raises(AuthenticationFailed, match="0201"):
            discover(guarded.portal, replace(DISCOVERY, authentication=wrong))
        with pytest.raises(AuthenticationFailed) as raised:
            discover(guarded.portal, DISCOVERY)
        assert str(raised.value) == str(authentication_required(is_discovery=True))
    finally:
        guarded.stop()
