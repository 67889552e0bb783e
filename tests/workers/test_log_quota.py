"""How many lines a worker may log: a target cannot fill the log."""

from __future__ import annotations

from iscsid.orders import Level
from iscsid.workers.log_quota import BURST, MOST_TEXTS, SAME_AGAIN, SECONDS_A_LINE, LogQuota

INFO, DEBUG = Level.INFO, Level.DEBUG


def test_a_line_that_repeats_itself_comes_once_a_minute_with_the_count() -> None:
    quota = LogQuota(0.0)
    passed = [line for _ in range(100) for line in quota.pass_on(INFO, "again", 1.0)]
    assert passed == ["again"]
    assert quota.pass_on(INFO, "again", 1.0 + SAME_AGAIN) == ["again (99 times more)"]
    assert quota.pass_on(INFO, "again", 2.0 + SAME_AGAIN) == []


def test_the_trace_may_repeat_itself() -> None:
    quota = LogQuota(0.0)
    assert [quota.pass_on(DEBUG, "> nop out", 0.0) for _ in range(3)] == [["> nop out"]] * 3


def test_lines_that_differ_are_limited_and_counted() -> None:
    quota = LogQuota(0.0)
    passed = [line for number in range(1000) for line in quota.pass_on(INFO, f"{number}", 0.0)]
    assert passed == [str(number) for number in range(BURST)]
    later = quota.pass_on(INFO, "later", SECONDS_A_LINE)
    assert later == [f"{1000 - BURST} lines were not logged, since there were too many", "later"]


def test_what_is_remembered_of_lines_is_limited() -> None:
    quota = LogQuota(0.0)
    for number in range(10 * MOST_TEXTS):
        quota.pass_on(INFO, f"{number}", number * SECONDS_A_LINE)
    assert len(quota._passed) <= MOST_TEXTS
