"""What a job costs: wall time, processor time of each side, and memory; prints figures only.

Run it from the repository's root, as root: ``python -m tests.benchmarks.workers``. A job is done by
a worker of the real fork server, against a tgtd on loopback; the daemon's modules are imported
after the fork server was started, as in the daemon. First one job after another, then 32 and 128
logins at once with at most 30 workers. Memory is the proportional share (PSS) of the fork server
and all workers, at the end of the burst and a moment later, when a few idle ones are kept.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from iscsid.facts import LoginSucceeded, ScanFinished, WorkerEnded
from iscsid.jobs import Job, JobId, LoginJob
from iscsid.orders import Level
from iscsid.protocol.parameters import Isid
from iscsid.workers.reporter import Reporter
from iscsid.workers.supervisor import MOST_IDLE
from iscsid.workers.worker_main import run_job
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.support.jobs import TARGET, discovery_job, login_job, scan_job
from tests.support.supervisor_harness import WorkersHarness, status_of

JOBS = 200
PLACES = 30
"""The default of --max-processes."""


def work(job: Job, reporter: Reporter) -> None:
    if job.id >= 1000:  # a scan without a kernel session: the cost of having a job done at all
        reporter.report(ScanFinished(job.id))
    else:
        run_job(job, reporter)


def ticks(pid: int) -> float:
    """Seconds of processor time, of the children that were waited for too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def processes_of(harness: WorkersHarness) -> set[int]:
    """The fork server and its living workers."""
    server = harness.fork_server.pid
    pids = {worker.pid for worker in harness.supervisor._workers.values() if worker.pid}
    return {server} | {pid for pid in pids if status_of(pid)}


def pss(pids: set[int]) -> float:
    """MiB."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        total += sum(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )
    return total / 1024


def one_after_another(harness: WorkersHarness, name: str, job: Job) -> None:
    harness.run(job)  # the first one forks
    ours, theirs = time.process_time(), sum(map(ticks, processes_of(harness)))
    began = time.monotonic()
    for _ in range(JOBS):
        harness.facts.clear()
        *_, ended = harness.run(job)
        assert isinstance(ended, WorkerEnded) and ended.how is None, ended
        harness.supervisor.close_socket(job.id)
    wall = time.monotonic() - began
    ours, theirs = time.process_time() - ours, sum(map(ticks, processes_of(harness))) - theirs
    figures = (each / JOBS * 1e3 for each in (wall, ours, theirs))
    print(f"{name:34}", *(f"{figure:10.2f}" for figure in figures))


def of_its_own(login: LoginJob, number: int) -> LoginJob:
    """A login with another ISID: it does not reinstate a session of the others."""
    isid = Isid(login.login.isid[:4] + number.to_bytes(2, "big"))
    return replace(login, id=JobId(number), login=replace(login.login, isid=isid))


def at_once(harness: WorkersHarness, number: int, login: LoginJob) -> None:
    harness.facts.clear()
    ours, theirs = time.process_time(), sum(map(ticks, processes_of(harness)))
    began = time.monotonic()
    waiting = [of_its_own(login, each) for each in range(1, number + 1)]
    while waiting or len(harness.supervisor):
        while waiting and len(harness.supervisor) < PLACES:
            harness.start(waiting.pop())
        harness.turn()
    wall = time.monotonic() - began
    ours, theirs = time.process_time() - ours, sum(map(ticks, processes_of(harness))) - theirs
    successes = sum(isinstance(fact, LoginSucceeded) for fact in harness.facts)
    assert successes == number, successes
    peak = pss(processes_of(harness))
    harness.until(lambda: harness.supervisor.processes <= MOST_IDLE)
    workers = processes_of(harness)
    memory = pss(workers)
    for each in range(1, number + 1):
        harness.supervisor.close_socket(JobId(each))
    figures = (each / number * 1e3 for each in (wall, ours, theirs))
    print(
        f"{f'{number} logins at once':34}",
        *(f"{figure:10.2f}" for figure in figures),
        f"{peak:9.1f} {memory:9.1f} MiB",
    )


def main() -> None:
    harness = WorkersHarness(work, Level.INFO, most=PLACES)
    import iscsid.daemon  # noqa: F401  as in the daemon: after the fork server

    heads = f"{'wall':>11}{'daemon':>11}{'workers':>11}{'PSS':>10}{'later':>10}"
    print(f"{'milliseconds a job':34}{heads}")
    tgtd = LiveTgtd()
    try:
        tgtd.add_target(TARGET, {})
        one_after_another(harness, "does nothing", scan_job(1000))
        one_after_another(harness, "discovers one target", discovery_job(portal=tgtd.portal))
        login = login_job(portal=tgtd.portal)
        one_after_another(harness, "logs in", login)
        for number in (32, 128):
            harness.supervisor.end_all()
            at_once(harness, number, login)
    finally:
        tgtd.stop()
        harness.close()


if __name__ == "__main__":
    main()
