"""The daemon is killed between any two of its requests to the kernel, and started again.

What it was about must be finished or undone, and no session may be lost. Each test kills it before
its first request, then before its second, and so on until there is none left to be killed before.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.machine import faults, sessions
from tests.machine.daemon import wait_until
from tests.machine.recovery import Stage, staged

pytestmark = pytest.mark.draft

REQUESTS_OF_A_HAND_OVER = 4
"""CREATE_SESSION, CREATE_CONN, BIND_CONN with the parameters, START_CONN."""
REQUESTS_OF_A_RECOVERY = 7
"""STOP_CONN, the probe's BIND_CONN, SEND_PDU, STOP_CONN; STOP_CONN, BIND_CONN, START_CONN."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(Stage("tgtd", tmp_path_factory.mktemp("half-done"))) as stage:
        yield stage


def dies_at(
    stage: Stage, number: int, deed: Callable[[], None], is_done: Callable[[], bool]
) -> bool:
    """Let the daemon be killed at its ``number``-th request after ``deed``; start it again.

    Return ``False`` where the deed was done with fewer requests, and the daemon lives.
    """
    with faults.killed_at_send(stage.daemon, number):
        deed()
        wait_until(
            lambda: faults.is_dead(stage.daemon) or is_done(),
            lambda: f"neither done nor dead\n{stage.daemon.log()}",
        )
        is_killed = faults.is_dead(stage.daemon)
    if is_killed:
        stage.daemon.end()
        stage.daemon.start()
    return is_killed


def ask_for_targets(stage: Stage, wanted: bool) -> None:
    stage.configure(wants_targets=wanted)
    stage.daemon.send(signal.SIGHUP)


def leave_no_session(stage: Stage) -> None:
    ask_for_targets(stage, False)
    stage.daemon.wait_for_sessions()


def is_up(stage: Stage) -> bool:
    """Tell whether all is as it should be; a half-made session vanishes while it is looked at."""
    try:
        states = [sessions.attribute(sid, "state") for sid in sessions.session_ids()]
    except OSError:
        return False
    return stage.links[0].exists() and set(states) == {"LOGGED_IN"}


@pytest.mark.machine(seconds=600)
def test_a_hand_over_that_was_cut_short_is_made_good(stage: Stage) -> None:
    deaths = 0
    leave_no_session(stage)
    while dies_at(stage, deaths + 1, lambda: ask_for_targets(stage, True), lambda: is_up(stage)):
        deaths += 1
        stage.daemon.wait_for_sessions(*stage.names)
        stage.daemon.wait_for_links(*stage.links)
        with stage.writing():
            pass
        leave_no_session(stage)
    assert deaths == REQUESTS_OF_A_HAND_OVER


@pytest.mark.machine(seconds=600)
def test_a_recovery_that_was_cut_short_is_made_good(stage: Stage) -> None:
    deaths = 0
    stage.daemon.wait_for_sessions(*stage.names)
    sid = stage.sid

    def has_recovered() -> bool:
        is_logged_in = sessions.attribute(sid, "state") == "LOGGED_IN"
        return is_logged_in and faults.local_port(sid) not in ("", port)

    with stage.writing() as workload:
        while True:
            port = faults.local_port(sid)
            if not dies_at(stage, deaths + 1, lambda: faults.reset(sid), has_recovered):
                break
            deaths += 1
            workload.wait_for_progress()
            assert sessions.session_ids() == [sid]
    assert deaths == REQUESTS_OF_A_RECOVERY
