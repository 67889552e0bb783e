"""What a child costs, from its fork to its end; prints figures, asserts nothing.

Run it from the repository's root, as root: ``python -m tests.benchmarks.children``. The children
are those of the daemon, with all its modules imported; the target is a tgtd. A page fault is a page
that the child has written to, and the kernel therefore copied, or that is new: most of what a short
life costs.
"""

from __future__ import annotations

import resource

import iscsid.daemon  # noqa: F401  so that a child is as large as the daemon's
from iscsid.facts import DiscoveryFailed, LoginFailed
from iscsid.jobs import Job
from iscsid.orders import Level
from iscsid.process.protection import protect
from iscsid.workers import worker_main
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.support.fake_jobs import finishes
from tests.support.jobs import TARGET, discovery_job, login_job, scan_job
from tests.support.supervisor_harness import WorkersHarness

LIVES = 100


def used(log_prefix: int) -> tuple[float, float, int]:
    usage = resource.getrusage(log_prefix)
    return usage.ru_utime, usage.ru_stime, usage.ru_minflt


def measure(job: Job, run_job: worker_main.RunJob) -> tuple[float, ...]:
    """Return milliseconds of a child and of the daemon for it, and the child's page faults."""
    harness = WorkersHarness(run_job, Level.INFO)
    children, daemon = used(resource.RUSAGE_CHILDREN), used(resource.RUSAGE_SELF)
    for _ in range(LIVES):
        facts = harness.run(job)
        assert not isinstance(facts[0], DiscoveryFailed | LoginFailed), facts[0]
        harness.supervisor.close_socket(job.id)
        facts.clear()
    user, system, faults = (
        (after - before) / LIVES
        for before, after in zip(children, used(resource.RUSAGE_CHILDREN), strict=True)
    )
    ours = sum(used(resource.RUSAGE_SELF)[:2]) - sum(daemon[:2])
    return user * 1e3, system * 1e3, ours / LIVES * 1e3, faults


def main() -> None:
    protect()
    print(f"{'child':24}{'user, ms':>12}{'system, ms':>12}{'daemon, ms':>12}{'page faults':>12}")
    tgtd = LiveTgtd()
    try:
        tgtd.add_target(TARGET, {})
        jobs: dict[str, tuple[Job, worker_main.RunJob]] = {
            "does nothing": (scan_job(), finishes),
            "discovers one target": (discovery_job(portal=tgtd.portal), worker_main.run_job),
            "logs in": (login_job(portal=tgtd.portal), worker_main.run_job),
        }
        for name, (job, run_job) in jobs.items():
            print(f"{name:24}", *(f"{figure:11.2f}" for figure in measure(job, run_job)))
    finally:
        tgtd.stop()


if __name__ == "__main__":
    main()
