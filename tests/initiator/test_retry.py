"""The delays of the retry table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import Retry
from iscsid.initiator.retry import (
    ATTEMPTS_PER_SECOND,
    DELAYS,
    JITTER,
    LEAST_PATIENCE,
    delay_before_retry,
    longest_pause,
)

PATIENT = [retry for retry in Retry if DELAYS[retry] is not None]


@pytest.mark.parametrize("retry", PATIENT)
@given(failures=st.integers(1, 10_000), log_prefix=st.text(max_size=20))
def test_a_delay_stays_within_its_row_and_its_jitter(
    retry: Retry, failures: int, log_prefix: str
) -> None:
    row = DELAYS[retry]
    assert row is not None
    full = row[min(failures, len(row)) - 1]
    delay = delay_before_retry(retry, failures, log_prefix)
    assert delay is not None
    assert full * (1 - JITTER) <= delay <= full


@pytest.mark.parametrize("retry", PATIENT)
def test_the_rows_grow_and_end(retry: Retry) -> None:
    row = DELAYS[retry]
    assert row is not None and list(row) == sorted(set(row))


def test_giving_up_waits_for_a_person() -> None:
    assert delay_before_retry(Retry.NEVER, 1, "x") is None


def test_an_unreachable_target_is_tried_at_least_once_a_minute_for_ever() -> None:
    delay = delay_before_retry(Retry.SOON, 1_000_000, "x")
    assert delay is not None and delay <= 60


def test_a_longest_pause_leaves_room_for_chance() -> None:
    """Otherwise a thousand sessions knock in step for as long as the outage lasts."""
    delays = {delay_before_retry(Retry.SOON, 99, f"bus0/target{n}", 5) for n in range(100)}
    assert len(delays) > 90 and all(delay is not None and delay <= 5 for delay in delays)


def test_the_fewer_disks_wait_the_shorter_their_pauses() -> None:
    pauses = [longest_pause(waiting) for waiting in (1, 8, 100, 1000)]
    assert pauses == sorted(pauses) and pauses[0] == LEAST_PATIENCE < pauses[2]
    assert longest_pause(1000) == 1000 / ATTEMPTS_PER_SECOND


def test_two_sessions_that_fail_together_do_not_knock_in_step() -> None:
    delays = {delay_before_retry(Retry.SOON, 7, f"bus0/target{n}") for n in range(100)}
    assert len(delays) > 90
