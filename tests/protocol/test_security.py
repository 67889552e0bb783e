"""The security stage: every step that CHAP has, and every way to leave one out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from iscsid.errors import (
    AuthenticationFailed,
    ChapAlgorithmsRefused,
    ConnectionFailed,
    IscsidError,
    NegotiationError,
    ProtocolError,
    Retry,
)
from iscsid.protocol.chap import RANDOM_OCTETS
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_status import authentication_required, closed_unanswered, rejection
from iscsid.protocol.parameters import Authentication, ChapAlgorithm, Credentials, LoginPlan
from tests.target.chap_fixtures import (
    ALICE,
    BOB,
    MUTUAL,
    ONE_WAY,
    OURS,
    THEIRS,
    script,
    with_algorithms,
)
from tests.target.negotiator import Pairs
from tests.target.pairing import failure_of, log_in, make_plan, result_of
from tests.target.profile import LIO, PROFILES, TGTD, Profile
from tests.target.script import Edit, Script, change, hang_up, only, put

ALL_ALGORITHMS = (
    ChapAlgorithm.SHA3_256,
    ChapAlgorithm.SHA256,
    ChapAlgorithm.SHA1,
    ChapAlgorithm.MD5,
)


# --- the ways that lead through -----------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("plan", [ONE_WAY, MUTUAL], ids=["one-way", "mutual"])
@pytest.mark.parametrize("base64", [False, True], ids=["hex", "base64"])
def test_the_right_secrets_log_in(profile: Profile, plan: LoginPlan, base64: bool) -> None:
    assert result_of(script(profile, base64=base64), plan).tsih == profile.tsih


@pytest.mark.parametrize("algorithm", ChapAlgorithm)
@pytest.mark.parametrize("mutual", [False, True])
def test_every_algorithm_logs_in(algorithm: ChapAlgorithm, mutual: bool) -> None:
    plan = with_algorithms(algorithm, mutual=mutual)
    result_of(script(algorithms=(int(algorithm),)), plan)


@pytest.mark.parametrize("algorithm", ChapAlgorithm)
def test_a_list_of_algorithms_is_one_offer_and_the_target_chooses(algorithm: ChapAlgorithm) -> None:
    _, target = log_in(script(algorithms=(int(algorithm),)), with_algorithms(*ALL_ALGORITHMS))
    assert any(b"CHAP_A=8,7,6,5\0" in each for each in target.login_requests)


def test_a_challenge_of_a_whole_kibibyte_is_answered() -> None:
    result_of(script(challenge=bytes(range(256)) * 4), ONE_WAY)


def test_a_target_may_prove_itself_in_a_response_of_its_own() -> None:
    result_of(script(proves_itself_late=True), MUTUAL)


def test_transit_is_asked_for_only_with_the_last_keys() -> None:
    """iPXE once asked in every request, and took the target's consent for an attack."""
    for plan in (ONE_WAY, MUTUAL):
        _, target = log_in(script(), plan)
        transits = [bool(each[1] & 0x80) for each in target.login_requests]
        assert transits == [False, False, True, True]


def test_without_credentials_chap_is_never_offered() -> None:
    """EMC arrays choose CHAP whenever it is offered."""
    _, target = log_in()
    assert not any(b"CHAP" in each for each in target.login_requests)
    assert any(b"AuthMethod=None\0" in each for each in target.login_requests)


@pytest.mark.parametrize("plan", [ONE_WAY, MUTUAL], ids=["one-way", "mutual"])
def test_with_credentials_none_is_never_offered(plan: LoginPlan) -> None:
    _, target = log_in(script(), plan)
    assert any(b"AuthMethod=CHAP\0" in each for each in target.login_requests)


def test_a_challenge_is_sent_for_mutual_chap_only() -> None:
    _, one_way = log_in(script(), ONE_WAY)
    _, mutual = log_in(script(), MUTUAL)
    assert not any(b"CHAP_C=" in each for each in one_way.login_requests)
    assert any(b"CHAP_C=0x0102" in each for each in mutual.login_requests)


