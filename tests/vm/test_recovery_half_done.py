"""The daemon is killed between any two of its requests to the kernel, and started again.

What it was about must be finished or undone, and no session may be lost. It is killed before its
first request, then before its second, and so on until there is none left to be killed before.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.vm import disks, faults, sessions
from tests.vm.recovery import Scenario, running

REQUESTS_OF_A_HAND_OVER = 4
"""CREATE_SESSION, CREATE_CONN, BIND_CONN with the parameters, START_CONN."""
REQUESTS_OF_A_LOGOUT = 5
"""UNBIND_SESSION, SEND_PDU, STOP_CONN, DESTROY_CONN, DESTROY_SESSION."""
REQUESTS_OF_A_RECOVERY = 7
"""STOP_CONN, the probe's BIND_CONN, SEND_PDU, STOP_CONN; STOP_CONN, BIND_CONN, START_CONN."""


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    with running(Scenario("tgtd", tmp_path)) as scenario:
        yield scenario


def dies_at(
    scenario: Scenario, number: int, deed: Callable[[], None], is_done: Callable[[], bool]
) -> bool:
    """Let the daemon be killed at its ``number``-th request after ``deed``; start it again.

    Return ``False`` where the deed was done with fewer requests, and the daemon lives.
    """
    with faults.killed_at_send(scenario.daemon, number):
        deed()
        wait_until(
            lambda: faults.is_dead(scenario.daemon) or is_done(),
            lambda: f"neither done nor dead\n{scenario.daemon.log()}",
        )
        is_killed = faults.is_dead(scenario.daemon)
    if is_killed:
        scenario.daemon.end()
        scenario.daemon.start()
    return is_killed


def ask_for_targets(scenario: Scenario, wanted: bool) -> None:
    scenario.configure(wants_targets=wanted)
    scenario.daemon.send(signal.SIGHUP)


def is_up(scenario: Scenario) -> bool:
    """Whether all is as it should be; a half-made session vanishes while it is looked at."""
    try:
        states = [sessions.attribute(sid, "state") for sid in sessions.session_ids()]
    except OSError:
        return False
    return scenario.links[0].exists() and set(states) == {"LOGGED_IN"}


def is_cut_short_in_leaving(scenario: Scenario, number: int) -> bool:
    """Take the target out of the configuration; in the end there is no session."""
    watch = faults.Stopwatch()
    is_killed = dies_at(
        scenario,
        number,
        lambda: ask_for_targets(scenario, False),
        lambda: not sessions.session_ids(),
    )
    scenario.daemon.wait_for_sessions()
    scenario.daemon.wait_for_no_links(*scenario.links)
    watch.lap(f"logout, killed at request {number}: {is_killed}")
    return is_killed


def is_cut_short_in_coming(scenario: Scenario, number: int) -> bool:
    """Put the target into the configuration again; its disk can be read in the end."""
    watch = faults.Stopwatch()
    is_killed = dies_at(
        scenario, number, lambda: ask_for_targets(scenario, True), lambda: is_up(scenario)
    )
    scenario.daemon.wait_for_sessions(*scenario.names)
    scenario.daemon.wait_for_links(*scenario.links)
    disks.forget_cache(scenario.links[0])
    disks.read_start(scenario.links[0], disks.MEGABYTE)
    watch.lap(f"start in the kernel, killed at request {number}: {is_killed}")
    return is_killed


@pytest.mark.limit(300)
def test_a_logout_or_a_hand_over_that_was_cut_short_is_finished(scenario: Scenario) -> None:
    logouts = hand_overs = number = 0
    is_left = True
    while is_left:
        number += 1
        is_left = False
        if is_cut_short_in_leaving(scenario, number):
            is_left, logouts = True, number
        if is_cut_short_in_coming(scenario, number):
            is_left, hand_overs = True, number
    assert logouts == REQUESTS_OF_A_LOGOUT
    assert hand_overs == REQUESTS_OF_A_HAND_OVER


@pytest.mark.limit(300)
def test_a_recovery_that_was_cut_short_is_made_good(scenario: Scenario) -> None:
    deaths = 0
    scenario.daemon.wait_for_sessions(*scenario.names)
    sid = scenario.sid

    def has_recovered() -> bool:
        is_logged_in = sessions.attribute(sid, "state") == "LOGGED_IN"
        return is_logged_in and faults.local_port(sid) not in ("", port)

    with scenario.writing() as workload:
        while True:
            watch = faults.Stopwatch()
            port = faults.local_port(sid)
            if not dies_at(scenario, deaths + 1, lambda: faults.reset(sid), has_recovered):
                break
            deaths += 1
            workload.wait_for_progress()
            watch.lap(f"recovery, killed at request {deaths}")
            assert sessions.session_ids() == [sid]
    assert deaths == REQUESTS_OF_A_RECOVERY
