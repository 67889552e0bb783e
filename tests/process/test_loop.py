"""The loop reads every source in its order, keeps time, and survives a source that fails."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.bindings.binding import Binding
from iscsid.facts import (
    EventsLost,
    Fact,
    HangupReceived,
    SessionDestroyed,
    Timer,
    TimerExpired,
    TimerPurpose,
)
from iscsid.orders import Level
from iscsid.process import loop as module
from iscsid.process.loop import Loop

LOGIN = Timer(TimerPurpose.RETRY_LOGIN, Binding(0, 1))
SUMMARY = Timer(TimerPurpose.SUMMARY)
PAST = -1000.0
"""Before every moment of this machine's life."""


class Lines(list[str]):
    """A log that keeps its lines."""

    def write(self, level: Level, log_prefix: str, text: str) -> None:
        self.append(f"{level.name} {log_prefix}{text}")


class Source:
    """One end of a real socket pair, which reports a fact for every byte that comes."""

    def __init__(self, fact: Fact) -> None:
        self.near, self.far = socket.socketpair()
        self.fact = fact

    def fileno(self) -> int:
        return self.near.fileno()

    def read(self) -> list[Fact]:
        return [self.fact] * len(self.near.recv(100))

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def log() -> Lines:
    return Lines()


@pytest.fixture
def loop(log: Lines) -> Iterator[Loop]:
    loop = Loop(log.write)
    yield loop
    loop.close()


@pytest.fixture
def sources() -> Iterator[list[Source]]:
    sources = [Source(EventsLost()), Source(HangupReceived()), Source(SessionDestroyed(3))]
    yield sources
    for source in sources:
        source.close()


def test_loop_that_has_more_to_do_does_not_sleep(loop: Loop) -> None:
    loop.set_timer(LOGIN, time.monotonic() + 1000)
    loop.set_timer(SUMMARY, PAST)
    assert loop.wait(may_sleep=False) == [TimerExpired(SUMMARY)]
    assert loop.wait(may_sleep=False) == []


def test_a_readable_descriptor_becomes_facts(loop: Loop, sources: list[Source]) -> None:
    loop.add(sources[0].fileno(), sources[0].read)
    sources[0].far.send(b"xx")
    assert loop.wait() == [EventsLost(), EventsLost()]


def test_the_source_added_first_is_read_first(loop: Loop, sources: list[Source]) -> None:
    """Whatever the numbers of the descriptors and the order in which they became ready."""
    order = [sources[2], sources[0], sources[1]]
    for source in order:
        loop.add(source.fileno(), source.read)
    for source in sources:
        source.far.send(b"x")
    assert loop.wait() == [source.fact for source in order]


def test_a_removed_source_is_not_read(loop: Loop, sources: list[Source]) -> None:
    for source in sources:
        loop.add(source.fileno(), source.read)
        source.far.send(b"x")
    loop.remove(sources[1].fileno())
    assert loop.wait() == [EventsLost(), SessionDestroyed(3)]
    loop.remove(sources[1].fileno())  # once more is no error


def test_a_source_that_removes_another_silences_it_at_once(
    loop: Loop, sources: list[Source]
) -> None:
    def read() -> list[Fact]:
        loop.remove(sources[1].fileno())
        return sources[0].read()

    loop.add(sources[0].fileno(), read)
    loop.add(sources[1].fileno(), sources[1].read)
    for source in sources[:2]:
        source.far.send(b"x")
    assert loop.wait() == [EventsLost()]


def test_a_descriptor_cannot_be_added_twice(loop: Loop, sources: list[Source]) -> None:
    loop.add(sources[0].fileno(), sources[0].read)
    with pytest.raises(ValueError, match="in the loop already"):
        loop.add(sources[0].fileno(), sources[1].read)


def test_a_source_that_fails_is_one_line_and_the_others_are_read(
    loop: Loop, sources: list[Source], log: Lines
) -> None:
    def fail() -> list[Fact]:
        raise OSError(5, "Input/output error")

    loop.add(sources[0].fileno(), fail, "the kernel's events")
    loop.add(sources[1].fileno(), sources[1].read)
    for _ in range(3):
        sources[0].far.send(b"x")
        sources[1].far.send(b"x")
        assert loop.wait() == [HangupReceived()]
    assert log == [
        "ERROR reading the kernel's events failed, going on: [Errno 5] Input/output error"
    ]


def test_a_source_that_goes_on_failing_does_not_spin_and_is_tried_again(
    loop: Loop, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0.05)
    failures = [OSError(5, "no"), OSError(5, "no")]

    def read() -> list[Fact]:
        if failures:
            raise failures.pop()
        return sources[0].read()

    loop.add(sources[0].fileno(), read)
    sources[0].far.send(b"x")
    assert loop.wait() == [] and loop.wait() == []
    before = time.monotonic()
    assert loop.wait() == []  # the end of its rest
    assert time.monotonic() >= before + 0.04
    assert loop.wait() == [EventsLost()]


