"""The wall clock may be set at any time: nothing waits for it, and ages stay true."""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.cli import iscsi_ls
from iscsid.process.wall_clock import TOLERANCE, WallClock
from iscsid.status.model import UP, from_json
from tests.support.patience import wait_until
from tests.support.scripted_portal import AnswersOnce
from tests.support.surroundings import NAME, Place, check_log, end, running, until_up
from tests.target.portal import Portals, listen

PACKAGE = Path(__file__).parents[2] / "iscsid"
MAY_USE_IT = {
    "cli/daemon_status.py",  # to compare it with the daemon's
    "cli/iscsi_ls.py",  # for ages
    "process/log.py",  # for stamps
    "process/wall_clock.py",
    "status/model.py",  # the form of times in JSON
}
OF_THE_WALL_CLOCK = {"time", "time_ns", "localtime", "gmtime", "now", "utcnow", "today"}
HOURS = 5 * 3600


def uses_of(source: Path) -> set[str]:
    """Return the functions of the wall clock that a module uses."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
        and node.attr in OF_THE_WALL_CLOCK
    }


def test_no_deadline_is_on_the_wall_clock() -> None:
    users = {str(each.relative_to(PACKAGE)) for each in PACKAGE.rglob("*.py") if uses_of(each)}
    assert users <= MAY_USE_IT


def test_the_origin_is_the_same_until_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readings differ by microseconds: every session was taken for changed, and read again."""
    clock = WallClock()
    first = clock.origin()
    assert {clock.origin() for _ in range(1000)} == {first}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + TOLERANCE / 2)
    assert clock.origin() == first
    for seconds in (HOURS, -HOURS, 0):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: now + seconds)
        assert abs(clock.origin() - first - seconds) < TOLERANCE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace")
def test_a_clock_that_is_set_changes_no_age_and_no_retry(
    place: Place,
    portals: Portals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The daemon's clock and that of iscsi-ls are set; a target that refuses is tried on and on."""
    real, pidfile = time.time, str(place.directory / "run/iscsid.pid")

    def set_clock(seconds: float) -> None:
        (place.directory / "clock.new").write_text(str(seconds))
        (place.directory / "clock.new").rename(place.directory / "clock")
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    def age() -> float | None:
        """Return for how long the session is up, as iscsi-ls shows it."""
        capsys.readouterr()
        iscsi_ls.main(["-P", pidfile, "--json"])
        sessions = from_json(capsys.readouterr().out).sessions
        ages = [time.time() - (each.since or 0) for each in sessions if each.state == UP]
        return ages[0] if ages else None

    def is_true() -> bool:
        shown = age()
        return shown is not None and -2 < shown < time.monotonic() - began + 2

    def turn_until(condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            portals.turn()
            return condition()

        wait_until(holds, lambda: "\n".join(place.log))

    broken = portals.add(listen(), lambda: AnswersOnce(hangs_up=True))
    place.configure(
        f"TargetName={NAME}\n Address={place.address}\n"
        f"TargetName={NAME}2\n Address=127.0.0.1:{broken.number}\n"
    )
    began = time.monotonic()
    with running(place) as process:
        until_up(place, portals, process)
        turn_until(lambda: age() is not None)
        for seconds in (HOURS, -HOURS):
            set_clock(seconds)
            assert is_true()
        # The attempt writes the status again, with the other clock.
        attempts = broken.connections
        turn_until(lambda: broken.connections > attempts)
        assert is_true()
        assert broken.connections <= 3 + time.monotonic() - began
        end(process, place)
    check_log(place)
