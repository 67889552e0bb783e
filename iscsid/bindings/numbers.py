"""Which of the 65,536 persistent numbers are free, found without searching.

One integer per bus and one per target id serves as a set of 256 bits, so that the smallest free
number is a matter of a few operations however full the file is. Pure.
"""

from __future__ import annotations

from iscsid.bindings.binding import BUSES, TARGETS_PER_BUS, Binding

_ALL_BUSES = (1 << BUSES) - 1
_ALL_TARGETS = (1 << TARGETS_PER_BUS) - 1


class NumberPool:
    """Taken numbers. A number once taken is never given back: a new file makes a new pool."""

    def __init__(self) -> None:
        self._targets_on_bus = [0] * BUSES
        self._buses_with_target = [0] * TARGETS_PER_BUS
        self._full_buses = 0

    def __contains__(self, binding: Binding) -> bool:
        return bool(self._targets_on_bus[binding.bus] >> binding.target & 1)

    def take(self, binding: Binding) -> None:
        """Mark a number as taken; taking it twice is harmless."""
        self._targets_on_bus[binding.bus] |= 1 << binding.target
        self._buses_with_target[binding.target] |= 1 << binding.bus
        if self._targets_on_bus[binding.bus] == _ALL_TARGETS:
            self._full_buses |= 1 << binding.bus

    def free(self, *, from_the_top: bool = False) -> Binding | None:
        """Return the smallest free target id on the smallest free bus, ``None`` if all are taken.

        ``from_the_top`` turns the order of the buses round, not that of the target ids.
        """
        bus = _pick(_ALL_BUSES & ~self._full_buses, from_the_top)
        if bus is None:
            return None
        target = _pick(_ALL_TARGETS & ~self._targets_on_bus[bus], False)
        return None if target is None else Binding(bus, target)

    def free_bus(self, target: int, *, from_the_top: bool = False) -> Binding | None:
        """Return this target id on the smallest bus where it is free."""
        bus = _pick(_ALL_BUSES & ~self._buses_with_target[target], from_the_top)
        return None if bus is None else Binding(bus, target)


def _pick(bits: int, highest: bool) -> int | None:
    """Return the lowest or the highest member of a set of bits."""
    if not bits:
        return None
    return (bits if highest else bits & -bits).bit_length() - 1
