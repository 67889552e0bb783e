"""Which workers may run now: limited in number, and fair to every portal.

Logins and discoveries share ``limit`` places (``--max-processes``). A portal that does not answer
takes one of them until a time-out, therefore

* portals take turns, so that the thousand sessions of one array do not queue before another's;
* at a portal that nothing has reached since its last failure one login at a time is tried, and
  its result holds for all;
* such portals never take all places: a quarter is left to portals that answer.

Scans have places of their own. A scan that loses its connection waits in the kernel until the
session is logged in again, and cannot be killed; if it had the place that this login needs, both
would wait for ever. A worker that cannot be ended in time gives its place back. Pure.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from math import inf

from iscsid.jobs import DiscoveryJob, Job, JobId, LoginJob, ScanJob
from iscsid.protocol.names import Portal

SCANS_AT_ONCE = 16
"""More would not be faster: the kernel scans one LUN of a host after the other, and udev shares few
processors among the disks that are found."""
GRACE = 5.0
"""Seconds after its deadline in which a worker ends, unless it sleeps in the kernel."""

Lane = tuple[Portal, bool]
"""A portal, and whether discoveries are meant: one that hangs must not hold up logins there. Each
portal has one discovery at a time anyway."""


class JobQueue:
    """Jobs that wait and jobs that run; a limit of 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._running: dict[JobId, float] = {}
        """Logins and discoveries that have a place, and when each gives it back in any case."""
        self._scans: dict[JobId, float] = {}
        """The same of scans."""
        self._lanes: dict[JobId, Lane] = {}
        """Of each login or discovery that waits or has a place."""
        self._running_in: Counter[Lane] = Counter()
        self._reached: set[Portal] = set()
        """Portals that have answered since their last failure."""
        self._waiting: dict[Lane, OrderedDict[JobId, LoginJob | DiscoveryJob]] = {}
        self._live: OrderedDict[Lane, None] = OrderedDict()
        """Portals that answer and have jobs waiting; the next one first."""
        self._unreached: OrderedDict[Lane, None] = OrderedDict()
        """Portals that may not answer, with jobs waiting and no login running; likewise."""
        self._waiting_scans: OrderedDict[JobId, ScanJob] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of logins and discoveries that have a place."""
        return len(self._running)

    @property
    def scans(self) -> int:
        """The number of scans that have a place."""
        return len(self._scans)

    @property
    def waiting(self) -> int:
        return len(self._lanes) - len(self) + len(self._waiting_scans)

    def request(self, job: Job) -> None:
        """Queue a job."""
        if isinstance(job, ScanJob):
            self._waiting_scans[job.id] = job
            return
        lane = self._lanes[job.id] = (job.portal, isinstance(job, DiscoveryJob))
        self._waiting.setdefault(lane, OrderedDict())[job.id] = job
        self._update(lane)

    def withdraw(self, job: JobId) -> bool:
        """Take a waiting job back; ``False`` if it is not waiting (any more)."""
        if self._waiting_scans.pop(job, None):
            return True
        lane = self._lanes.get(job)
        if lane is None or job not in self._waiting.get(lane, ()):
            return False
        self._drop_waiting(lane, [job])
        return True

    def release(self, job: JobId) -> None:
        """Take back the place of ``job``; harmless if it has none."""
        self._scans.pop(job, None)
        if self._running.pop(job, None) is not None:
            lane = self._lanes.pop(job)
            self._running_in[lane] -= 1
            self._update(lane)

    def portal_answered(self, portal: Portal) -> None:
        """Note that a login or a discovery got an answer at ``portal``."""
        self._reached.add(portal)
        self._update((portal, False))
        self._update((portal, True))

    def portal_failed(self, portal: Portal) -> list[JobId]:
        """Note that a login got no answer at ``portal``; return those that waited there, but one.

        They do not wait any more: they have failed like the one that tried. So a session with
        another portal turns to that one at once. The last of them tries next, since what failed
        may have been one target and not the portal.
        """
        self._reached.discard(portal)
        lane = (portal, False)
        failed = list(self._waiting.get(lane, ()))[:-1]
        self._drop_waiting(lane, failed)
        self._update((portal, True))
        return failed

    def admit(self, now: float) -> list[Job]:
        """Return the jobs that may start now, and give them their places."""
        admitted: list[Job] = []
        if self._waiting:
            self._expire(self._running, now)
        while (lane := self._next_lane()) is not None:
            _, job = self._waiting[lane].popitem(last=False)
            self._running[job.id] = _latest_end(job, now)
            self._running_in[lane] += 1
            self._live.pop(lane, None)  # to the end, behind those that have had no turn
            self._update(lane)
            admitted.append(job)
        if self._waiting_scans:
            self._expire(self._scans, now)
        while self._waiting_scans and self.scans < SCANS_AT_ONCE:
            _, scan = self._waiting_scans.popitem(last=False)
            self._scans[scan.id] = _latest_end(scan, now)
            admitted.append(scan)
        return admitted

    def _expire(self, running: dict[JobId, float], now: float) -> None:
        for job in [job for job, end in running.items() if end <= now]:
            self.release(job)

    def _next_lane(self) -> Lane | None:
        """Return where the next job is started, ``None`` if there is no job or no place for it."""
        if self.limit and len(self) >= self.limit:
            return None
        may_try_unreached = self._unreached and self._leaves_places_to_live_portals()
        if may_try_unreached and (self.limit > 1 or not self._live):
            return next(iter(self._unreached))
        return next(iter(self._live), None)

    def _leaves_places_to_live_portals(self) -> bool:
        """Whether one more attempt at a portal that may not answer leaves enough places."""
        if self.limit <= 1:
            return True
        taken = sum(self._lanes[job][0] not in self._reached for job in self._running)
        return taken < self.limit - max(1, self.limit // 4)

    def _drop_waiting(self, lane: Lane, jobs: list[JobId]) -> None:
        for job in jobs:
            del self._waiting[lane][job]
            del self._lanes[job]
        self._update(lane)

    def _update(self, lane: Lane) -> None:
        """Let a portal take turns if it has a job that may start, at first behind all others."""
        if not self._waiting.get(lane):
            self._waiting.pop(lane, None)
        if self._running_in[lane] <= 0:
            del self._running_in[lane]
        portal, of_discoveries = lane
        is_live = portal in self._reached
        is_free = is_live or of_discoveries or lane not in self._running_in
        has_turn = lane in self._waiting and is_free
        for turns, belongs in ((self._live, is_live), (self._unreached, not is_live)):
            if not (has_turn and belongs):
                turns.pop(lane, None)
            else:
                turns.setdefault(lane)


def _latest_end(job: Job, now: float) -> float:
    return now + job.deadline + GRACE if job.deadline else inf
