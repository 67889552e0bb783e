"""The facts that wait for the initiator, and which of them is next.

They come in their order, but what the kernel has removed comes before everything else: the name of
a device that is gone is free, and what follows from another fact, the scan of a session above all,
may give it to another disk while a link still leads to it. Pure but for the function that is handed
in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from iscsid.facts import Fact


class FactQueue:
    """``read_removals`` returns the removals that the kernel has reported, and must not block."""

    def __init__(self, read_removals: Callable[[], Iterable[Fact]]) -> None:
        self._read_removals = read_removals
        self._removals: deque[Fact] = deque()
        self._others: deque[Fact] = deque()

    def __bool__(self) -> bool:
        return bool(self._removals or self._others)

    def add(self, facts: Iterable[Fact]) -> None:
        """Put facts at the end."""
        self._others.extend(facts)

    def look_for_removals(self) -> None:
        """Add what the kernel has removed since the last time."""
        self._removals.extend(self._read_removals())

    def take(self) -> Fact:
        """Return the next fact and forget it; there must be one."""
        with suppress(OSError):  # the loop calls it, too, and logs what fails
            self.look_for_removals()
        return (self._removals or self._others).popleft()
