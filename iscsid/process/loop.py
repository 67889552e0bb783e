"""The one place where the daemon sleeps: descriptors, timers and deadlines in one wait.

A reader is a descriptor and a function that returns facts when the descriptor is ready; ``wait``
sleeps in one selector until one of them is ready or the nearest timer is due, and returns the
facts. It may touch the selector and the monotonic clock; it decides nothing. (It is written here
rather than taken from asyncio because workers are forked from it, and because the order of reading
matters: the kernel's events are lost if they are not read first.)
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
"""Seconds for which a reader is not called after two failures: it would be ready at once."""


@dataclass(slots=True, eq=False)
class _Reader:
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
    """Sleep until something happens, and return it as facts.

    ``log`` writes one line (``DaemonLog.write``) when a reader fails.
    """

    def __init__(self, log: Write) -> None:
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._readers: dict[int, _Reader] = {}
        self._ranks = itertools.count()
        self._timers = _Timers()
        self._deadlines: list[tuple[Callable[[], float | None], Callable[[float], object]]] = []

    def add(self, fd: int, read: Read, name: str = "") -> None:
        """Call ``read`` whenever ``fd`` is ready to be read; ``name`` is its name in the log.

        Of several that are ready at once, the one added first is read first: the kernel's event
        socket goes in before everything else, because what overflows there is lost. ``read``
        must not block. Take the descriptor out with ``remove`` before closing it.
        """
        if fd in self._readers:
            raise ValueError(f"descriptor {fd} is in the loop already")
        self._selector.register(fd, selectors.EVENT_READ)
        self._readers[fd] = _Reader(fd, read, name or f"descriptor {fd}", next(self._ranks))

    def remove(self, fd: int) -> None:
        """Forget a descriptor; one that is not there is no error."""
        reader = self._readers.pop(fd, None)
        if reader is not None and reader.rests_until is None:
            self._selector.unregister(fd)

    def add_deadline(
        self, deadline: Callable[[], float | None], expired: Callable[[float], object]
    ) -> None:
        """Call ``expired`` with the time when a moment has come that may change.

        ``deadline`` returns it (on the monotonic clock, ``None`` for never) and is called before
        and after every sleep.
        """
        self._deadlines.append((deadline, expired))

    def set_timer(self, timer: Timer, at: float) -> None:
        """Let ``timer`` expire at ``at`` (``time.monotonic``); set again, it is moved."""
        self._timers.set(timer, at)

    def cancel_timer(self, timer: Timer) -> None:
        """Stop a timer; one that is not set is no error."""
        self._timers.cancel(timer)

    def wait(self, *, may_sleep: bool = True) -> list[Fact]:
        """Sleep until something is due, then return all that happened, maybe nothing.

        Unless it ``may_sleep`` it returns at once, with what has happened.

        Descriptors come first, in the order of their registration, then deadlines, then timers
        in the order of their times.
        """
        nearest = self._nearest()
        limit = LONGEST_SLEEP if nearest is None else nearest - time.monotonic()
        limit = limit if may_sleep else 0.0
        ready = self._selector.select(min(max(limit, 0.0), LONGEST_SLEEP))
        readers = sorted(
            (self._readers[key.fd] for key, _ in ready), key=lambda reader: reader.rank
        )
        facts = [fact for reader in readers for fact in self._read(reader)]
        now = time.monotonic()
        for deadline, expired in self._deadlines:
            if (at := deadline()) is not None and at <= now:
                expired(now)
        self._wake_rested(now)
        return facts + self._timers.expire(now)

    def close(self) -> None:
        """Close the selector. A forked child does this first: the copy of the selector it
        inherits is the parent's own."""
        self._selector.close()
        self._readers.clear()

    def _nearest(self) -> float | None:
        moments = [self._timers.nearest(), *(deadline() for deadline, _ in self._deadlines)]
        moments += [reader.rests_until for reader in self._readers.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _read(self, reader: _Reader) -> list[Fact]:
        if self._readers.get(reader.fd) is not reader:
            return []  # a reader that was called a moment ago has removed this one
        try:
            facts = list(reader.read())
        except OSError as error:
            self._failed(reader, error)
            return []
        reader.failures = 0
        return facts

    def _failed(self, reader: _Reader, error: OSError) -> None:
        reader.failures += 1
        if reader.failures == 1:
            self._log(Level.ERROR, "", f"reading {reader.name} failed, going on: {error}")
        elif self._readers.get(reader.fd) is reader:
            self._selector.unregister(reader.fd)
            reader.rests_until = time.monotonic() + REST

    def _wake_rested(self, now: float) -> None:
        for reader in self._readers.values():
            if reader.rests_until is not None and reader.rests_until <= now:
                reader.rests_until = None
                self._selector.register(reader.fd, selectors.EVENT_READ)