def test_a_resting_source_can_be_removed(loop: Loop, sources: list[Source]) -> None:
    def fail() -> list[Fact]:
        raise OSError

    loop.add(sources[0].fileno(), fail)
    sources[0].far.send(b"x")
    loop.wait()
    loop.wait()
    loop.remove(sources[0].fileno())
    loop.add(sources[0].fileno(), sources[0].read)
    assert loop.wait() == [EventsLost()]


def test_wait_sleeps_until_the_nearest_timer_and_not_less(loop: Loop) -> None:
    at = time.monotonic() + 0.05
    loop.set_timer(SUMMARY, at + 1000)
    loop.set_timer(LOGIN, at)
    assert loop.wait() == [TimerExpired(LOGIN)]
    assert time.monotonic() >= at


def test_timers_that_are_due_expire_in_the_order_of_their_times(loop: Loop) -> None:
    loop.set_timer(LOGIN, PAST + 1)
    loop.set_timer(SUMMARY, PAST)
    assert loop.wait() == [TimerExpired(SUMMARY), TimerExpired(LOGIN)]


def test_descriptors_come_before_timers(loop: Loop, sources: list[Source]) -> None:
    loop.set_timer(SUMMARY, PAST)
    loop.add(sources[0].fileno(), sources[0].read)
    sources[0].far.send(b"x")
    assert loop.wait() == [EventsLost(), TimerExpired(SUMMARY)]


def test_a_timer_set_again_is_moved_and_expires_once(loop: Loop) -> None:
    loop.set_timer(LOGIN, PAST)
    loop.set_timer(LOGIN, PAST + 2)
    loop.set_timer(SUMMARY, PAST + 1)
    assert loop.wait() == [TimerExpired(SUMMARY), TimerExpired(LOGIN)]
    loop.set_timer(SUMMARY, PAST)
    assert loop.wait() == [TimerExpired(SUMMARY)]


def test_a_cancelled_timer_never_expires(loop: Loop) -> None:
    loop.set_timer(LOGIN, PAST)
    loop.set_timer(SUMMARY, PAST)
    loop.cancel_timer(LOGIN)
    loop.cancel_timer(LOGIN)
    assert loop.wait() == [TimerExpired(SUMMARY)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7), st.one_of(st.none(), st.floats(PAST - 10, PAST, allow_nan=False))
        )
    )
)
def test_timers_behave_like_a_dictionary_of_times(
    steps: list[tuple[int, float | None]],
) -> None:
    """Any sequence of setting (a time) and cancelling (``None``), against the simplest model."""
    loop = Loop(Lines().write)
    model: dict[Timer, float] = {}
    for number, at in steps:
        timer = Timer(TimerPurpose.RETRY_LOGIN, Binding(0, number))
        if at is None:
            loop.cancel_timer(timer)
            model.pop(timer, None)
        else:
            loop.set_timer(timer, at)
            model.pop(timer, None)
            model[timer] = at
    loop.set_timer(SUMMARY, PAST + 1)
    # Equal times expire in the order in which they were set.
    expected = sorted(model, key=lambda timer: model[timer])
    assert loop.wait() == [TimerExpired(timer) for timer in [*expected, SUMMARY]]
    loop.close()


def test_moving_timers_thousands_of_times_does_not_pile_up(loop: Loop) -> None:
    for step in range(10_000):
        loop.set_timer(LOGIN, PAST + step / 100)
        loop.set_timer(SUMMARY, PAST - step)
    assert len(loop._timers.heap) < 100
    assert loop.wait() == [TimerExpired(SUMMARY), TimerExpired(LOGIN)]


@pytest.mark.parametrize("far", [math.inf, time.monotonic() + 1e9])
def test_a_timer_in_the_far_future_does_not_overflow_the_kernels_counter(
    loop: Loop, sources: list[Source], far: float
) -> None:
    loop.set_timer(SUMMARY, far)
    loop.add(sources[0].fileno(), sources[0].read)
    sources[0].far.send(b"x")
    assert loop.wait() == [EventsLost()]


def test_a_deadline_of_another_object_wakes_the_loop(loop: Loop) -> None:
    """The supervisor of workers has deadlines of its own."""
    due: list[float] = [time.monotonic() + 0.03]
    calls: list[bool] = []
    loop.set_timer(SUMMARY, due[0] + 1000)
    loop.add_deadline(lambda: due[0] if due else None, lambda now: calls.append(now >= due.pop()))
    assert loop.wait() == []
    assert calls == [True]
    loop.set_timer(LOGIN, PAST)
    assert loop.wait() == [TimerExpired(LOGIN)]
    assert calls == [True], "a deadline that is gone does not come again"


def test_nothing_leaks_when_the_loop_is_closed(log: Lines) -> None:
    before = os.listdir("/proc/self/fd")
    Loop(log.write).close()
    assert os.listdir("/proc/self/fd") == before
