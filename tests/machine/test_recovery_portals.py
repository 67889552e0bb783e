"""A target with two portals: where one is dead, the session goes on through the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine import faults, sessions
from tests.machine.recovery import Stage, staged

pytestmark = pytest.mark.draft

PORTALS = (f"127.0.0.1:{faults.PORT}", f"127.0.0.1:{faults.SECOND_PORT}")


@pytest.mark.parametrize("kind", ["tgtd", "lio"])
def test_the_other_portal_serves_while_the_first_is_dead(kind: str, tmp_path: Path) -> None:
    with staged(Stage(kind, tmp_path, portals=PORTALS)) as stage:
        sid = stage.sid
        assert sessions.connection_attribute(sid, "port") == str(faults.PORT)
        with stage.writing() as workload:
            with faults.silence():
                watch = faults.Stopwatch()
                workload.wait_for_progress(after=watch.start + 1)
                stage.daemon.wait_for_line(PORTALS[1], "session is up")
                workload.wait_for_progress()
                watch.lap("writes go on through the other portal")
                assert sessions.connection_attribute(sid, "port") == str(faults.SECOND_PORT)
                assert not workload.errors()
        stage.assert_nothing_has_moved()
