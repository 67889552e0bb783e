"""Whole attempts: a job done by a real worker against a target that the test leads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iscsid.errors import Failure
from iscsid.facts import LoginFailed, LoginSucceeded
from iscsid.jobs import DiscoveryJob, JobId, LoginJob
from iscsid.workers import sandbox
from iscsid.workers.sandbox import Confinement
from iscsid.workers.worker_main import Confine
from tests.support.scripted_portal import LoopbackPortal
from tests.support.supervisor_harness import WorkersHarness

ONE = JobId(1)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")


def run(
    job: LoginJob | DiscoveryJob, *portals: LoopbackPortal, harness: WorkersHarness | None = None
) -> WorkersHarness:
    """Do the job while the targets answer; return what came of it."""
    harness = harness or WorkersHarness()
    harness.others += [each.serve for each in portals]
    harness.run(job)
    return harness


def failure_of(harness: WorkersHarness) -> Failure:
    (failed,) = (fact for fact in harness.facts if isinstance(fact, LoginFailed))
    assert harness.ending_of(ONE).how is None
    return failed.failure


def success_of(harness: WorkersHarness) -> LoginSucceeded:
    (succeeded,) = (fact for fact in harness.facts if isinstance(fact, LoginSucceeded))
    return succeeded


def without_any_file(empty: Path) -> Confine:
    """Confines a worker in a world without files, which only root can make."""

    def confine(confinement: Confinement, place: int, parent: int) -> list[str]:
        size = sandbox._address_space()  # /proc is on no disk
        sandbox._address_space = lambda: size
        os.chroot(empty)
        os.chdir("/")
        return sandbox.confine(confinement, place, parent)

    return confine
