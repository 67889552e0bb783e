"""What follows from the reports of workers: discoveries, logins, scans. Pure."""

from __future__ import annotations

from typing import assert_never

from iscsid import facts
from iscsid.errors import Failure
from iscsid.facts import WorkerFact
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.lun_scanner import LunScanner
from iscsid.initiator.reconciler import Reconciler
from iscsid.initiator.session import Session
from iscsid.jobs import JobId
from iscsid.orders import CloseSocket


class OnWorkers:
    """Handles facts from the workers. Those of a job that has been withdrawn are ignored."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._outbox = reconciler.outbox

    def handle(self, fact: WorkerFact) -> None:
        match fact:
            case facts.TargetDiscovered(job, record):
                discovery = self._outbox.job_owner_of(job, Discovery)
                if discovery is not None:
                    discovery.reported(record)
            case facts.DiscoveryCompleted(job):
                discovery = self._outbox.job_owner_of(job, Discovery)
                if discovery is not None:
                    self._discovery_completed(discovery, fact)
            case facts.LoginSucceeded(job):
                self._login_succeeded(fact)
            case facts.ScanFinished(job, missing, absent):
                scanner = self._outbox.job_owner_of(job, LunScanner)
                self._outbox.forget_job(job)
                if scanner is not None:
                    scanner.finished(missing, absent)
            case facts.LoginFailed(job):
                session = self._outbox.job_owner_of(job, Session)
                if session is not None:
                    session.luns_replaced(fact.replaced)
                self._job_failed(job, fact.failure)
            case facts.DiscoveryFailed() | facts.ScanFailed():
                self._job_failed(fact.job_id, fact.failure)
            case facts.WorkerEnded():
                self._worker_ended(fact)
            case _:
                assert_never(fact)

    def _discovery_completed(self, discovery: Discovery, fact: facts.DiscoveryCompleted) -> None:
        affected = discovery.completed(fact)
        portal = discovery.settings.portal
        self._reconciler.portal_answered(portal)
        if discovery.has_confirmed:
            plans = (session.plan for session in self._reconciler.sessions)
            # Any address may have reported one more path to a target found elsewhere.
            affected |= {p.target_name for p in plans if p.path_name or p.found_at == portal}
        self._reconciler.reconcile(affected)
        self._reconciler.reconcile_orphans()

    def _login_succeeded(self, fact: facts.LoginSucceeded) -> None:
        session = self._outbox.job_owner_of(fact.job_id, Session)
        self._outbox.forget_job(fact.job_id)
        if session is not None:
            session.login_succeeded(fact)
        else:
            self._outbox.order(CloseSocket(fact.job_id))

    def _job_failed(self, job: JobId, failure: Failure) -> None:
        job_owner = self._outbox.job_owner(job)
        self._outbox.forget_job(job)
        if job_owner is not None:
            job_owner.job_failed(failure)

    def _worker_ended(self, fact: facts.WorkerEnded) -> None:
        self._outbox.release(fact.job_id)
        if fact.how is not None:
            self._job_failed(fact.job_id, fact.how)
            return
        job_owner = self._outbox.job_owner(fact.job_id)
        self._outbox.forget_job(fact.job_id)
        if job_owner is not None:
            job_owner.job_ended()
