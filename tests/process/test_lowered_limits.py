"""Limits of a running daemon that are lowered until nothing more is to be had, and raised again.

The daemon program goes on, or ends with one line; the session that is up stays as it is, and what
was wanted meanwhile is made up for when there is room again.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from dataclasses import dataclass

import pytest

from iscsid.exit_status import ExitStatus
from tests.hostile.attempt import spent
from tests.support.patience import PATIENCE, scaled, wait_until
from tests.support.surroundings import NAME, Place, check_log, end, running, until_up
from tests.target.portal import Portals, listen
from tests.target.scripted import ScriptedTarget

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

HANGUPS = 3
MOST_LINES = 20
"""About an outage with so many SIGHUPs."""
PROCESSOR = 1.0
"""Seconds, during the outage."""
LITTLE = 20_000_000
"""Octets of address space: less than each process has already, so that none gets any more."""
LONG = f"# {'x' * 70}\n" * 100_000
"""A configuration that needs some."""


@dataclass(frozen=True)
class Shortage:
    """A soft limit of the daemon, or a file that forbids to fork."""

    words: str
    limit: int = -1
    value: int = 0


SHORTAGES = {
    "descriptors": Shortage("Too many open files", resource.RLIMIT_NOFILE, 3),
    "some-descriptors": Shortage("Too many open files", resource.RLIMIT_NOFILE, 19),
    "processes": Shortage("Resource temporarily unavailable"),
}


def set_limit(place: Place, daemon: int, shortage: Shortage, *, lowered: bool) -> None:
    if shortage.limit < 0:
        forbidden = place.directory / "no-forks"
        forbidden.touch() if lowered else forbidden.unlink()
        return
    _, hard = resource.prlimit(daemon, shortage.limit)
    resource.prlimit(daemon, shortage.limit, (shortage.value if lowered else hard, hard))


def hang_up(place: Place, process: subprocess.Popen[str], number: int) -> None:
    """Send SIGHUP, and wait until it is read."""
    process.send_signal(signal.SIGHUP)
    place.until_about("SIGHUP: reading", number)


@pytest.mark.parametrize("shortage", SHORTAGES.values(), ids=SHORTAGES)
def test_a_shortage_costs_no_session_and_is_made_up_for(
    shortage: Shortage, place: Place, portals: Portals
) -> None:
    second = portals.add(listen(), ScriptedTarget)
    with running(place) as process:
        until_up(place, portals, process)
        wait_until((place.directory / "bindings/file").exists, lambda: str(place.log))
        before, (used, _) = len(place.log), spent(process.pid)
        set_limit(place, process.pid, shortage, lowered=True)
        configuration = (place.directory / "conf/file").read_text()
        place.configure(f"{configuration}TargetName={NAME}2\n Address=127.0.0.1:{second.number}\n")
        for number in range(1, HANGUPS + 1):
            hang_up(place, process, number)
            portals.turn()
        place.until_about(shortage.words)
        assert process.poll() is None, place.log
        assert len(place.log) - before <= MOST_LINES, place.log
        assert spent(process.pid)[0] - used <= scaled(PROCESSOR)
        set_limit(place, process.pid, shortage, lowered=False)
        hang_up(place, process, HANGUPS + 1)
        until_up(place, portals, process, 2)
        asked = (place.directory / "asked").read_text().split()
        assert not {"STOP_CONN", "DESTROY_CONN", "DESTROY_SESSION_ASYNC"} & set(asked)
        end(process, place)
    check_log(place)


def test_a_daemon_without_memory_leaves_with_one_line(place: Place, portals: Portals) -> None:
    """It was a traceback of twenty lines."""
    with running(place) as process:
        until_up(place, portals, process)
        before = len(place.log)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (LITTLE, LITTLE))
        place.configure(LONG)
        hang_up(place, process, 1)
        assert process.wait(PATIENCE) == ExitStatus.BUG, place.log
        assert len(place.log) - before == 2 and "out of memory" in place.log[-1], place.log
        assert "the sessions stay in the kernel" in place.log[-1]
    check_log(place)


def test_a_daemon_without_descriptors_ends_in_good_order(place: Place, portals: Portals) -> None:
    with running(place) as process:
        until_up(place, portals, process)
        set_limit(place, process.pid, SHORTAGES["descriptors"], lowered=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, place.log
    check_log(place)
