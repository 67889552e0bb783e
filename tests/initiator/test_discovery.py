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
from tests.support.harness import DISK, PORTAL, Harness, configuration, kinds, record

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "not authorised")
ASKED = DiscoverySettings(portal=PORTAL)


def harness_with(settings: DiscoverySettings) -> Harness:
    harness = Harness()
    harness.begin(Configuration(discoveries=(settings,)))
    return harness


def retries(harness: Harness) -> bool:
    return any(timer.purpose is TimerPurpose.RETRY_DISCOVERY for timer in harness.timers)


def test_a_discovery_that_fails_is_tried_again_and_its_half_answer_forgotten() -> None:
    harness = harness_with(ASKED)
    job = harness.job
    given = harness.handle(
        facts.TargetDiscovered(job, record()),
        facts.DiscoveryFailed(job, REFUSED),
        facts.WorkerEnded(job),
    )
    assert given == [], "half an answer starts no login"
    (order,) = harness.wait(TimerPurpose.RETRY_DISCOVERY)
    assert isinstance(order, StartWorker) and isinstance(order.job, DiscoveryJob)
    assert harness.discovered() == []


def test_a_final_refusal_waits_for_sighup() -> None:
    """Linux-iSCSI: a rejected discovery login is final until SIGHUP or restart."""
    harness = harness_with(ASKED)
    harness.handle(facts.DiscoveryFailed(harness.job, FINAL), facts.WorkerEnded(harness.job))
    assert not retries(harness) and harness.has_logged("giving up until SIGHUP")


def test_a_final_refusal_after_an_answer_is_tried_again_slowly() -> None:
    harness = harness_with(replace(ASKED, poll_interval=60))
    harness.discovered(record())
    harness.wait(TimerPurpose.RETRY_DISCOVERY)
    harness.handle(facts.DiscoveryFailed(harness.job, FINAL), facts.WorkerEnded(harness.job))
    assert retries(harness)


def test_the_poll_interval_asks_again_on_the_timer() -> None:
    harness = harness_with(replace(ASKED, poll_interval=300))
    harness.discovered()
    began = harness.now
    (order,) = harness.wait(TimerPurpose.RETRY_DISCOVERY)
    assert isinstance(order, StartWorker) and harness.now == began + 300


def test_without_a_poll_interval_it_is_asked_once() -> None:
    harness = harness_with(replace(ASKED, continuous=False))
    harness.discovered()
    assert not retries(harness)


def test_a_kept_session_that_ends_after_a_while_is_made_again() -> None:
    harness = harness_with(ASKED)
    job = harness.job
    harness.discovered(record(), kept=True)
    harness.now += STABLE_AFTER
    harness.handle(facts.WorkerEnded(job))
    (order,) = harness.wait(TimerPurpose.RETRY_DISCOVERY)
    assert isinstance(order, StartWorker) and isinstance(order.job, DiscoveryJob)
    assert order.job.keep


def test_a_target_that_keeps_no_discovery_session_is_asked_once() -> None:
    harness = harness_with(ASKED)
    job = harness.job
    harness.discovered(record(), kept=True)
    harness.now += 1
    harness.handle(facts.WorkerEnded(job))
    assert not retries(harness) and harness.has_logged("does not keep discovery sessions")
    harness.reload(Configuration(discoveries=(ASKED,)))
    discovery = [j for j in harness.jobs if isinstance(j, DiscoveryJob)][-1]
    assert discovery.id != job and not discovery.keep


def test_several_sighups_while_it_is_asked_become_one_more_run() -> None:
    harness = harness_with(ASKED)
    for _ in range(5):
        harness.reload(Configuration(discoveries=(ASKED,)))
    given = harness.discovered()
    assert len([o for o in given if isinstance(o, StartWorker)]) == 1
    assert not [o for o in harness.discovered() if isinstance(o, StartWorker)]


def test_changed_settings_end_the_job_that_works_with_the_old_ones() -> None:
    harness = harness_with(ASKED)
    job = harness.job
    harness.discovered(record(), kept=True)
    changed = replace(ASKED, send_async_text=False)
    given = harness.reload(Configuration(discoveries=(changed,)))
    assert orders.StopWorker(job) in given
    assert any(isinstance(o, StartWorker) and isinstance(o.job, DiscoveryJob) for o in given)


def test_notes_about_skipped_records_reach_the_log() -> None:
    harness = harness_with(ASKED)
    harness.handle(facts.DiscoveryCompleted(harness.job, notes=("portal 0.0.0.0 is unusable",)))
    assert harness.has_logged(str(PORTAL), "0.0.0.0")


def test_a_note_of_the_answer_before_is_not_logged_again() -> None:
    """A target that announces changes without end is asked again and again."""
    harness = harness_with(ASKED)
    for note in ("StatSN was odd", "StatSN was odd", "an address was odd"):
        harness.handle(facts.DiscoveryCompleted(harness.job, kept=True, notes=(note,)))
    assert sum("StatSN was odd" in line for line in harness.log) == 1
    assert harness.has_logged("an address was odd")


def test_reports_of_a_withdrawn_job_are_ignored() -> None:
    harness = harness_with(ASKED)
    job = harness.job
    harness.reload(Configuration())
    assert (
        harness.handle(facts.TargetDiscovered(job, record()), facts.DiscoveryCompleted(job)) == []
    )
    assert not harness.has_logged(DISK)


def test_sighup_is_not_lost_with_the_discovery_session_that_was_asked_again() -> None:
    """The connection breaks before the answer; nothing else would ask this address again."""
    harness = Harness()
    harness.up()
    harness.reload(configuration(PORTAL))
    kept = next(job for job in reversed(harness.jobs) if isinstance(job, DiscoveryJob)).id
    harness.handle(
        facts.TargetDiscovered(kept, record()), facts.DiscoveryCompleted(kept, kept=True)
    )
    assert orders.AskAgain(kept) in harness.reload(configuration(PORTAL))
    given = harness.handle(facts.WorkerEnded(kept))
    assert kinds(given) == ["DiscoveryJob"]
    given = harness.handle(facts.DiscoveryCompleted(harness.job, kept=True))
    assert "CheckDiskUsers" in kinds(given), "a target that is gone keeps its session"


def test_an_answer_that_had_begun_before_sighup_takes_no_target_away() -> None:
    harness = Harness()
    harness.up()
    harness.reload(configuration(PORTAL))
    asking = next(job for job in reversed(harness.jobs) if isinstance(job, DiscoveryJob)).id
    assert orders.AskAgain(asking) not in harness.reload(configuration(PORTAL))
    given = harness.handle(facts.DiscoveryCompleted(asking, kept=True))
    assert kinds(given) == ["AskAgain"]
    assert "CheckDiskUsers" in kinds(harness.handle(facts.DiscoveryCompleted(asking, kept=True)))
