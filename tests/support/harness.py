"""Runs an initiator for tests: facts go in, and the orders that matter come back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from iscsid import facts, orders
from iscsid.bindings.binding import Binding
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings, SessionSettings, StaticTarget
from iscsid.facts import Fact, KernelSession, Timer, TimerPurpose
from iscsid.initiator.initiator import Initiator
from iscsid.jobs import DiscoveryJob, JobId, LoginJob, ScanJob
from iscsid.orders import Log, Order, StartWorker
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from tests.support.jobs import login_result

HOST = IscsiName("iqn.2024-01.org.example:host")
DISK = IscsiName("iqn.2024-01.org.example:disk")
OTHER = IscsiName("iqn.2024-01.org.example:other")
PORTAL = Portal("192.0.2.1")
SECOND = Portal("192.0.2.2")
ZERO = Binding(0, 0)
KEPT = (Log, orders.SetTimer, orders.CancelTimer, orders.SaveBindings)


def record(name: IscsiName = DISK, *portals: Portal) -> DiscoveryRecord:
    return DiscoveryRecord(name, tuple(TargetAddress(p, 1) for p in portals or (PORTAL,)))


def configuration(
    *discoveries: Portal,
    static: tuple[StaticTarget, ...] = (),
    settings: SessionSettings | None = None,
) -> Configuration:
    def resolve(_name: IscsiName, _portal: Portal, _at: Portal | None) -> SessionSettings:
        return settings or SessionSettings()

    return Configuration(
        discoveries=tuple(DiscoverySettings(portal=portal) for portal in discoveries),
        static_targets=static,
        resolver=resolve,
    )


def kernel_session(
    sid: int = 1,
    *,
    name: str = DISK,
    session_tag: str = f"iscsid:0:0:80aabbcc0000@{PORTAL}",
    state: str = "LOGGED_IN",
    connection_state: str | None = "up",
    target_state: str = "SCANNED",
    maker_is_gone: bool = False,
    portal: Portal | None = PORTAL,
    initiator_name: str = "",
) -> KernelSession:
    return KernelSession(
        sid=sid,
        host_no=sid + 1,
        target_name=name,
        session_tag=session_tag,
        state=state,
        target_state=target_state,
        connection_state=connection_state,
        persistent_portal=portal,
        portal_group_tag=1,
        initiator_name=initiator_name,
        maker_is_gone=maker_is_gone,
    )


@dataclass
class Harness:
    """An initiator, its clock, and what it has ordered so far."""

    max_processes: int = 0
    now: float = 1000.0
    log: list[str] = field(default_factory=list)
    timers: dict[Timer, float] = field(default_factory=dict)
    bindings: str = ""

    def __post_init__(self) -> None:
        self.initiator = Initiator(
            login_timeout=60, max_processes=self.max_processes, bindings_file="bindings"
        )
        self.jobs: list[DiscoveryJob | LoginJob | ScanJob] = []
        self.given: list[Order] = []
        """All orders so far."""

    def handle(self, *new: Fact) -> list[Order]:
        """Return the orders that matter: log, timers and bindings are kept in attributes."""
        given: list[Order] = []
        for fact in new:
            for order in self.initiator.handle(fact, self.now):
                self._note(order)
                given.append(order)
        self.given += given
        return [order for order in given if not isinstance(order, KEPT)]

    def _note(self, order: Order) -> None:
        match order:
            case Log():
                self.log.append(f"{order.level.value} {order.log_prefix}: {order.text}")
            case orders.SetTimer(timer, at):
                self.timers[timer] = at
            case orders.CancelTimer(timer):
                self.timers.pop(timer, None)
            case orders.SaveBindings(text):
                self.bindings = text
            case orders.StartWorker(job):
                self.jobs.append(job)

    def begin(
        self, configured: Configuration, *found: KernelSession, bindings: str = ""
    ) -> list[Order]:
        """The start of the daemon."""
        return self.handle(
            facts.ConfigurationRead(configured, HOST),
            facts.BindingsRead(bindings),
            facts.SessionsFound(found),
        )

    @property
    def job(self) -> JobId:
        """The job ordered last."""
        return self.jobs[-1].id

    def discovered(self, *records: DiscoveryRecord, kept: bool = False) -> list[Order]:
        """The worker ordered last has its answer."""
        job = self.job
        return self.handle(
            *(facts.TargetDiscovered(job, one) for one in records),
            facts.DiscoveryCompleted(job, kept=kept),
            *(() if kept else (facts.WorkerEnded(job),)),
        )

    def logged_in(self, portal: Portal = PORTAL) -> list[Order]:
        """The worker ordered last has logged in."""
        login = next(job for job in reversed(self.jobs) if isinstance(job, LoginJob))
        result = login_result(login, tsih=7, exp_stat_sn=5)
        return self.handle(
            facts.LoginSucceeded(login.id, result, portal), facts.WorkerEnded(login.id)
        )

    def up(self, sid: int = 1) -> list[Order]:
        """From nothing to one session that is up and scanned."""
        self.begin(configuration(PORTAL))
        self.discovered(record())
        self.logged_in()
        given = self.handle(facts.SessionStarted(ZERO, sid, sid + 1))
        self.handle(facts.ScanFinished(self.job), facts.WorkerEnded(self.job))
        return given

    def wait(self, purpose: TimerPurpose) -> list[Order]:
        """Let the nearest timer of this purpose expire."""
        timer = min((t for t in self.timers if t.purpose is purpose), key=self.timers.__getitem__)
        self.now = max(self.now, self.timers.pop(timer))
        return self.handle(facts.TimerExpired(timer))

    def reload(self, configured: Configuration) -> list[Order]:
        """SIGHUP, and what reading the file again brings."""
        given = self.handle(facts.HangupReceived())
        assert given == [orders.ReadConfiguration()]
        return self.handle(
            facts.BindingsRead(self.bindings), facts.ConfigurationRead(configured, HOST)
        )

    def has_logged(self, *words: str) -> bool:
        """Whether one line of the log holds all these words."""
        return any(all(word in line for word in words) for line in self.log)


def two_sessions(bindings: str = "") -> Harness:
    """Two sessions that an earlier daemon has left: 1 with DISK, 0:0, and 2 with OTHER, 0:1."""
    harness = Harness()
    harness.begin(
        configuration(PORTAL),
        kernel_session(1),
        kernel_session(2, name=OTHER, session_tag=f"iscsid:0:1:80aabbcc0001@{PORTAL}"),
        bindings=bindings,
    )
    harness.discovered(record(), record(OTHER))
    return harness


def settings(**changes: object) -> SessionSettings:
    return replace(SessionSettings(), **changes)  # type: ignore[arg-type]


def kinds(given: list[Order]) -> list[str]:
    """Return the kinds of orders; of a StartWorker, the kind of job."""
    return [type(o.job if isinstance(o, StartWorker) else o).__name__ for o in given]
