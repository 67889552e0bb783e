"""A login that is only tried: reported, logged out of, and not passed on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.facts import LoginSucceeded, WorkerEnded
from iscsid.jobs import LoginJob
from iscsid.protocol.digests import crc32c
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Digest, Offer
from iscsid.protocol.pdu import LogoutRequest, Pdu
from iscsid.workers import login_worker
from tests.support.attempt_harness import ONE, run, success_of
from tests.support.jobs import login_job
from tests.support.scripted_portal import loopback_portal, scripted
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget


class SendsNothingMore(ScriptedTarget):
    """Lets everybody in, and then is silent, or closes the connection."""

    hangs_up = False

    def _receive(self, pdu: Pdu) -> None:
        if isinstance(pdu, LogoutRequest):
            self.is_closed = self.hangs_up
        else:
            super()._receive(pdu)


class HangsUp(SendsNothingMore):
    hangs_up = True


def trial(portal: Portal, offer: Offer | None = None) -> LoginJob:
    job = login_job(portal=portal)
    return replace(job, only_try=True, login=replace(job.login, offer=offer or Offer()))


def test_a_try_is_reported_and_logged_out_of_and_no_socket_comes_with_it() -> None:
    with scripted() as found:
        harness = run(trial(found.portal), found)
        (target,) = found.targets
    assert success_of(harness).portal == found.portal
    assert [type(fact) for fact in harness.facts] == [LoginSucceeded, WorkerEnded]
    assert isinstance(target.received[-1].pdu, LogoutRequest)
    with pytest.raises(KeyError):
        harness.supervisor.take_socket(ONE)


def test_a_try_that_is_no_try_logs_no_session_out() -> None:
    with scripted() as found:
        harness = run(login_job(portal=found.portal), found)
        harness.supervisor.take_socket(ONE).close()
        (target,) = found.targets
    assert not any(isinstance(received.pdu, LogoutRequest) for received in target.received)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (HangsUp, "logging out: the target closed the connection"),
        (SendsNothingMore, "logging out: no answer within 0.2 s"),
    ],
)
def test_a_target_that_does_not_answer_the_logout_has_still_been_logged_in_to(
    kind: type[ScriptedTarget], note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_worker, "LOGOUT", 0.2)
    with loopback_portal(lambda: kind(Script())) as found:
        harness = run(trial(found.portal), found)
    assert success_of(harness) and harness.ending_of(ONE).how is None
    assert note in harness.lines


def test_with_digests_the_request_carries_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_worker, "LOGOUT", 0.2)
    both = (Digest.CRC32C,)
    values = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
    # After the login this target knows no digests, and takes them for the beginning of a header.
    with loopback_portal(lambda: SendsNothingMore(Script(values=values))) as found:
        harness = run(trial(found.portal, Offer(header_digest=both, data_digest=both)), found)
        (target,) = found.targets
    assert success_of(harness).result.parameters.header_digest is Digest.CRC32C
    request = target.received[-1]
    assert isinstance(request.pdu, LogoutRequest) and target._octets == crc32c(request.octets)
