"""The one place where the daemon sleeps: descriptors, timers and deadlines in one wait.

Each ear registers a descriptor and a function from readiness to facts; ``wait`` sleeps in one
selector until one of them is ready or the nearest timer is due, and returns the facts. It may
touch the selector and the monotonic clock; it decides nothing, and it never calls the owner.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from iscsid.facts import Fact, Timer, TimerExpired
from iscsid.orders import Level

Read = Callable[[], Iterable[Fact]]
Write = Callable[[Level, str, str], None]

LONGEST_SLEEP = 3600.0
"""Seconds. epoll counts milliseconds in an int: a timer a month away would overflow it."""
REST = 1.0
"""Seconds an ear is left alone after it failed twice running: it would be ready again at once."""


@dataclass(slots=True, eq=False)
class _Ear:
    """One registered descriptor; ``rank`` is its place in the order of registration."""

    fd: int
    read: Read
    name: str
    rank: int
    failures: int = 0
    rests_until: float | None = None


@dataclass(slots=True)
class _Timers:
    """Timers by name, with the nearest at hand.

    Moving or cancelling one leaves its old entry in the heap, to be passed over when it comes up;
    so each costs O(log n), however many thousand there are.
    """

    heap: list[tuple[float, int, Timer]] = field(default_factory=list)
    current: dict[Timer, tuple[float, int]] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def set(self, timer: Timer, at: float) -> None:
        number = next(self.numbers)
        self.current[timer] = (at, number)
        heapq.heappush(self.heap, (at, number, timer))
        if len(self.heap) > 2 * len(self.current) + 64:
            self.heap = [(at, number, timer) for timer, (at, number) in self.current.items()]
            heapq.heapify(self.heap)

    def cancel(self, timer: Timer) -> None:
        self.current.pop(timer, None)

    def nearest(self) -> float | None:
        while self.heap:
            at, number, timer = self.heap[0]
            if self.current.get(timer) == (at, number):
                return at
            heapq.heappop(self.heap)
        return None

    def expire(self, now: float) -> list[Fact]:
        expired: list[Fact] = []
        while (at := self.nearest()) is not None and at <= now:
            timer = heapq.heappop(self.heap)[2]
            del self.current[timer]
            expired.append(TimerExpired(timer))
        return expired


class Loop:
    """Sleep until something happens, and say what, as facts.

    ``log`` takes one line (the journal's ``write``) when an ear fails.
    """

    def __init__(self, log: Write) -> None:
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._ears: dict[int, _Ear] = {}
        self._ranks = itertools.count()
        self._timers = _Timers()
        self._deadlines: list[tuple[Callable[[], float | None], Callable[[float], object]]] = []

    def add(self, fd: int, read: Read, name: str = "") -> None:
        """Call ``read`` whenever ``fd`` is ready to be read; ``name`` says in the log what it is.

        Of several that are ready at once, the one added first is read first: the kernel's event
        socket goes in before everything else, because what overflows there is lost. ``read``
        must not block. Take the descriptor out with ``remove`` before closing it.
        """
        if fd in self._ears:
            raise ValueError(f"descriptor {fd} is in the loop already")
        self._selector.register(fd, selectors.EVENT_READ)
        self._ears[fd] = _Ear(fd, read, name or f"descriptor {fd}", next(self._ranks))

    def remove(self, fd: int) -> None:
        """Forget a descriptor; one that is not there is no error."""
        ear = self._ears.pop(fd, None)
        if ear is not None and ear.rests_until is None:
            self._selector.unregister(fd)

    def add_deadline(
        self, deadline: Callable[[], float | None], expired: Callable[[float], object]
    ) -> None:
        """Wake up for somebody who keeps his own time.

        ``deadline`` says when (on the monotonic clock, ``None`` for not at all) and is asked
        before and after every sleep; ``expired`` is called with the time once that moment has
        come.
        """
        self._deadlines.append((deadline, expired))

    def set_timer(self, timer: Timer, at: float) -> None:
        """Let ``timer`` expire at ``at`` (``time.monotonic``); set again, it is moved."""
        self._timers.set(timer, at)

    def cancel_timer(self, timer: Timer) -> None:
        """Stop a timer; one that is not set is no error."""
        self._timers.cancel(timer)

    def wait(self) -> list[Fact]:
        """Sleep until something is due, then return all that happened, maybe nothing.

        Descriptors come first, in the order of their registration, then deadlines, then timers
        in the order of their times.
        """
        nearest = self._nearest()
        limit = LONGEST_SLEEP if nearest is None else nearest - time.monotonic()
        ready = self._selector.select(min(max(limit, 0.0), LONGEST_SLEEP))
        ears = sorted((self._ears[key.fd] for key, _ in ready), key=lambda ear: ear.rank)
        facts = [fact for ear in ears for fact in self._hear(ear)]
        now = time.monotonic()
        for deadline, expired in self._deadlines:
            if (at := deadline()) is not None and at <= now:
                expired(now)
        self._wake_rested(now)
        return facts + self._timers.expire(now)

    def close(self) -> None:
        """Let go of the selector. A forked child does this first: the copy of the selector it
        inherits is the parent's own."""
        self._selector.close()
        self._ears.clear()

    def _nearest(self) -> float | None:
        moments = [self._timers.nearest(), *(deadline() for deadline, _ in self._deadlines)]
        moments += [ear.rests_until for ear in self._ears.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _hear(self, ear: _Ear) -> list[Fact]:
        if self._ears.get(ear.fd) is not ear:
            return []  # an ear heard a moment ago has removed this one
        try:
            facts = list(ear.read())
        except OSError as error:
            self._failed(ear, error)
            return []
        ear.failures = 0
        return facts

    def _failed(self, ear: _Ear, error: OSError) -> None:
        ear.failures += 1
        if ear.failures == 1:
            self._log(Level.ERROR, "", f"reading {ear.name} failed, going on: {error}")
        elif self._ears.get(ear.fd) is ear:
            self._selector.unregister(ear.fd)
            ear.rests_until = time.monotonic() + REST

    def _wake_rested(self, now: float) -> None:
        for ear in self._ears.values():
            if ear.rests_until is not None and ear.rests_until <= now:
                ear.rests_until = None
                self._selector.register(ear.fd, selectors.EVENT_READ)
