"""The daemon is killed between any two requests of a logout: its successor finishes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import sessions
from tests.machine.recovery import Stage, staged
from tests.machine.test_recovery_half_done import ask_for_targets, dies_at

pytestmark = pytest.mark.draft

REQUESTS_OF_A_LOGOUT = 5
"""UNBIND_SESSION, SEND_PDU, STOP_CONN, DESTROY_CONN, DESTROY_SESSION."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(Stage("tgtd", tmp_path_factory.mktemp("logout"))) as stage:
        yield stage


@pytest.mark.machine(seconds=600)
def test_a_logout_that_was_cut_short_is_finished(stage: Stage) -> None:
    deaths = 0
    while dies_at(
        stage,
        deaths + 1,
        lambda: ask_for_targets(stage, False),
        lambda: not sessions.session_ids(),
    ):
        deaths += 1
        stage.daemon.wait_for_sessions()
        stage.daemon.wait_for_no_links(*stage.links)
        ask_for_targets(stage, True)
        stage.daemon.wait_for_sessions(*stage.names)
        stage.daemon.wait_for_links(*stage.links)
        with stage.writing():
            pass
    assert deaths == REQUESTS_OF_A_LOGOUT