def test_discovery_sessions_authenticate_the_same_way() -> None:
    plan = make_plan(discovery=True, authentication=Authentication(ALICE, BOB))
    result_of(script(), plan)


@pytest.mark.parametrize(
    ("edit", "credentials", "advice"),
    [
        (put(0, "AuthMethod", "None"), True, "set DiscoveryCHAP=no"),
        (put(0, "AuthMethod", "Reject"), True, "set DiscoveryCHAP=no"),
        (put(0, "AuthMethod", "CHAP"), False, "set DiscoveryUsername and DiscoveryPassword"),
    ],
)
def test_advice_after_discovery_is_about_its_own_credentials(
    edit: Edit, credentials: bool, advice: str
) -> None:
    authentication = Authentication(ALICE) if credentials else Authentication()
    plan = make_plan(discovery=True, authentication=authentication)
    assert failure_of(Script(edit=edit), plan).advice.startswith(advice)


@pytest.mark.parametrize("is_discovery", [False, True])
def test_status_0201_does_not_send_to_compare_what_may_not_be_set(is_discovery: bool) -> None:
    advice = rejection(0x0201, has_credentials=True, is_discovery=is_discovery).advice
    assert ("DiscoveryCHAP=no" if is_discovery else "if it has none, remove them") in advice
    none = rejection(0x0201, has_credentials=False, is_discovery=is_discovery).advice
    assert none.startswith("set ") and "compare" not in none


@pytest.mark.parametrize("answer", ["None", "NotUnderstood", "Irrelevant"])
def test_a_target_without_authentication_need_not_understand_the_offer(answer: str) -> None:
    result_of(Script(edit=put(0, "AuthMethod", answer)))


# --- authentication is required and we have nothing ---------------------------------------------


@pytest.mark.parametrize("skip", [False, True], ids=["security", "operational"])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_authentication_required_is_one_message_unless_the_target_only_closes(
    profile: Profile, skip: bool
) -> None:
    error = failure_of(script(profile), make_plan(skip_security=skip))
    assert isinstance(error, AuthenticationFailed)
    known = closed_unanswered() if profile is LIO and not skip else authentication_required()
    assert str(error) == str(known)


def test_silence_is_read_as_a_refusal_but_not_believed_for_long() -> None:
    """A target that goes down closes its connections too."""
    assert failure_of(script(LIO)).retry is Retry.SOON
    assert failure_of(script(TGTD)).retry is Retry.LATER


def test_a_target_that_chooses_chap_unasked_requires_it() -> None:
    error = failure_of(Script(edit=only(0, ("AuthMethod", "CHAP"))))
    assert str(error) == str(authentication_required())


def test_a_connection_closed_later_is_no_authentication_error() -> None:
    error = failure_of(Script(amend=hang_up(1)))
    assert isinstance(error, ConnectionFailed)


@pytest.mark.parametrize(
    "pairs",
    [
        (("AuthMethod", "KRB5"),),
        (("AuthMethod", "none"),),
        (("AuthMethod", "None,CHAP"),),
        (("CHAP_A", "5"),),
        (("AuthMethod", "None"), ("AuthMethod", "None")),
    ],
)
def test_another_answer_to_none_is_refused(pairs: Pairs) -> None:
    assert isinstance(failure_of(Script(edit=only(0, *pairs))), ProtocolError)


# --- downgrades ---------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [ONE_WAY, MUTUAL], ids=["one-way", "mutual"])
def test_an_answer_of_none_is_an_authentication_failure(plan: LoginPlan) -> None:
    error = failure_of(script(edit=only(0, ("AuthMethod", "None"))), plan)
    assert isinstance(error, AuthenticationFailed)
    assert "None" in error.what


