"""How the initiator scales with the number of targets; prints figures, asserts nothing.

Run it from the repository's root: ``python -m tests.benchmarks.initiator``. Facts go in as in
a daemon; a kernel and workers are not needed. What is linear keeps its figure, time per
target, from column to column.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable

from iscsid import facts, orders
from iscsid.bindings.binding import Binding
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings
from iscsid.facts import Device, Fact, KernelSession
from iscsid.initiator.initiator import Initiator
from iscsid.initiator.snapshot import take_snapshot
from iscsid.jobs import DiscoveryJob, LoginJob, ScanJob
from iscsid.orders import Order
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import AgreedParameters, LoginResult

SIZES = (500, 1_000, 2_000, 8_000)
HOST = IscsiName("iqn.2001-04.com.example:host")
PORTAL = Portal("192.0.2.1")
CONFIGURATION = Configuration(discoveries=(DiscoverySettings(portal=PORTAL),))
PARAMETERS = AgreedParameters(default_time2wait=0)


class Life:
    """A daemon with ``size`` targets behind one address; every attempt succeeds at once."""

    def __init__(self, size: int) -> None:
        self._records = [
            DiscoveryRecord(
                IscsiName(f"iqn.2001-04.com.example:volume-{number:05}"),
                (TargetAddress(PORTAL, 1),),
            )
            for number in range(size)
        ]
        self.sids: dict[Binding, int] = {}
        self.longest = 0.0
        """Seconds for one fact: the least that a turn of the loop may last."""
        self._now = 1000.0
        self._bindings = ""
        self._due: list[facts.Timer] = []
        self.restart()

    def restart(self) -> None:
        self._initiator = Initiator(login_timeout=60, max_processes=30, bindings_file="bindings")

    @property
    def status(self) -> str:
        return self._initiator.status

    def handle(self, *new: Fact) -> None:
        """Handle facts and whatever comes of them, to the last."""
        queue = list(new)
        for fact in queue:
            start = time.process_time()
            given = self._initiator.handle(fact, self._now)
            self.longest = max(self.longest, time.process_time() - start)
            for order in given:
                queue += self._carry_out(order)

    def _carry_out(self, order: Order) -> Iterable[Fact]:
        match order:
            case orders.StartWorker(job):
                return self._work(job)
            case orders.StartSession(binding):
                sid = self.sids[binding] = len(self.sids) + 1
                return [facts.SessionStarted(binding, sid, sid)]
            case orders.ResumeSession(binding, sid):
                return [facts.SessionStarted(binding, sid, sid)]
            case orders.LearnCmdSn(sid):
                return [facts.CmdSnLearned(sid, 9)]
            case orders.SaveBindings(text):
                self._bindings = text
            case orders.SetTimer(timer):
                self._due.append(timer)
        return []

    def _work(self, job: DiscoveryJob | LoginJob | ScanJob) -> Iterable[Fact]:
        match job:
            case DiscoveryJob():
                found = (facts.TargetDiscovered(job.id, record) for record in self._records)
                return [*found, facts.DiscoveryCompleted(job.id), facts.WorkerEnded(job.id)]
            case LoginJob():
                result = LoginResult(
                    isid=job.login.isid,
                    tsih=1,
                    cmd_sn=1,
                    exp_stat_sn=1,
                    target_portal_group_tag=1,
                    parameters=PARAMETERS,
                )
                done = facts.LoginSucceeded(job.id, result, PORTAL)
                return [done, facts.WorkerEnded(job.id)]
            case ScanJob():
                return [facts.ScanFinished(job.id), facts.WorkerEnded(job.id)]

    # --- what is measured -----------------------------------------------------------------------

    def start(self) -> None:
        self.handle(
            facts.ConfigurationRead(CONFIGURATION, HOST),
            facts.BindingsRead(self._bindings),
            facts.SessionsFound(()),
        )

    def show_disks(self) -> None:
        for sid in self.sids.values():
            device = Device(path=f"/d{sid}", sid=sid, lun=1, link="disk", node=f"/dev/sd{sid}")
            self.handle(facts.DeviceAppeared(device))

    def lose_all(self) -> None:
        self._due = []
        self._now += 60
        for sid in self.sids.values():
            self.handle(facts.ConnectionLost(sid, "the connection broke"))
        for timer in self._due:
            if timer.purpose is facts.TimerPurpose.RETRY_LOGIN:
                self.handle(facts.TimerExpired(timer))

    def look_at_the_kernel(self) -> None:
        self.handle(facts.SessionsFound(self._kernel_sessions()))

    def hang_up(self) -> None:
        self.handle(
            facts.HangupReceived(),
            facts.BindingsRead(self._bindings),
            facts.ConfigurationRead(CONFIGURATION, HOST),
        )

    def write_status(self) -> None:
        reconciler = self._initiator.reconciler
        take_snapshot(reconciler, now=self._now, clock=0.0, version="", pid=1, basedir="/dev/iscsi")

    def start_again(self) -> None:
        self.restart()
        self.handle(
            facts.ConfigurationRead(CONFIGURATION, HOST),
            facts.BindingsRead(self._bindings),
            facts.SessionsFound(self._kernel_sessions()),
        )

    def _kernel_sessions(self) -> tuple[KernelSession, ...]:
        return tuple(
            KernelSession(
                sid=sid,
                host_no=sid,
                target_name=record.target_name,
                session_tag=f"iscsid:{binding.bus}:{binding.target}:80aabbcc0000@{PORTAL}",
                state="LOGGED_IN",
                target_state="SCANNED",
                connection_state="up",
                persistent_portal=PORTAL,
                portal_group_tag=1,
            )
            for (binding, sid), record in zip(self.sids.items(), self._records, strict=True)
        )


def measure(size: int) -> dict[str, float]:
    """Return microseconds per target for each deed, in the order in which they are done."""
    life = Life(size)
    deeds: dict[str, Callable[[], None]] = {
        "discover, log in": life.start,
        "disks appear": life.show_disks,
        "look at the kernel": life.look_at_the_kernel,
        "all lost, all back": life.lose_all,
        "SIGHUP": life.hang_up,
        "write the status": life.write_status,
        "start again, adopt all": life.start_again,
    }
    figures = {}
    for name, deed in deeds.items():
        life.longest = 0.0
        start = time.process_time()
        deed()
        figures[f"{name}, us"] = (time.process_time() - start) / size * 1e6
        figures[f"{name}, longest fact, ms"] = life.longest * 1e3
        assert life.status == f"{size} of {size} sessions up", f"{name}: {life.status}"
    return figures


def memory(size: int) -> float:
    """Return the octets of memory per target, all sessions up and every disk there."""
    life = Life(size)
    tracemalloc.start()
    life.restart()
    life.start()
    life.show_disks()
    octets, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return octets / size


def main() -> None:
    columns = [measure(size) | {"memory, octets": memory(size)} for size in SIZES]
    print(f"{'for each of so many targets':40}", *(f"{size:>12,}" for size in SIZES))
    for row in columns[0]:
        print(f"{row:40}", *(f"{column[row]:12.0f}" for column in columns))


if __name__ == "__main__":
    main()
