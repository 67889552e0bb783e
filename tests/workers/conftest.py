"""What holds for every test of the workers: their processes end with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.supervisor_harness import close_harnesses


@pytest.fixture(autouse=True)
def no_harness_is_left() -> Iterator[None]:
    yield
    close_harnesses()