@pytest.mark.parametrize("plan", [ONE_WAY, MUTUAL], ids=["one-way", "mutual"])
@pytest.mark.parametrize("early", [0, 1])
def test_a_transit_before_our_response_is_an_authentication_failure(
    plan: LoginPlan, early: int
) -> None:
    """LIO with authentication switched off agrees to CHAP and leaves at once if it is asked."""
    leave = change(early, transit=True, next_stage=Stage.OPERATIONAL_NEGOTIATION)
    error = failure_of(script(amend=leave), plan)
    assert isinstance(error, AuthenticationFailed)
    assert "left the security stage" in error.what


@pytest.mark.parametrize("late", [False, True])
def test_a_transit_without_the_targets_proof_is_an_authentication_failure(late: bool) -> None:
    leave = change(2, transit=True, next_stage=Stage.OPERATIONAL_NEGOTIATION, data=b"")
    error = failure_of(script(amend=leave, proves_itself_late=late), MUTUAL)
    assert isinstance(error, AuthenticationFailed)


def test_an_endless_wait_for_the_proof_comes_to_an_end() -> None:
    silent = script(edit=_no_proof)
    stay = change(2, transit=False, next_stage=Stage.SECURITY_NEGOTIATION)
    error = failure_of(replace(silent, amend=stay), MUTUAL)
    assert isinstance(error, AuthenticationFailed)


def _no_proof(number: int, sent: Pairs) -> Pairs:
    return () if number >= 2 else sent


def test_a_target_that_cannot_be_challenged_does_not_get_the_session() -> None:
    error = failure_of(script(own_account=None), MUTUAL)
    assert isinstance(error, AuthenticationFailed)


# --- wrong secrets, both ways -------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    "credentials",
    [Credentials("alice", BOB.password), Credentials("mallory", ALICE.password)],
    ids=["password", "name"],
)
def test_our_wrong_credentials_are_an_authentication_failure(
    profile: Profile, credentials: Credentials
) -> None:
    plan = make_plan(authentication=Authentication(credentials))
    error = failure_of(script(profile), plan)
    assert isinstance(error, AuthenticationFailed)
    assert error.retry is Retry.LATER
    assert "0201" in error.what and "password" in str(error)


@pytest.mark.parametrize(
    "incoming",
    [Credentials("bob", ALICE.password), Credentials("robert", BOB.password)],
    ids=["password", "name"],
)
def test_a_target_with_other_credentials_does_not_get_the_session(incoming: Credentials) -> None:
    plan = make_plan(authentication=Authentication(ALICE, incoming))
    error = failure_of(script(), plan)
    assert isinstance(error, AuthenticationFailed)
    assert "did not prove itself" in error.what


def test_a_connection_closed_after_our_response_is_an_authentication_failure() -> None:
    error = failure_of(script(amend=hang_up(2)), ONE_WAY)
    assert isinstance(error, AuthenticationFailed)
    assert not isinstance(error, ChapAlgorithmsRefused)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_credentials_for_a_target_that_wants_none_are_named_as_the_cause(profile: Profile) -> None:
    error = failure_of(Script(profile=profile), ONE_WAY)
    assert isinstance(error, AuthenticationFailed)
    assert "does not take CHAP" in error.what


