"""One DiscoveryAddress: when it is asked, what it knows, and what it does when it fails."""

from __future__ import annotations

from dataclasses import replace

from iscsid import facts, orders
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.initiator.retry import STABLE_AFTER
from iscsid.jobs import DiscoveryJob
from iscsid.orders import StartWorker
from tests.support.harness import DISK, PORTAL, Stage, record

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "not authorised")
ASKED = DiscoverySettings(portal=PORTAL)


def stage_with(settings: DiscoverySettings) -> Stage:
    stage = Stage()
    stage.begin(Configuration(discoveries=(settings,)))
    return stage


def retries(stage: Stage) -> bool:
    return any(timer.purpose is TimerPurpose.RETRY_DISCOVERY for timer in stage.timers)


def test_a_discovery_that_fails_is_tried_again_and_its_half_answer_forgotten() -> None:
    stage = stage_with(ASKED)
    job = stage.job
    given = stage.tell(
        facts.TargetDiscovered(job, record()),
        facts.DiscoveryFailed(job, REFUSED),
        facts.WorkerEnded(job),
    )
    assert given == [], "half an answer starts no login"
    (order,) = stage.wait(TimerPurpose.RETRY_DISCOVERY)
    assert isinstance(order, StartWorker) and isinstance(order.job, DiscoveryJob)
    assert stage.discovered() == []


def test_a_final_refusal_waits_for_sighup() -> None:
    """Linux-iSCSI: a rejected discovery login is final until SIGHUP or restart."""
    stage = stage_with(ASKED)
    stage.tell(facts.DiscoveryFailed(stage.job, FINAL), facts.WorkerEnded(stage.job))
    assert not retries(stage) and stage.said("giving up until SIGHUP")


def test_a_final_refusal_after_an_answer_is_tried_again_slowly() -> None:
    stage = stage_with(replace(ASKED, poll_interval=60))
    stage.discovered(record())
    stage.wait(TimerPurpose.RETRY_DISCOVERY)
    stage.tell(facts.DiscoveryFailed(stage.job, FINAL), facts.WorkerEnded(stage.job))
    assert retries(stage)


def test_the_poll_interval_asks_again_on_the_timer() -> None:
    stage = stage_with(replace(ASKED, poll_interval=300))
    stage.discovered()
    began = stage.now
    (order,) = stage.wait(TimerPurpose.RETRY_DISCOVERY)
    assert isinstance(order, StartWorker) and stage.now == began + 300


def test_without_a_poll_interval_it_is_asked_once() -> None:
    stage = stage_with(replace(ASKED, continuous=False))
    stage.discovered()
    assert not retries(stage)


def test_a_kept_session_that_ends_after_a_while_is_made_again() -> None:
    stage = stage_with(ASKED)
    job = stage.job
    stage.discovered(record(), kept=True)
    stage.now += STABLE_AFTER
    stage.tell(facts.WorkerEnded(job))
    (order,) = stage.wait(TimerPurpose.RETRY_DISCOVERY)
    assert isinstance(order, StartWorker) and isinstance(order.job, DiscoveryJob)
    assert order.job.keep


def test_a_target_that_keeps_no_discovery_session_is_asked_once() -> None:
    stage = stage_with(ASKED)
    job = stage.job
    stage.discovered(record(), kept=True)
    stage.now += 1
    stage.tell(facts.WorkerEnded(job))
    assert not retries(stage) and stage.said("does not keep discovery sessions")
    stage.reload(Configuration(discoveries=(ASKED,)))
    discovery = [j for j in stage.jobs if isinstance(j, DiscoveryJob)][-1]
    assert discovery.id != job and not discovery.keep


def test_several_sighups_while_it_is_asked_become_one_more_run() -> None:
    stage = stage_with(ASKED)
    for _ in range(5):
        stage.reload(Configuration(discoveries=(ASKED,)))
    given = stage.discovered()
    assert len([o for o in given if isinstance(o, StartWorker)]) == 1
    assert not [o for o in stage.discovered() if isinstance(o, StartWorker)]


def test_changed_settings_end_the_child_that_works_with_the_old_ones() -> None:
    stage = stage_with(ASKED)
    job = stage.job
    stage.discovered(record(), kept=True)
    changed = replace(ASKED, send_async_text=False)
    given = stage.reload(Configuration(discoveries=(changed,)))
    assert orders.StopWorker(job) in given
    assert any(isinstance(o, StartWorker) and isinstance(o.job, DiscoveryJob) for o in given)


def test_notes_about_skipped_records_reach_the_log() -> None:
    stage = stage_with(ASKED)
    stage.tell(facts.DiscoveryCompleted(stage.job, notes=("portal 0.0.0.0 is unusable",)))
    assert stage.said(str(PORTAL), "0.0.0.0")


def test_what_a_stopped_child_still_says_counts_for_nothing() -> None:
    stage = stage_with(ASKED)
    job = stage.job
    stage.reload(Configuration())
    assert stage.tell(facts.TargetDiscovered(job, record()), facts.DiscoveryCompleted(job)) == []
    assert not stage.said(DISK)
