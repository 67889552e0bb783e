"""Which portal is tried next, and when."""

from __future__ import annotations

from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.bindings.binding import Binding
from iscsid.config.settings import SessionSettings, Timeouts
from iscsid.errors import Failure, Retry
from iscsid.initiator.planning import PlannedSession, PortalOption
from iscsid.initiator.retry import (
    ATTEMPTS_PER_SECOND,
    DELAYS,
    JITTER,
    LEAST_PATIENCE,
    STABLE_AFTER,
    RetryState,
    delay_before_retry,
    longest_pause,
)
from iscsid.protocol.names import IscsiName, Portal

WAITING = [retry for retry in Retry if DELAYS[retry] is not None]
A, B, C = (Portal(f"192.0.2.{n}") for n in (1, 2, 3))
REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "no such target")


@pytest.mark.parametrize("retry", WAITING)
@given(failures=st.integers(1, 10_000), seed=st.text(max_size=20))
def test_a_delay_stays_within_its_row_and_its_jitter(
    retry: Retry, failures: int, seed: str
) -> None:
    row = DELAYS[retry]
    assert row is not None
    full = row[min(failures, len(row)) - 1]
    delay = delay_before_retry(retry, failures, seed)
    assert delay is not None
    assert full * (1 - JITTER) <= delay <= full


@pytest.mark.parametrize("retry", WAITING)
def test_the_rows_grow_and_end(retry: Retry) -> None:
    row = DELAYS[retry]
    assert row is not None and list(row) == sorted(set(row))


def alone(_: Portal) -> int:
    """No other session waits for a portal."""
    return 0


def test_giving_up_waits_for_a_person() -> None:
    assert delay_before_retry(Retry.NEVER, 1, "x") is None


def test_an_unreachable_target_is_tried_at_least_once_a_minute_for_ever() -> None:
    delay = delay_before_retry(Retry.SOON, 1_000_000, "x")
    assert delay is not None and delay <= 60


def test_a_longest_pause_leaves_room_for_chance() -> None:
    """Otherwise a thousand sessions retry in lockstep for as long as the outage lasts."""
    delays = {delay_before_retry(Retry.SOON, 99, f"bus0/target{n}", 5) for n in range(100)}
    assert len(delays) > 90 and all(delay is not None and delay <= 5 for delay in delays)


def test_the_fewer_disks_wait_the_shorter_their_pauses() -> None:
    pauses = [longest_pause(waiting) for waiting in (1, 8, 100, 1000)]
    assert pauses == sorted(pauses) and pauses[0] == LEAST_PATIENCE < pauses[2]
    assert 1000 / (longest_pause(1000) * (1 - JITTER)) == pytest.approx(ATTEMPTS_PER_SECOND)


def test_sessions_that_fail_together_do_not_retry_in_lockstep() -> None:
    delays = {delay_before_retry(Retry.SOON, 7, f"bus0/target{n}") for n in range(100)}
    assert len(delays) > 90


def test_the_pauses_of_several_failures_do_not_add_up_to_the_same_time_everywhere() -> None:
    """A checksum as the source of chance brought every machine back into lockstep."""
    row = len(DELAYS[Retry.SOON] or ())
    hosts = [f"80aabbcc{n:04x}" for n in range(100)]

    def spread(failures: int) -> float:
        numbers = range(row, row + failures)
        return pstdev(
            sum(delay_before_retry(Retry.SOON, n, h) or 0 for n in numbers) for h in hosts
        )

    assert spread(4) > 1.5 * spread(1)


# --- the portals of one session -------------------------------------------------------------------


def plan(*portals: Portal, settings: SessionSettings | None = None) -> PlannedSession:
    options = tuple(PortalOption(portal, 1, settings or SessionSettings()) for portal in portals)
    return PlannedSession(Binding(0, 0), IscsiName("iqn.2024-01.org.example:t"), None, options)


def retries(*portals: Portal, settings: SessionSettings | None = None) -> RetryState:
    return RetryState(plan(*portals, settings=settings), "seed")


def test_all_portals_are_tried_in_turn_before_the_first_pause() -> None:
    retry = retries(A, B, C)
    assert retry.portal == A
    assert retry.delay_after_failure(REFUSED, alone) == 0
    assert retry.portal == B
    assert retry.delay_after_failure(REFUSED, alone) == 0
    assert retry.portal == C
    pause = retry.delay_after_failure(REFUSED, alone)
    assert pause and retry.portal == A


def test_without_portal_failover_the_first_portal_is_tried_again() -> None:
    retry = retries(A, B, settings=SessionSettings(portal_failover=False))
    assert retry.delay_after_failure(REFUSED, alone)
    assert retry.portal == A


@pytest.mark.parametrize(("ahead", "pause"), [(0, 1), (30, 10), (10_000, 60)])
def test_a_session_waits_longer_behind_others(ahead: int, pause: float) -> None:
    delay = retries(A).delay_after_failure(REFUSED, lambda portal: ahead)
    assert delay is not None and pause * 0.75 <= delay <= pause


def test_the_next_of_several_portals_is_tried_at_once_however_many_wait() -> None:
    assert retries(A, B).delay_after_failure(REFUSED, lambda portal: 80) == 0


