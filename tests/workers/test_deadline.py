"""Limits on time, one inside another."""

from __future__ import annotations

import math
import time

import pytest

from iscsid.errors import ConnectionFailed
from iscsid.workers.transport import Deadline


def test_zero_is_no_limit() -> None:
    assert Deadline.after(0).left("waiting") is None


def test_what_is_left_shrinks() -> None:
    left = Deadline.after(100).left("waiting")
    assert left is not None and 0 < left <= 100


@pytest.mark.parametrize(
    ("inner", "outer", "words"),
    [(1, 100, "1 s"), (100, 1, "all of it"), (0, 1, "all of it"), (1, 0, "1 s")],
)
def test_the_nearer_limit_holds(inner: float, outer: float, words: str) -> None:
    before = time.monotonic()
    both = Deadline.after(inner, Deadline.after(outer, words="all of it"))
    assert both.words == words
    assert before + 1 <= both.at <= time.monotonic() + 1


def test_two_limits_that_are_none_are_none() -> None:
    assert Deadline.after(0, Deadline.after(0)).at == math.inf


def test_a_missed_limit_is_reported_with_what_was_done_and_how_long_it_might_take() -> None:
    missed = Deadline(time.monotonic() - 1, "15 s")
    with pytest.raises(ConnectionFailed, match="logging in: no answer within 15 s"):
        missed.left("logging in")
