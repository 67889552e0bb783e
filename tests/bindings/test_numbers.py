"""The pool of persistent numbers gives the smallest free one, to the very last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iscsid.bindings.binding import Binding
from iscsid.bindings.numbers import NumberPool

bindings = st.builds(Binding, st.integers(0, 255), st.integers(0, 255))
crowded = st.builds(Binding, st.integers(0, 1), st.integers(0, 3))


def test_first_number_is_target_0_on_bus_0() -> None:
    assert NumberPool().free() == Binding(0, 0)


def test_a_full_bus_is_followed_by_the_next() -> None:
    pool = NumberPool()
    for target in range(256):
        pool.take(Binding(0, target))
    assert pool.free() == Binding(1, 0)


def test_a_gap_is_filled_before_anything_else() -> None:
    pool = NumberPool()
    for target in range(256):
        if target != 7:
            pool.take(Binding(0, target))
    pool.take(Binding(1, 0))
    assert pool.free() == Binding(0, 7)


def test_from_the_top_takes_the_highest_bus_and_the_lowest_target_id() -> None:
    pool = NumberPool()
    pool.take(Binding(255, 0))
    assert pool.free(from_the_top=True) == Binding(255, 1)
    assert pool.free_bus(0, from_the_top=True) == Binding(254, 0)


def test_all_65536_numbers_are_given_once_and_then_none() -> None:
    pool = NumberPool()
    seen = set()
    while number := pool.free():
        assert number not in pool
        pool.take(number)
        seen.add(number)
    assert len(seen) == 65536
    assert pool.free(from_the_top=True) is None
    assert pool.free_bus(17) is None


@given(st.lists(crowded | bindings), st.integers(0, 255))
def test_pool_agrees_with_a_plain_search(taken: list[Binding], target: int) -> None:
    pool = NumberPool()
    for binding in taken:
        pool.take(binding)
    every = [Binding(bus, number) for bus in range(4) for number in range(256)]
    assert pool.free() == next(number for number in every if number not in taken)
    on_target = [Binding(bus, target) for bus in range(256)]
    assert pool.free_bus(target) == next(number for number in on_target if number not in taken)
    assert all(number in pool for number in taken)
