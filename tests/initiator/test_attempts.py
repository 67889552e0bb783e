"""Which portal is tried next, and when."""

from __future__ import annotations

from iscsid.bindings.binding import Binding
from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.initiator.attempts import RetryState
from iscsid.initiator.planning import PlannedSession, PortalOption
from iscsid.initiator.retry import ATTEMPTS_PER_SECOND, STABLE_AFTER
from iscsid.protocol.names import IscsiName, Portal

A, B, C = (Portal(f"192.0.2.{n}") for n in (1, 2, 3))
REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "no such target")


def path(*portals: Portal, settings: SessionSettings | None = None) -> PlannedSession:
    options = tuple(PortalOption(portal, 1, settings or SessionSettings()) for portal in portals)
    return PlannedSession(Binding(0, 0), IscsiName("iqn.2024-01.org.example:t"), None, options)


def test_all_portals_are_tried_in_turn_before_the_first_pause() -> None:
    attempts = RetryState(path(A, B, C))
    assert attempts.portal == A
    assert attempts.delay_after_failure(REFUSED) == 0
    assert attempts.portal == B
    assert attempts.delay_after_failure(REFUSED) == 0
    assert attempts.portal == C
    pause = attempts.delay_after_failure(REFUSED)
    assert pause and attempts.portal == A


def test_without_portal_failover_the_first_portal_is_tried_again() -> None:
    attempts = RetryState(path(A, B, settings=SessionSettings(portal_failover=False)))
    assert attempts.delay_after_failure(REFUSED)
    assert attempts.portal == A


def test_who_waits_behind_others_waits_longer_but_never_for_the_next_of_several_portals() -> None:
    attempts = RetryState(path(A, B))
    assert attempts.delay_in_turn(1, ahead=0) == 1
    assert attempts.delay_in_turn(1, ahead=80) == 80 / ATTEMPTS_PER_SECOND
    assert attempts.delay_in_turn(1, ahead=10_000) == 60
    assert attempts.delay_in_turn(0, ahead=80) == 0
    hasty = RetryState(path(A, settings=SessionSettings(login_retry_interval=3)))
    assert hasty.delay_in_turn(1, ahead=80) == 3


def test_a_permanent_redirection_lasts_until_an_attempt_there_fails() -> None:
    attempts = RetryState(path(A))
    attempts.moved(C)
    attempts.moved(None)
    assert attempts.portal == C
    assert attempts.option.portal == A, "what the kernel is told stays the address of the file"
    assert attempts.delay_after_failure(REFUSED, disks_waiting=1) == 0
    assert attempts.portal == A


def test_a_final_failure_waits_for_sighup_unless_disks_wait_for_the_session() -> None:
    assert RetryState(path(A)).delay_after_failure(FINAL) is None
    assert RetryState(path(A)).delay_after_failure(FINAL, disks_waiting=1)


def test_a_target_that_boots_and_says_not_found_is_asked_again_soon_while_disks_wait() -> None:
    attempts = RetryState(path(A))
    delays = [attempts.delay_after_failure(FINAL, disks_waiting=1) for _ in range(9)]
    assert delays[0] is not None and delays[0] <= 1
    assert all(delay is not None and delay <= 60 for delay in delays)


def test_a_target_long_unreachable_that_then_says_not_found_is_asked_again_soon() -> None:
    attempts = RetryState(path(A))
    for _ in range(9):
        attempts.delay_after_failure(REFUSED, disks_waiting=500)
    delay = attempts.delay_after_failure(FINAL, disks_waiting=500)
    assert delay is not None and delay <= 1


def test_login_retries_end_the_attempts_of_a_session_no_disk_waits_for() -> None:
    attempts = RetryState(path(A, settings=SessionSettings(login_retries=2)))
    assert attempts.delay_after_failure(REFUSED)
    assert attempts.delay_after_failure(REFUSED) is None
    kept = RetryState(path(A, settings=SessionSettings(login_retries=1)))
    assert kept.delay_after_failure(REFUSED, disks_waiting=1)


def test_the_retry_interval_shortens_pauses_and_never_lengthens_them() -> None:
    attempts = RetryState(path(A, settings=SessionSettings(login_retry_interval=3)))
    delays = [attempts.delay_after_failure(REFUSED) for _ in range(9)]
    assert all(delay is not None and 0 < delay <= 3 for delay in delays)


def test_the_retry_interval_shortens_the_pauses_of_a_session_that_drops_again_and_again() -> None:
    attempts = RetryState(path(A, settings=SessionSettings(login_retry_interval=3)))
    assert max(attempts.delay_after_loss(1, 0) for _ in range(9)) <= 3
    assert attempts.delay_after_loss(1, 7) == 7, "what the target asks for is no pause of ours"


def test_a_session_that_was_stable_comes_back_as_soon_as_the_target_allows() -> None:
    attempts = RetryState(path(A))
    for _ in range(20):
        assert attempts.delay_after_loss(STABLE_AFTER, 0) == 0
    assert attempts.delay_after_loss(STABLE_AFTER, 7) == 7


def test_a_session_that_drops_again_and_again_pauses_and_looks_like_a_twin_once() -> None:
    attempts = RetryState(path(A))
    delays, twins = [], []
    for _ in range(8):
        delays.append(attempts.delay_after_loss(1, 0))
        twins.append(attempts.suspects_duplicate_name)
    assert delays[0] == 0 and delays[-1] > 30
    assert delays == sorted(delays)
    assert twins.count(True) == 1


def test_what_failed_while_the_target_was_away_is_not_held_against_the_session_afterwards() -> None:
    attempts = RetryState(path(A))
    attempts.delay_after_loss(STABLE_AFTER, 0)
    for _ in range(6):
        attempts.delay_after_failure(REFUSED, disks_waiting=1)
    assert attempts.delay_after_loss(1, 0) == 0
    assert not attempts.suspects_duplicate_name
    pause = attempts.delay_after_failure(REFUSED, disks_waiting=1)
    assert pause is not None and pause <= 1, "the pauses grow from the first one again"


def test_other_portals_keep_the_one_in_use_where_it_is_still_among_them() -> None:
    attempts = RetryState(path(A, B))
    attempts.delay_after_failure(REFUSED)
    attempts.change_path(path(C, B, A))
    assert attempts.portal == B
    attempts.change_path(path(C))
    assert attempts.portal == C


def test_to_lose_a_session_is_no_failed_attempt_to_log_in() -> None:
    """Its next login goes before the retries of portals that are dead."""
    attempts = RetryState(path(A))
    attempts.delay_after_failure(REFUSED)
    assert attempts.has_failed
    attempts.delay_after_loss(1.0, 0)
    assert not attempts.has_failed
