"""What the machine's tests see on the wire is what was sent, however it was shown."""

from __future__ import annotations

import random

import pytest

from tests.vm.wire import Segment, join


@pytest.mark.parametrize("seed", range(50))
def test_a_stream_is_whole_whatever_was_sent_twice_or_shown_in_another_order(seed: int) -> None:
    chance = random.Random(seed)
    sent = chance.randbytes(300)
    first = chance.choice((5, 2**32 - 100))
    ends = sorted({*chance.sample(range(1, 300), 12), 300})
    starts = [0, *ends[:-1]]
    segments = [
        Segment(1, 2, (first + start) % 2**32, sent[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]
    for _ in range(3):
        place = chance.randrange(len(segments) - 1)
        segments[place : place + 2] = reversed(segments[place : place + 2])
        segments.insert(chance.randrange(len(segments)), chance.choice(segments))
    assert join(segments) == sent


def test_a_segment_that_is_missing_is_no_end_of_the_stream() -> None:
    with pytest.raises(AssertionError, match="missing"):
        join([Segment(1, 2, 10, b"abc"), Segment(1, 2, 14, b"e")])
