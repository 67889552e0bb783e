"""From the administrator's settings to iSCSI's and the kernel's."""

from __future__ import annotations

import pytest

from iscsid.config.settings import DigestPolicy, DiscoverySettings, SessionSettings, Timeouts
from iscsid.initiator.offers import discovery_offer, kernel_timeouts, session_offer
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Digest

PORTAL = Portal("192.0.2.1")


@pytest.mark.parametrize(
    ("policy", "digests"),
    [
        (DigestPolicy.ALWAYS, (Digest.CRC32C,)),
        (DigestPolicy.NEVER, (Digest.NONE,)),
        (DigestPolicy.PREFER_ON, (Digest.CRC32C, Digest.NONE)),
        (DigestPolicy.PREFER_OFF, (Digest.NONE, Digest.CRC32C)),
    ],
)
def test_each_digest_policy_is_an_ordered_offer(
    policy: DigestPolicy, digests: tuple[Digest, ...]
) -> None:
    offer = session_offer(SessionSettings(header_digest=policy, data_digest=policy))
    assert (offer.header_digest, offer.data_digest) == (digests, digests)


def test_the_first_burst_is_never_offered_longer_than_the_burst() -> None:
    offer = session_offer(SessionSettings(first_burst_length=262144, max_burst_length=65536))
    assert offer.first_burst_length == offer.max_burst_length == 65536


def test_a_session_asks_to_be_let_in_again_at_once() -> None:
    assert session_offer(SessionSettings()).default_time2wait == 0


def test_conn_fail_timeout_zero_is_for_ever() -> None:
    assert kernel_timeouts(SessionSettings(conn_fail_timeout=0)).recovery < 0
    assert kernel_timeouts(SessionSettings(conn_fail_timeout=90)).recovery == 90


@pytest.mark.parametrize(
    ("active", "idle", "ping", "expected"),
    [
        (5, 60, 5, (5, 5)),
        (0, 60, 7, (60, 7)),
        (30, 0, 7, (30, 7)),
        (0, 0, 7, (0, 0)),
        (5, 60, 0, (0, 0)),
    ],
)
def test_the_kernel_pings_after_the_shorter_silence_or_not_at_all(
    active: int, idle: int, ping: int, expected: tuple[int, int]
) -> None:
    timeouts = kernel_timeouts(
        SessionSettings(timeouts=Timeouts(active=active, idle=idle, ping=ping))
    )
    assert (timeouts.ping_interval, timeouts.ping_timeout) == expected


def test_async_text_is_asked_for_only_where_the_session_is_kept() -> None:
    keys = [key for key, _ in discovery_offer(DiscoverySettings(portal=PORTAL)).extra]
    assert keys == ["X-com.cisco.sendAsyncText"]
    assert discovery_offer(DiscoverySettings(portal=PORTAL, continuous=False)).extra == ()
    assert discovery_offer(DiscoverySettings(portal=PORTAL, send_async_text=False)).extra == ()
