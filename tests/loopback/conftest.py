"""Real targets on loopback, one of each for all tests of this directory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.protocol.names import IscsiName
from tests.loopback.istgt import Istgt, Unit
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.vm.lio import Account

ALICE = Account("alice", "secret-alice-123")
MUTUAL = Account("alice", "secret-alice-123", "target", "secret-target-456")
UNITS = (
    Unit("plain"),
    Unit("chap", "CHAP"),
    Unit("mutual", "CHAP Mutual"),
    Unit("digests", digest="Header Data"),
)


def _require(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package {package})")


def tgtd_name(name: str) -> IscsiName:
    return IscsiName(f"iqn.2024-01.org.example:{name}")


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
        target.add_target(tgtd_name("plain"), {1: disk})
        target.add_target(tgtd_name("chap"), {}, account=ALICE)
        target.add_target(tgtd_name("mutual"), {}, account=MUTUAL)
        target.add_target(tgtd_name("closed"), {}, open_to_all=False)
        target.add_target(tgtd_name("moving"), {})
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
