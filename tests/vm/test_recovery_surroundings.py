"""What happens around the daemon: clocks jump, addresses go and come, a module is taken out.

One daemon and one disk under writes for all of it.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.vm import disks, faults, foreign_sessions, sessions
from tests.vm.daemon import Daemon
from tests.vm.recovery import Scenario, running

INTERFACE, ADDRESS = "iscsi0", "192.0.2.77"
HOUR = 3600
UNREACHABLE = "trying again what was unreachable"


class Talkative(Daemon):
    """Logs every attempt."""

    def start(self, *options: str) -> None:
        super().start("-d", *options)


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    """A target at an address that can be taken away."""
    directory = tmp_path
    disks.run("ip", "link", "add", INTERFACE, "type", "dummy")
    disks.run("ip", "link", "set", INTERFACE, "up")
    address("add")
    try:
        daemon = Talkative(directory)
        portals = (f"{ADDRESS}:{faults.PORT}",)
        with running(Scenario("tgtd", directory, portals=portals, daemon=daemon)) as scenario:
            yield scenario
    finally:
        disks.run("ip", "link", "del", INTERFACE)


def address(action: str) -> None:
    disks.run("ip", "address", action, f"{ADDRESS}/32", "dev", INTERFACE)


def wait_for_attempts(scenario: Scenario, number: int) -> None:
    """Wait until so many more attempts have failed."""

    def count() -> int:
        return len(scenario.daemon.lines_about(scenario.names[0], "next attempt in"))

    goal = count() + number
    wait_until(lambda: count() >= goal, scenario.daemon.log)


def test_the_time_of_day_may_jump_while_sessions_are_up_and_while_retries_wait(
    scenario: Scenario,
) -> None:
    """Neither do retries hurry by hours, nor do they wait for hours."""
    port = faults.local_port(scenario.sid)
    with scenario.writing() as workload:
        for hours in (10, -10):
            with faults.clock_jump(hours * HOUR):
                workload.wait_for_progress()
        assert faults.local_port(scenario.sid) == port, "a healthy session was touched"
        with scenario.storage.down():
            scenario.wait_for_state("FAILED")
            for hours in (10, -10):
                with faults.clock_jump(hours * HOUR):
                    wait_for_attempts(scenario, 2)
            wait_for_attempts(scenario, 2)
        workload.wait_for_progress()
        assert not workload.errors()
    scenario.assert_nothing_has_moved()


def test_an_address_that_goes_and_comes_back_brings_the_session_back(scenario: Scenario) -> None:
    with scenario.writing() as workload:
        address("del")
        try:
            scenario.wait_for_state("FAILED")
            wait_for_attempts(scenario, 2)
            before = len(scenario.daemon.lines_about(UNREACHABLE))
        finally:
            address("add")
        wait_until(
            lambda: len(scenario.daemon.lines_about(UNREACHABLE)) > before, scenario.daemon.log
        )
        workload.wait_for_progress()
        assert not workload.errors()
    scenario.assert_nothing_has_moved()


def test_a_daemon_that_was_asleep_finds_out_what_has_happened(scenario: Scenario) -> None:
    """The connection breaks and the target restarts while no daemon runs."""
    with scenario.writing() as workload:
        scenario.daemon.send(signal.SIGSTOP)
        try:
            with scenario.storage.down():
                scenario.wait_for_state("FAILED")
        finally:
            scenario.daemon.send(signal.SIGCONT)
        workload.wait_for_progress()
        assert not workload.errors()
    scenario.assert_nothing_has_moved()


def test_a_session_that_was_stopped_for_good_is_made_anew(scenario: Scenario) -> None:
    """By a daemon that was killed before it could destroy it. If the next one tried to revive it,
    its connection looks like any other that is down, and only the kernel knows better."""
    logged = {False: "destruction was begun", True: "the kernel cannot carry the session on"}
    for is_stopped_again, words in logged.items():
        sid = scenario.sid
        scenario.daemon.stop()
        foreign_sessions.stop_for_good(sid)
        if is_stopped_again:
            foreign_sessions.stop_for_recovery(sid)
        scenario.daemon.start()
        scenario.daemon.wait_for_line(scenario.names[0], words)
        wait_until(lambda: sid not in sessions.session_ids(), scenario.daemon.log)  # noqa: B023
        scenario.daemon.wait_for_sessions(*scenario.names)
        scenario.daemon.wait_for_links(*scenario.links)
        with scenario.writing():
            pass


def test_a_module_that_is_taken_out_is_missed_and_used_again(scenario: Scenario) -> None:
    """The kernel does not let it go while its disks are used; without any it may be reloaded."""
    with scenario.writing() as workload:
        taken_out = subprocess.run(["modprobe", "-r", "iscsi_tcp"], capture_output=True)
        assert taken_out.returncode != 0
        workload.wait_for_progress()
    ask_for_targets(scenario, False)
    scenario.daemon.wait_for_sessions()
    disks.run("modprobe", "-r", "iscsi_tcp")
    try:
        ask_for_targets(scenario, True)
        scenario.daemon.wait_for_line(
            scenario.names[0], "load its module with 'modprobe iscsi_tcp'"
        )
    finally:
        disks.run("modprobe", "iscsi_tcp")
    scenario.daemon.send(signal.SIGHUP)
    scenario.daemon.wait_for_sessions(*scenario.names)
    scenario.daemon.wait_for_links(*scenario.links)
    with scenario.writing():
        pass


def ask_for_targets(scenario: Scenario, wanted: bool) -> None:
    scenario.configure(wants_targets=wanted)
    scenario.daemon.send(signal.SIGHUP)
