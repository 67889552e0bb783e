"""The status shows what the initiator knows, in the time of day, and without a secret."""

from __future__ import annotations

from dataclasses import replace

from iscsid import facts
from iscsid.bindings.binding import Binding
from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.facts import Device, DeviceAppeared
from iscsid.initiator.snapshot import take_snapshot
from iscsid.protocol.parameters import Authentication, Credentials
from iscsid.secret import Secret
from iscsid.status.model import Status, to_json
from tests.support.harness import DISK, HOST, PORTAL, SECOND, Harness, configuration, kernel_session
from tests.support.harness import record as discovered_record

CLOCK = 1_700_000_000.0
MUTUAL = Authentication(
    Credentials("alice", Secret("wonderland-1342")), Credentials("hatter", Secret("teapot-987654"))
)


def look(harness: Harness) -> Status:
    return take_snapshot(
        harness.initiator.reconciler,
        now=harness.now,
        clock=CLOCK,
        version="4.0.0",
        pid=4711,
        basedir="/dev/iscsi",
    )


def disk(node: str = "sda", identity: str = "naa.1") -> DeviceAppeared:
    path = f"/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/{node}"
    return DeviceAppeared(
        Device(path=path, sid=1, lun=1, link="disk", node=f"/dev/{node}", wwid=identity)
    )


def test_daemon_that_has_just_begun_shows_what_it_is_about_to_do() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    status = look(harness)
    assert (status.version, status.pid, status.basedir) == ("4.0.0", 4711, "/dev/iscsi")
    assert (status.initiator_name, status.bindings, status.sessions) == (HOST, 0, [])
    assert status.written == CLOCK + harness.now
    (discovery,) = status.discoveries
    assert (discovery.address, discovery.state) == (str(PORTAL), "asking")
    assert discovery.targets is None and not discovery.last_error


def test_failure_is_shown_with_its_reason_and_the_next_attempt() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    failure = Failure(Retry.SOON, "connection refused", "start the target")
    harness.handle(facts.DiscoveryFailed(harness.jobs[-1].id, failure))
    (discovery,) = look(harness).discoveries
    assert discovery.last_error == "connection refused; start the target"
    assert discovery.next_attempt is not None and discovery.next_attempt > CLOCK + harness.now


def test_session_that_is_up_shows_all_that_was_agreed() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(discovered_record(DISK, PORTAL, SECOND))
    harness.now += 5
    harness.logged_in()
    harness.handle(facts.SessionStarted(Binding(0, 0), 1, 2))
    harness.handle(disk())
    (session,) = look(harness).sessions
    assert (session.bus, session.target, session.target_name) == (0, 0, DISK)
    assert (session.state, session.since) == ("up", CLOCK + harness.now)
    assert session.portal == session.connected_to == str(PORTAL)
    assert session.portals == [str(PORTAL), str(SECOND)] and session.found_at == str(PORTAL)
    assert session.initiator_name == HOST
    assert session.negotiated["MaxBurstLength"] == 262144
    assert [(lun.lun, lun.links) for lun in session.luns] == [(1, {"disk": "/dev/sda"})]


def test_replaced_unit_is_shown_as_such() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session())
    harness.handle(disk(), disk(identity="naa.2"))
    (session,) = look(harness).sessions
    assert [(lun.lun, lun.links, lun.replaced) for lun in session.luns] == [(1, {}, True)]


def test_lun_that_is_gone_but_in_use_is_shown_as_such() -> None:
    harness = Harness()
    harness.up()
    harness.handle(disk())
    harness.reload(configuration(PORTAL))
    harness.handle(
        facts.ScanFinished(harness.job, (1,)), facts.LunUsersChecked(1, ((1, ("mounted",)),))
    )
    (session,) = look(harness).sessions
    assert [(lun.lun, lun.gone) for lun in session.luns] == [(1, True)]


def test_lun_that_is_no_longer_wanted_is_shown_as_such() -> None:
    harness = Harness()
    harness.up()
    harness.handle(disk())
    harness.reload(configuration(PORTAL, settings=SessionSettings(luns=frozenset({2}))))
    harness.discovered(discovered_record())
    (session,) = look(harness).sessions
    assert [(lun.lun, lun.links, lun.permitted) for lun in session.luns] == [(1, {}, False)]


def test_adopted_session_has_no_login_to_show() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session())
    (session,) = look(harness).sessions
    assert (session.state, session.sid, session.negotiated) == ("up", 1, {})
    assert session.isid == "80aabbcc0000" and session.tsih is None


def test_sessions_are_in_the_order_of_their_numbers() -> None:
    harness = Harness()
    found = [
        replace(
            kernel_session(sid, name=f"{DISK}{sid}"), session_tag=f"iscsid:{bus}:0:80aabbcc0000"
        )
        for sid, bus in ((1, 10), (2, 2), (3, 0))
    ]
    harness.begin(configuration(PORTAL), *found)
    shown = [Binding(each.bus or 0, each.target or 0) for each in look(harness).sessions]
    assert shown == sorted(shown) and len(shown) == 3


def test_no_secret_is_ever_shown() -> None:
    harness = Harness()
    settings = SessionSettings(authentication=MUTUAL)
    harness.begin(configuration(PORTAL, settings=settings))
    harness.discovered(discovered_record())
    harness.logged_in()
    harness.handle(facts.SessionStarted(Binding(0, 0), 1, 2))
    shown = to_json(look(harness))
    assert DISK in shown
    for word in ("wonderland", "teapot", "alice", "hatter", "Secret"):
        assert word not in shown