def test_a_silent_portal_is_tried_more_often_until_it_answers_another_session() -> None:
    retry = retries(A)
    assert retry.connect_timeout() == 0
    retry.delay_after_failure(REFUSED, alone)
    assert retry.connect_timeout() == 4
    retry.portal_answered()
    assert retry.connect_timeout() == 0
    retry.delay_after_failure(REFUSED, alone)
    retry.delay_after_loss(100, 0)
    assert retry.connect_timeout() == 0


@pytest.mark.parametrize(("login", "timeout"), [(0, 0), (3, 0), (15, 4), (60, 15)])
def test_a_longer_limit_of_the_file_bears_a_longer_way(login: int, timeout: float) -> None:
    retry = retries(A, settings=SessionSettings(timeouts=Timeouts(login=login)))
    retry.delay_after_failure(REFUSED, alone)
    assert retry.connect_timeout() == timeout


def test_the_retry_interval_goes_before_the_turn() -> None:
    short = retries(A, settings=SessionSettings(login_retry_interval=3))
    assert short.delay_after_failure(REFUSED, lambda portal: 80) == 3


def test_a_permanent_redirection_lasts_until_an_attempt_there_fails() -> None:
    retry = retries(A)
    retry.moved(C)
    retry.moved(None)
    assert retry.portal == C
    assert retry.option.portal == A, "the address in the kernel stays that of the file"
    assert retry.delay_after_failure(REFUSED, alone, is_kept=True) == 0
    assert retry.portal == A


def test_a_final_failure_waits_for_sighup_unless_disks_wait_for_the_session() -> None:
    assert retries(A).delay_after_failure(FINAL, alone) is None
    assert retries(A).delay_after_failure(FINAL, alone, is_kept=True)


def test_a_target_that_boots_and_answers_not_found_is_tried_again_soon_while_disks_wait() -> None:
    retry = retries(A)
    delays = [retry.delay_after_failure(FINAL, alone, is_kept=True) for _ in range(9)]
    assert delays[0] is not None and delays[0] <= 1
    assert all(delay is not None and delay <= 60 for delay in delays)


def test_a_target_long_unreachable_that_then_answers_not_found_is_tried_again_soon() -> None:
    retry = retries(A)
    for _ in range(9):
        retry.delay_after_failure(REFUSED, lambda _: 499, is_kept=True)
    delay = retry.delay_after_failure(FINAL, lambda _: 499, is_kept=True)
    assert delay is not None and delay <= 1


def test_login_retries_end_the_attempts_of_a_session_no_disk_waits_for() -> None:
    retry = retries(A, settings=SessionSettings(login_retries=2))
    assert retry.delay_after_failure(REFUSED, alone)
    assert retry.delay_after_failure(REFUSED, alone) is None
    kept = retries(A, settings=SessionSettings(login_retries=1))
    assert kept.delay_after_failure(REFUSED, alone, is_kept=True)


def test_the_retry_interval_shortens_pauses_and_never_lengthens_them() -> None:
    retry = retries(A, settings=SessionSettings(login_retry_interval=3))
    delays = [retry.delay_after_failure(REFUSED, alone) for _ in range(9)]
    assert all(delay is not None and 0 < delay <= 3 for delay in delays)


def test_the_retry_interval_shortens_the_pauses_of_a_session_that_drops_again_and_again() -> None:
    retry = retries(A, settings=SessionSettings(login_retry_interval=3))
    assert max(retry.delay_after_loss(1, 0) for _ in range(9)) <= 3
    assert retry.delay_after_loss(1, 7) == 7, "what the target asks for is no pause of ours"


def test_a_session_that_was_stable_comes_back_as_soon_as_the_target_allows() -> None:
    retry = retries(A)
    for _ in range(20):
        assert retry.delay_after_loss(STABLE_AFTER, 0) == 0
    assert retry.delay_after_loss(STABLE_AFTER, 7) == 7


def test_a_session_that_drops_again_and_again_pauses_and_suspects_a_duplicate_name_once() -> None:
    retry = retries(A)
    delays, suspicions = [], []
    for _ in range(8):
        delays.append(retry.delay_after_loss(1, 0))
        suspicions.append(retry.suspects_duplicate_name)
    assert delays[0] == 0 and delays[-1] > 30
    assert delays == sorted(delays)
    assert suspicions.count(True) == 1


def test_what_failed_while_the_target_was_away_is_not_held_against_the_session_afterwards() -> None:
    retry = retries(A)
    retry.delay_after_loss(STABLE_AFTER, 0)
    for _ in range(6):
        retry.delay_after_failure(REFUSED, alone, is_kept=True)
    assert retry.delay_after_loss(1, 0) == 0
    assert not retry.suspects_duplicate_name
    pause = retry.delay_after_failure(REFUSED, alone, is_kept=True)
    assert pause is not None and pause <= 1, "the pauses grow from the first one again"


def test_other_portals_keep_the_one_in_use_where_it_is_still_among_them() -> None:
    retry = retries(A, B)
    retry.delay_after_failure(REFUSED, alone)
    retry.change_plan(plan(C, B, A))
    assert retry.portal == B
    retry.change_plan(plan(C))
    assert retry.portal == C
