"""Every keyword of iscsi.conf has an effect: where that is tested, and the half of the tests that
needs no kernel.

These tests go from the text of the file through the initiator to its orders and, if a target must
see the effect, on to a real worker and a scripted target. The other half is the table in
``tests/vm/keyword_cases.py``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from iscsid import facts
from iscsid.config.configuration import parse_configuration
from iscsid.config.keywords import BY_NAME, KEYWORDS
from iscsid.errors import Failure, Retry
from iscsid.facts import DiscoveryFailed, LoginFailed, TimerPurpose
from iscsid.initiator.retry import JITTER
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.protocol.names import Portal
from tests.support.harness import DISK, Harness, record
from tests.support.scripted_portal import AnswersOnce, LoopbackPortal, loopback_portal, scripted
from tests.support.supervisor_harness import WorkersHarness
from tests.target.login import split_text
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget
from tests.vm.keyword_cases import EFFECTS, Effect

NAME = "iqn.2003-02.org.example:disk"
REFUSED = Failure(Retry.SOON, "connection refused")
NOWHERE = Portal("192.0.2.1")

HERE = {
    "Continuous": "test_continuous_decides_whether_the_discovery_session_is_kept",
    "SendAsyncText": "test_send_async_text_is_asked_of_the_target",
    "PollInterval": "test_poll_interval_is_when_the_target_is_asked_again",
    **dict.fromkeys(
        (
            "DiscoveryCHAP",
            "DiscoveryUsername",
            "DiscoveryPassword",
            "DiscoveryIncomingUsername",
            "DiscoveryIncomingPassword",
        ),
        "test_discovery_has_credentials_of_its_own_or_none",
    ),
    "NetworkEntity": "test_network_entity_distinguishes_targets_of_one_name",
    "LoginTimeout": "test_login_timeout_and_auth_timeout_end_the_wait_for_an_answer",
    "AuthTimeout": "test_login_timeout_and_auth_timeout_end_the_wait_for_an_answer",
    "LoginRetries": "test_login_retries_is_how_often_a_login_is_tried",
    "LoginRetryInterval": "test_login_retry_interval_is_the_longest_pause",
}
"""Keywords that do not reach the kernel, and the tests below that prove them."""


def test_every_keyword_has_its_proof_and_no_keyword_two() -> None:
    proofs = Counter([*HERE, *(effect.keyword for effect in EFFECTS)])
    assert proofs == Counter(row.name for row in KEYWORDS)
    assert all(test in globals() for test in HERE.values())


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.keyword)
def test_a_row_changes_its_own_keyword_and_shows_two_things(effect: Effect) -> None:
    keyword = BY_NAME[effect.keyword.lower()]
    lines = [line for line, _ in (effect.first, effect.second)]
    assert all(line.partition("=")[0] in ("", *keyword.names) for line in lines)
    assert effect.first[1] != effect.second[1]
    for line in lines:
        parse_configuration("\n".join(effect.entry(effect.name, line)), "f")


# --- the initiator ------------------------------------------------------------------------------


def begun(*lines: str) -> Harness:
    """A daemon that has read this file and found nothing in the kernel."""
    harness = Harness()
    harness.begin(parse_configuration("".join(f"{line}\n" for line in lines), "f"))
    return harness


def discovering(*settings: str, portal: Portal = NOWHERE) -> tuple[Harness, DiscoveryJob]:
    harness = begun(f"DiscoveryAddress={portal}", *settings)
    (job,) = harness.jobs
    assert isinstance(job, DiscoveryJob)
    return harness, job


def logging_in(*settings: str, portal: Portal = NOWHERE) -> tuple[Harness, LoginJob]:
    harness = begun(f"TargetName={NAME}", f" Address={portal}", *settings)
    (job,) = harness.jobs
    assert isinstance(job, LoginJob)
    return harness, job


def fail(harness: Harness) -> None:
    """Let the login ordered last fail."""
    harness.handle(LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))


@pytest.mark.parametrize(("setting", "keep"), [("", True), (" Continuous=no", False)])
def test_continuous_decides_whether_the_discovery_session_is_kept(setting: str, keep: bool) -> None:
    _, job = discovering(setting)
    assert job.keep == keep


@pytest.mark.parametrize("seconds", [0, 90, 3600])
def test_poll_interval_is_when_the_target_is_asked_again(seconds: int) -> None:
    harness, _ = discovering(" Continuous=no", f" PollInterval={seconds}")
    harness.discovered(record())
    polls = [at for timer, at in harness.timers.items() if timer.purpose.name == "RETRY_DISCOVERY"]
    assert polls == ([harness.now + seconds] if seconds else [])
    if seconds:
        harness.wait(TimerPurpose.RETRY_DISCOVERY)
        assert isinstance(harness.jobs[-1], DiscoveryJob)


def test_discovery_has_credentials_of_its_own_or_none() -> None:
    ours = (" Username=alice", " Password=open-tiger-gate")
    finder = (" DiscoveryUsername=finder", " DiscoveryPassword=a-finder-secret")
    vault = (" DiscoveryIncomingUsername=vault", " DiscoveryIncomingPassword=the-vault-secret")
    found = []
    for lines in (ours, (*ours, " DiscoveryCHAP=no"), (*ours, *finder), (*finder, *vault)):
        _, job = discovering(*lines)
        used = job.login.authentication
        found.append([each.username for each in (used.outgoing, used.incoming) if each])
    assert found == [["alice"], [], ["finder"], ["finder", "vault"]]


@pytest.mark.parametrize(("second", "logins"), [("", 1), (" NetworkEntity=b", 2)])
def test_network_entity_distinguishes_targets_of_one_name(second: str, logins: int) -> None:
    addresses = [Portal("192.0.2.1"), Portal("192.0.2.2")]
    lines = [f"DiscoveryAddress={addresses[0]}", f"DiscoveryAddress={addresses[1]}", second]
    harness = Harness()
    harness.begin(parse_configuration("".join(f"{line}\n" for line in lines), "f"))
    for job in [job for job in harness.jobs if isinstance(job, DiscoveryJob)]:
        found = facts.TargetDiscovered(job.id, record(DISK, job.portal))
        harness.handle(found, facts.DiscoveryCompleted(job.id))
    assert sum(isinstance(job, LoginJob) for job in harness.jobs) == logins


@pytest.mark.parametrize("retries", [1, 2, 5])
def test_login_retries_is_how_often_a_login_is_tried(retries: int) -> None:
    harness, _ = logging_in(f" LoginRetries={retries}")
    for _ in range(retries - 1):
        fail(harness)
        assert not harness.has_logged("giving up until SIGHUP")
        harness.wait(TimerPurpose.RETRY_LOGIN)
    fail(harness)
    assert harness.has_logged("giving up until SIGHUP") and len(harness.jobs) == retries
    assert not any(timer.purpose is TimerPurpose.RETRY_LOGIN for timer in harness.timers)


def pauses(*settings: str) -> list[float]:
    """Return the pauses between a dozen failed rounds."""
    harness, _ = logging_in(*settings)
    found = []
    for _ in range(12):
        fail(harness)
        before = harness.now
        harness.wait(TimerPurpose.RETRY_LOGIN)
        found.append(harness.now - before)
    return found


def test_login_retry_interval_is_the_longest_pause() -> None:
    assert max(pauses()) > 7
    assert 7 * (1 - JITTER) <= max(pauses(" LoginRetryInterval=7s")) <= 7


# --- down to a target ---------------------------------------------------------------------------


def done_with(job: DiscoveryJob | LoginJob, found: LoopbackPortal) -> WorkersHarness:
    """Do the job while the target answers."""
    harness = WorkersHarness()
    harness.others.append(found.serve)
    try:
        harness.run(job)
    finally:
        harness.close()
    return harness


def first_text(target: ScriptedTarget) -> dict[str, str]:
    """Return all that the initiator sent during login."""
    pairs = (split_text(octets[48:].rstrip(b"\0") + b"\0") for octets in target.login_requests)
    return {key: value for each in pairs for key, value in each}


@pytest.mark.parametrize(("setting", "asked"), [("", "Yes"), (" SendAsyncText=no", None)])
def test_send_async_text_is_asked_of_the_target(setting: str, asked: str | None) -> None:
    with scripted(Script()) as found:
        _, job = discovering(setting, portal=found.portal)
        done_with(replace(job, keep=False), found)
        (target,) = found.targets
    assert first_text(target).get("X-com.cisco.sendAsyncText") == asked


@pytest.mark.parametrize("kind", ["discovery", "login"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("LoginTimeout=1", "AuthTimeout=50"), "no answer within 1 s"),
        (("LoginTimeout=50", "AuthTimeout=1"), "no answer within the 1 s for authentication"),
    ],
    ids=["LoginTimeout", "AuthTimeout"],
)
def test_login_timeout_and_auth_timeout_end_the_wait_for_an_answer(
    kind: str, settings: tuple[str, ...], words: str
) -> None:
    lines = [f" {each}" for each in settings]
    with loopback_portal(AnswersOnce) as silent:
        job: DiscoveryJob | LoginJob
        if kind == "discovery":
            _, job = discovering(*lines, portal=silent.portal)
        else:
            _, job = logging_in(*lines, portal=silent.portal)
        harness = done_with(job, silent)
    (failed,) = (fact for fact in harness.facts if isinstance(fact, LoginFailed | DiscoveryFailed))
    assert failed.failure.what == f"logging in: {words}"
