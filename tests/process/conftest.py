"""A place for the daemon program, and an honest target for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.surroundings import Place
from tests.target.portal import Portals, listen
from tests.target.scripted import ScriptedTarget


@pytest.fixture
def portals() -> Iterator[Portals]:
    with closing(Portals()) as portals:
        yield portals


@pytest.fixture
def place(tmp_path: Path, portals: Portals) -> Place:
    portal = portals.add(listen(), ScriptedTarget)
    return Place(tmp_path, f"127.0.0.1:{portal.number}")
