"""What the children said, and to whom it matters. Pure."""

from __future__ import annotations

from iscsid import facts
from iscsid.errors import Failure, Retry
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.lun_scanner import LunScanner
from iscsid.initiator.outbox import JobOwner
from iscsid.initiator.reconciler import Handlers, Reconciler
from iscsid.initiator.session import Session
from iscsid.jobs import JobId
from iscsid.orders import CloseSocket


class WorkerFacts:
    """Facts from the children, by way of their keeper."""

    def __init__(self, inventory: Reconciler) -> None:
        self._inventory = inventory
        self._outbox = inventory.outbox
        self.handlers: Handlers = {
            facts.TargetDiscovered: self._target_discovered,
            facts.DiscoveryCompleted: self._discovery_completed,
            facts.DiscoveryFailed: self._job_failed,
            facts.LoginSucceeded: self._login_succeeded,
            facts.LoginFailed: self._job_failed,
            facts.ScanFinished: self._scan_finished,
            facts.ScanFailed: self._job_failed,
            facts.WorkerEnded: self._worker_ended,
        }

    def _target_discovered(self, fact: facts.TargetDiscovered) -> None:
        discovery = self._outbox.employer(fact.job_id)
        if isinstance(discovery, Discovery):
            discovery.reported(fact.record)

    def _discovery_completed(self, fact: facts.DiscoveryCompleted) -> None:
        discovery = self._outbox.employer(fact.job_id)
        if isinstance(discovery, Discovery):
            affected = discovery.completed(fact)
            portal = discovery.settings.portal
            self._inventory.portal_answered(portal)
            if discovery.has_confirmed:
                paths = (session.path for session in self._inventory.sessions)
                # Any address may have reported one more path to a target found elsewhere.
                affected |= {p.target_name for p in paths if p.name or p.found_at == portal}
            self._inventory.reconcile(affected)
            self._inventory.reconcile_orphans()

    def _login_succeeded(self, fact: facts.LoginSucceeded) -> None:
        session = self._outbox.employer(fact.job_id)
        self._outbox.forget_job(fact.job_id)
        if isinstance(session, Session):
            session.login_succeeded(fact)
        else:
            self._outbox.order(CloseSocket(fact.job_id))

    def _scan_finished(self, fact: facts.ScanFinished) -> None:
        scans = self._outbox.employer(fact.job_id)
        self._outbox.forget_job(fact.job_id)
        if isinstance(scans, LunScanner):
            scans.finished(fact.missing)

    def _job_failed(
        self, fact: facts.DiscoveryFailed | facts.LoginFailed | facts.ScanFailed
    ) -> None:
        self._tell_failure(fact.job_id, fact.failure)

    def _worker_ended(self, fact: facts.WorkerEnded) -> None:
        self._outbox.release(fact.job_id)
        if fact.how is not None:
            self._tell_failure(fact.job_id, fact.how)
            return
        employer = self._outbox.employer(fact.job_id)
        self._outbox.forget_job(fact.job_id)
        if isinstance(employer, Discovery):
            employer.ended()
        elif employer is not None:
            silence = Failure(Retry.SOON, "the child ended without a word")
            self._fail(employer, silence)

    def _tell_failure(self, job: JobId, failure: Failure) -> None:
        employer = self._outbox.employer(job)
        self._outbox.forget_job(job)
        if employer is not None:
            self._fail(employer, failure)

    def _fail(self, employer: JobOwner, failure: Failure) -> None:
        if isinstance(employer, Session):
            employer.login_failed(failure)
        elif isinstance(employer, Discovery):
            employer.failed(failure)
            self._inventory.reconcile_orphans()
        elif isinstance(employer, LunScanner):
            employer.failed(failure)
