"""What the kernel has removed is handled before all that waits."""

from __future__ import annotations

import pytest

from iscsid.facts import DeviceVanished, Fact, HangupReceived, TerminateReceived
from iscsid.process.fact_queue import FactQueue

FIRST, SECOND = DeviceVanished("/sys/sda"), DeviceVanished("/sys/sda/sda1")
OTHERS: list[Fact] = [HangupReceived(), TerminateReceived()]


class Kernel:
    """Removes devices."""

    def __init__(self) -> None:
        self.removed: list[Fact] = []

    def read(self) -> list[Fact]:
        found, self.removed = self.removed, []
        return found


@pytest.mark.parametrize("is_seen_before", [True, False])
def test_a_removal_is_handled_before_facts_that_came_earlier(is_seen_before: bool) -> None:
    """A scan that one of these begins would give the free name of the device to another disk."""
    kernel = Kernel()
    queue = FactQueue(kernel.read)
    queue.add(OTHERS)
    taken = [queue.take()]
    kernel.removed = [FIRST, SECOND]
    if is_seen_before:
        queue.look_for_removals()
    while queue:
        taken.append(queue.take())
    assert taken == [OTHERS[0], FIRST, SECOND, OTHERS[1]]


def test_a_removal_alone_is_something_to_do() -> None:
    kernel = Kernel()
    queue = FactQueue(kernel.read)
    kernel.removed = [FIRST]
    assert not queue
    queue.look_for_removals()
    assert queue and queue.take() == FIRST and not queue


def test_removals_that_cannot_be_read_keep_no_other_fact_waiting() -> None:
    def fail() -> list[Fact]:
        raise OSError

    queue = FactQueue(fail)
    queue.add(OTHERS)
    assert [queue.take(), queue.take()] == OTHERS
