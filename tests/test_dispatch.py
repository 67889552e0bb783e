"""The hands: every order has somebody who carries it out."""

from __future__ import annotations

from typing import Any, cast, get_args

from iscsid.hands import Hands, Instruments
from iscsid.orders import Order


class Anything:
    """Stands for an instrument: the table only takes its methods' names."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_every_order_has_a_hand() -> None:
    tools = {name: Anything() for name in Instruments.__dataclass_fields__}
    hands = Hands(Instruments(**cast(Any, tools)))
    assert set(get_args(Order)) == set(hands._calls)
