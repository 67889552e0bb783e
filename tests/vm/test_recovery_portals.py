"""A target with two portals: where one is dead, the session goes on through the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import faults, sessions
from tests.vm.conftest import LIO
from tests.vm.recovery import Scenario, running

PORTS = {str(port): f"127.0.0.1:{port}" for port in (faults.PORT, faults.SECOND_PORT)}


@pytest.mark.parametrize("kind", ["tgtd", LIO])
def test_the_other_portal_serves_while_the_first_is_dead(kind: str, tmp_path: Path) -> None:
    with running(Scenario(kind, tmp_path, portals=tuple(PORTS.values()))) as scenario:
        sid = scenario.sid
        # Both are asked for targets, and whichever answers first is used first.
        port = sessions.connection_attribute(sid, "port")
        (other,) = PORTS.keys() - {port}
        with scenario.writing() as workload:
            with faults.silence(int(port)):
                watch = faults.Stopwatch()
                scenario.daemon.wait_for_line(PORTS[other], "session is up")
                workload.wait_for_progress()
                watch.lap("writes go on through the other portal")
                assert sessions.connection_attribute(sid, "port") == other
                assert not workload.errors()
        scenario.assert_nothing_has_moved()
