"""Failures that repeat themselves are logged once, then counted; what is new is never lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iscsid.initiator.log_dedup import FORGET, MINUTE, MOST_TEXTS, FailureLog
from iscsid.orders import Level, Log

WARNING = Level.WARNING
DISK = "iqn.2026-01.org.example:disk via 192.0.2.1:3260"
TAPE = "iqn.2026-01.org.example:tape via 192.0.2.1:3260"
REFUSED = "connecting: Connection refused"
TIMED_OUT = "connecting: no answer within 15 s"


def test_a_new_failure_is_logged_at_once() -> None:
    assert FailureLog().failed(WARNING, DISK, REFUSED, 0.0) == (Log(WARNING, DISK, REFUSED),)


def test_the_same_failure_again_is_not() -> None:
    repeats = FailureLog()
    repeats.failed(WARNING, DISK, REFUSED, 0.0)
    assert repeats.failed(WARNING, DISK, REFUSED, 1.0) == ()


def test_a_change_is_logged_at_once_and_so_is_another_target() -> None:
    repeats = FailureLog()
    repeats.failed(WARNING, DISK, REFUSED, 0.0)
    assert repeats.failed(WARNING, DISK, TIMED_OUT, 1.0) == (Log(WARNING, DISK, TIMED_OUT),)
    assert repeats.failed(WARNING, TAPE, REFUSED, 1.0) == (Log(WARNING, TAPE, REFUSED),)


def test_two_failures_in_turn_are_no_change_each_time() -> None:
    repeats = FailureLog()
    lines = [
        line
        for second in range(20)
        for line in repeats.failed(WARNING, DISK, (REFUSED, TIMED_OUT)[second % 2], float(second))
    ]
    assert len(lines) == 2


def test_counts_are_logged_once_a_minute() -> None:
    repeats = FailureLog()
    assert repeats.deadline() is None
    for second in range(8):
        repeats.failed(WARNING, DISK, REFUSED, 100.0 + second)
    assert repeats.deadline() == 100.0 + MINUTE
    line = Log(WARNING, DISK, f"{REFUSED} (7 times more)")
    assert repeats.summarise(100.0 + MINUTE) == (line,)
    assert repeats.deadline() == 100.0 + 2 * MINUTE
    assert repeats.summarise(100.0 + 2 * MINUTE) == (), "nothing came since"
    repeats.failed(WARNING, DISK, REFUSED, 230.0)
    assert repeats.summarise(100.0 + 3 * MINUTE) == (Log(WARNING, DISK, f"{REFUSED} (once more)"),)


def test_what_many_targets_share_is_one_line() -> None:
    """128 sessions that lose one target make one line a minute, not 128."""
    repeats = FailureLog()
    names = [f"iqn.2026-01.org.example:d{number}" for number in range(128)]
    for _ in range(3):
        for name in names:
            repeats.failed(WARNING, name, REFUSED, 0.0)
    assert repeats.summarise(MINUTE) == (
        Log(
            WARNING,
            "",
            f"{REFUSED} (256 times more, at {names[0]}, {names[1]}, {names[2]} and 125 others)",
        ),
    )


def test_two_targets_are_both_named() -> None:
    repeats = FailureLog()
    for log_prefix in (DISK, TAPE) * 2:
        repeats.failed(WARNING, log_prefix, REFUSED, 0.0)
    assert repeats.summarise(MINUTE) == (
        Log(WARNING, "", f"{REFUSED} (2 times more, at {DISK}, {TAPE})"),
    )


def test_a_recovery_logs_what_was_only_counted_and_makes_the_next_failure_new() -> None:
    repeats = FailureLog()
    for second in range(5):
        repeats.failed(WARNING, DISK, REFUSED, float(second))
    assert repeats.recovered(DISK) == (Log(WARNING, DISK, f"{REFUSED} (4 times more)"),)
    assert repeats.recovered(DISK) == ()
    assert repeats.failed(WARNING, DISK, REFUSED, 9.0) == (Log(WARNING, DISK, REFUSED),)


def test_a_failure_that_stayed_away_for_long_is_news_again() -> None:
    repeats = FailureLog()
    repeats.failed(WARNING, DISK, REFUSED, 0.0)
    repeats.summarise(FORGET - 1)
    assert repeats.failed(WARNING, DISK, REFUSED, FORGET - 1) == ()
    repeats.summarise(3 * FORGET)
    assert repeats.deadline() is None, "nothing is left to forget"
    assert repeats.failed(WARNING, DISK, REFUSED, 3 * FORGET) != ()


def test_a_target_that_varies_its_words_cannot_flood_the_log() -> None:
    repeats = FailureLog()
    lines = [
        line
        for number in range(1000)
        for line in repeats.failed(WARNING, DISK, f"refused, ticket {number}", 0.0)
    ]
    assert len(lines) == MOST_TEXTS
    assert repeats.summarise(MINUTE) == (
        Log(WARNING, DISK, f"other failures ({1000 - MOST_TEXTS} times more)"),
    )


@given(
    st.lists(
        st.tuples(st.sampled_from([DISK, TAPE, ""]), st.sampled_from([REFUSED, TIMED_OUT])),
        max_size=50,
    )
)
def test_every_failure_is_logged_or_counted_exactly_once(failures: list[tuple[str, str]]) -> None:
    repeats = FailureLog()
    logged = sum(
        len(repeats.failed(WARNING, log_prefix, text, 0.0)) for log_prefix, text in failures
    )
    counted = 0
    for line in repeats.summarise(MINUTE):
        times = line.text[line.text.rindex("(") + 1 :].split()
        counted += 1 if times[0] == "once" else int(times[0])
    assert logged == len(set(failures))
    assert logged + counted == len(failures)
