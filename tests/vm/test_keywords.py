"""Every keyword of iscsi.conf that shows in the kernel or at a target does so: see ``effects``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import scaled, wait_until
from tests.vm import disks
from tests.vm.conftest import needs_lio
from tests.vm.daemon import Daemon
from tests.vm.keyword_cases import EFFECTS, LIO, LUNS, TGTD, Effect
from tests.vm.lio import Lio
from tests.vm.tgtd import Tgtd

GLOBALS = ("PingTimeout=90",)
"""The machine is slow: a ping that comes late must not break a connection."""

FORTY_LOGINS = scaled(200.0)
"""Seconds; more than one of the logins has a timeout of ninety."""

AGREES = {
    "InitialR2T": "No",
    "FirstBurstLength": "262144",
    "MaxBurstLength": "16776192",
}
"""What makes LIO agree to all that is offered."""


@contextmanager
def exported(directory: Path) -> Iterator[None]:
    """Export the targets of all rows, from LIO or from tgtd as the row wants it."""
    lio, tgtd = Lio(LIO), Tgtd(TGTD)
    try:
        for effect in EFFECTS:
            for name in dict.fromkeys((effect.name, effect.twin)):
                files = {}
                for lun in LUNS if effect.has_disks else ():
                    files[lun] = disks.make_file(directory / f"{name[24:]}.{lun}", 4)
                if TGTD in effect.portals or TGTD in effect.first[0]:
                    tgtd.add_target(name, files, account=effect.account)
                else:
                    lio.add_target(name, files, account=effect.account, parameters=AGREES)
        yield
    finally:
        lio.stop()
        tgtd.stop()


@pytest.fixture(autouse=True)
def targets(tmp_path: Path) -> Iterator[None]:
    """Named before the daemon, so that the sessions go before their targets."""
    with exported(tmp_path):
        yield


def first_lines(effect: Effect) -> list[str]:
    lines = effect.entry(effect.name, effect.first[0])
    if not effect.is_live:
        lines += effect.entry(effect.twin, effect.second[0])
    return lines


def second_lines(effect: Effect) -> list[str]:
    return effect.entry(effect.name, effect.second[0]) if effect.is_live else first_lines(effect)


def wait_until_seen(daemon: Daemon, wanted: list[tuple[Effect, str, str]]) -> None:
    """Wait until every row shows what it should: the row, the target's name, and what is seen."""
    left = list(wanted)

    def look() -> bool:
        left[:] = [(effect, name, what) for effect, name, what in left if see(effect, name) != what]
        return not left

    def see(effect: Effect, name: str) -> str:
        try:
            return effect.view(daemon, name)
        except (OSError, ValueError) as error:  # a session that is about to come or go
            return str(error)

    def failure() -> str:
        lines = (f"{e.keyword}: {see(e, name)!r}, not {what!r}" for e, name, what in left)
        return "\n".join([*lines, "--- the log", daemon.log()])

    wait_until(look, failure, seconds=FORTY_LOGINS)


@needs_lio
@pytest.mark.limit(500)
def test_every_setting_is_seen_and_so_is_its_change(targets: None, daemon: Daemon) -> None:
    daemon.configure(*GLOBALS, *(line for effect in EFFECTS for line in first_lines(effect)))
    assert daemon.run("--check").returncode == 0, daemon.run("--check").stdout
    daemon.start()
    fresh = [(effect, effect.name, effect.first[1]) for effect in EFFECTS]
    fresh += [(each, each.twin, each.second[1]) for each in EFFECTS if not each.is_live]
    wait_until_seen(daemon, fresh)

    daemon.configure(*GLOBALS, *(line for effect in EFFECTS for line in second_lines(effect)))
    daemon.send(signal.SIGHUP)
    wait_until_seen(daemon, [(each, each.twin, each.second[1]) for each in EFFECTS])