# --- what CHAP forbids --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "pairs"),
    [
        (0, (("AuthMethod", "SRP"),)),
        (0, (("AuthMethod", "CHAP,None"),)),
        (0, (("AuthMethod", ""),)),
        (0, (("AuthMethod", "CHAP"), ("CHAP_A", "5"))),
        (1, (("CHAP_A", "5"), ("CHAP_I", "1"))),
        (1, (("CHAP_A", "5"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_I", "1"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_A", "6"), ("CHAP_I", "1"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_A", "5,7"), ("CHAP_I", "1"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_A", ""), ("CHAP_I", "1"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_A", "5"), ("CHAP_I", "256"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x0"))),
        (1, (("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x"))),
        (1, (("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x" + "00" * 1025))),
        (1, (("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_I", "1"), ("CHAP_C", "0x00"))),
        (1, (("AuthMethod", "CHAP"), ("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x00"))),
        (1, (("CHAP_N", "bob"), ("CHAP_R", "0x00"))),
        (2, (("CHAP_N", "bob"),)),
        (2, (("CHAP_R", "0x00"),)),
        (2, (("CHAP_N", "bob"), ("CHAP_R", "0x0"))),
        (2, (("CHAP_N", "bob"), ("CHAP_R", "zero"))),
        (2, (("CHAP_N", "bob"), ("CHAP_R", "Reject"))),
        (2, (("CHAP_A", "5"), ("CHAP_I", "2"), ("CHAP_C", "0x00"))),
        (3, (("CHAP_N", "bob"), ("CHAP_R", "0x00"))),
        (3, (("AuthMethod", "None"),)),
    ],
)
def test_a_key_out_of_place_or_out_of_shape_ends_the_login(number: int, pairs: Pairs) -> None:
    error = failure_of(script(edit=only(number, *pairs)), MUTUAL)
    assert isinstance(error, ProtocolError | AuthenticationFailed)


@pytest.mark.parametrize(
    ("key", "value"), [("CHAP_A", "MD5"), ("CHAP_A", "5,7"), ("CHAP_I", "one"), ("CHAP_C", "x")]
)
def test_the_error_about_a_value_of_chap_names_its_key(key: str, value: str) -> None:
    assert key in str(failure_of(script(edit=put(1, key, value)), ONE_WAY))


def test_a_chap_response_without_a_challenge_ends_the_login() -> None:
    proof = only(2, ("CHAP_N", "bob"), ("CHAP_R", "0x00"))
    assert isinstance(failure_of(script(edit=proof), ONE_WAY), ProtocolError)


def test_a_challenge_that_equals_ours_is_refused() -> None:
    reflecting = script(challenge=bytes(range(1, RANDOM_OCTETS)))
    error = failure_of(reflecting, MUTUAL)
    assert isinstance(error, AuthenticationFailed)
    assert "challenge" in error.what


def test_our_own_response_reflected_is_refused() -> None:
    """Without the secret, one can still repeat what we have just sent."""
    ours = hashlib.md5(bytes([7]) + OURS + script().challenge).hexdigest()
    error = failure_of(script(edit=put(2, "CHAP_R", "0x" + ours)), MUTUAL)
    assert isinstance(error, AuthenticationFailed)
    assert "our own response" in error.what


# --- secrets ------------------------------------------------------------------------------------


def failing_scripts() -> Sequence[Script]:
    return [
        script(accounts={"alice": b"something else"}),
        script(own_account=("bob", b"something else")),
        *(script(statuses={number: 0x0201}) for number in range(4)),
        *(script(amend=hang_up(number)) for number in range(4)),
        script(edit=put(2, "CHAP_R", "0x00")),
        script(edit=put(1, "CHAP_C", "0x0")),
    ]


@pytest.mark.parametrize("failing", failing_scripts(), ids=range(len(failing_scripts())))
def test_no_error_and_no_repr_holds_a_secret_or_a_response(failing: Script) -> None:
    error: IscsidError = failure_of(failing, MUTUAL)
    response = hashlib.md5(bytes([7]) + OURS + failing.challenge).hexdigest()
    shown = f"{error} {error!r} {error.failure()} {MUTUAL!r}"
    for hidden in (OURS.decode(), THEIRS.decode(), response):
        assert hidden not in shown


def test_choosing_a_method_that_was_not_offered_names_key_offer_and_answer() -> None:
    error = failure_of(script(edit=only(0, ("AuthMethod", "KRB5"))), ONE_WAY)
    assert isinstance(error, NegotiationError)
    assert (error.key, error.offered, error.answered) == ("AuthMethod", "CHAP", "KRB5")
