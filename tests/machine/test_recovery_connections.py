"""Whatever happens to connection, target or daemon: the disks under writes lose nothing.

One daemon per kind of target lives through all of it, so that its names have something to survive.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import faults
from tests.machine.recovery import Stage, staged


@pytest.fixture(scope="module", params=["tgtd", "lio"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with staged(Stage(request.param, tmp_path_factory.mktemp("recovery"))) as stage:
        yield stage


def test_a_connection_that_is_reset_comes_back(stage: Stage) -> None:
    with stage.writing() as workload:
        faults.reset(stage.sid)
        watch = faults.Stopwatch()
        workload.wait_for_progress()
        watch.lap("writes go on after a reset")
    stage.assert_nothing_has_moved()


def test_a_target_that_restarts_is_found_again_and_the_writes_waited(stage: Stage) -> None:
    with stage.writing() as workload:
        with stage.storage.down():
            stage.wait_for_state("FAILED")
        watch = faults.Stopwatch()
        workload.wait_for_progress()
        watch.lap("writes go on after the target's return")
        assert not workload.errors(), "ConnFailTimeout is 0: I/O waits for ever"
    stage.assert_nothing_has_moved()


def test_a_path_that_swallows_every_packet_is_noticed(stage: Stage) -> None:
    with stage.writing() as workload:
        watch = faults.Stopwatch()
        with faults.silence():
            stage.wait_for_state("FAILED")
            watch.lap("silence noticed")
        watch = faults.Stopwatch()
        workload.wait_for_progress()
        watch.lap("writes go on after the silence")
        assert not workload.errors()
    stage.assert_nothing_has_moved()


def test_a_killed_daemon_is_not_missed_and_its_successor_mends_what_broke_meanwhile(
    stage: Stage,
) -> None:
    with stage.writing() as workload:
        stage.daemon.end()
        workload.wait_for_progress()
        faults.reset(stage.sid)
        stage.wait_for_state("FAILED")
        stage.daemon.start()
        workload.wait_for_progress()
        faults.reset(stage.sid)
        workload.wait_for_progress()
    stage.assert_nothing_has_moved()
