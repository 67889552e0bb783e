"""Real targets, one of each for all tests of this directory; LIO is inside the virtual machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.istgt import Istgt, Unit
from tests.loopback.plans import ALICE, MUTUAL, full_name
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.vm.lio import Lio

UNITS = (
    Unit("plain"),
    Unit("chap", "CHAP"),
    Unit("mutual", "CHAP Mutual"),
    Unit("digests", digest="Header Data"),
)


def _require(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package {package})")


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("disk") / "image"
    file.write_bytes(bytes(1 << 20))
    return file


@pytest.fixture(scope="session")
def tgtd(disk: Path) -> Iterator[LiveTgtd]:
    """A tgtd with targets plain, chap, mutual, closed and moving; more may be added."""
    _require("tgtd", "tgt")
    target = LiveTgtd()
    try:
        target.add_target(full_name("plain"), {1: disk})
        target.add_target(full_name("chap"), {}, account=ALICE)
        target.add_target(full_name("mutual"), {}, account=MUTUAL)
        target.add_target(full_name("closed"), {}, open_to_all=False)
        target.add_target(full_name("moving"), {})
        yield target
    finally:
        target.stop()


@pytest.fixture(scope="session")
def istgt() -> Iterator[Istgt]:
    """An istgt with targets plain, chap, mutual and digests, and free discovery."""
    _require("istgt", "istgt")
    target = Istgt(UNITS, MUTUAL)
    try:
        yield target
    finally:
        target.stop()


@pytest.fixture(scope="module")
def lio() -> Iterator[Lio]:
    """LIO with the targets plain, chap, mutual, digests and closed."""
    target = Lio()
    try:
        target.add_target(full_name("plain"), {})
        target.add_target(full_name("chap"), {}, account=ALICE)
        target.add_target(full_name("mutual"), {}, account=MUTUAL)
        required = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
        target.add_target(full_name("digests"), {}, parameters=required)
        target.add_target(full_name("closed"), {}, open_to_all=False)
        yield target
    finally:
        target.stop()
