"""Recovery and adoption with a real kernel: no byte lost, nothing left half-made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.devices.sysfs import Sysfs
from iscsid.facts import ConnectionLost, SessionDestroyed, SessionRefused, SessionUnbound
from iscsid.kernel import iscsi_if
from iscsid.kernel.connection import Connections
from iscsid.kernel.interface import Kernel
from iscsid.kernel.kernel_parameters import session_settings
from iscsid.kernel.netlink import RequestSocket
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Digest
from tests.vm import disks, kernel_helpers, resets
from tests.vm.conftest import with_tgtd
from tests.vm.sessions import attribute, connection_attribute, session_ids
from tests.vm.tgtd import Tgtd
from tests.vm.workload import writing


def cut_connections() -> None:
    """Reset every connection to the target's port."""
    assert resets.reset(theirs=kernel_helpers.PORTAL.port)


@pytest.mark.both_kernels
@pytest.mark.parametrize("digest", Digest)
def test_writes_go_on_over_broken_connections(
    digest: Digest, kernel: Kernel, tmp_path: Path
) -> None:
    session = kernel_helpers.start(kernel, digest=digest)
    disk = kernel_helpers.disk_of(session, 1)
    with writing([disk], tmp_path / "record") as workload:
        for _ in range(3):
            workload.wait_for_progress()
            cut_connections()
            assert kernel_helpers.until_event(kernel, ConnectionLost).sid == session.sid
            cmd_sn = kernel_helpers.learn(kernel, session.sid)
            assert kernel_helpers.learn(kernel, session.sid) == cmd_sn
            assert kernel_helpers.resume(kernel, session.sid, cmd_sn, digest=digest) == session
            workload.wait_for_progress()
    assert kernel.read_events() == []


def test_healthy_connection_can_be_replaced_under_writes(kernel: Kernel, tmp_path: Path) -> None:
    session = kernel_helpers.start(kernel)
    disk = kernel_helpers.disk_of(session, 1)
    with writing([disk], tmp_path / "record") as workload:
        workload.wait_for_progress()
        cmd_sn = kernel_helpers.learn(kernel, session.sid)
        assert kernel.read_events() == [], "the echo of our own stop is no news"
        assert kernel_helpers.resume(kernel, session.sid, cmd_sn) == session
        workload.wait_for_progress()


@pytest.mark.both_kernels
def test_refused_resume_can_be_repeated(kernel: Kernel, image: Path) -> None:
    session = kernel_helpers.start(kernel)
    disk = kernel_helpers.disk_of(session, 1)
    cmd_sn = kernel_helpers.learn(kernel, session.sid)
    sock, description = kernel_helpers.log_in(cmd_sn=cmd_sn)
    sock.close()
    order = kernel_helpers.resume_order(session.sid, description)
    assert isinstance(kernel.resume_session(order, kernel_helpers.not_tcp()), SessionRefused)
    assert attribute(session.sid, "state") == "FAILED"
    assert (
        kernel_helpers.resume(kernel, session.sid, kernel_helpers.learn(kernel, session.sid))
        == session
    )
    disks.write_at_start(disk, b"after a refusal")
    disks.assert_starts_with(image, b"after a refusal")


def test_connection_that_breaks_again_during_the_login_is_recovered(kernel: Kernel) -> None:
    """The kernel refuses everything after an error until the connection is stopped."""
    session = kernel_helpers.start(kernel)
    sock, description = kernel_helpers.log_in(cmd_sn=kernel_helpers.learn(kernel, session.sid))
    order = kernel_helpers.resume_order(session.sid, description)
    assert kernel.resume_session(order, sock) == session
    cut_connections()
    kernel_helpers.until_event(kernel, ConnectionLost)
    assert (
        kernel_helpers.resume(kernel, session.sid, kernel_helpers.learn(kernel, session.sid))
        == session
    )
    assert kernel.list_sessions().sessions[0].connection_state == "up"


def test_session_whose_target_is_gone_can_be_destroyed(tgtd: Tgtd, image: Path) -> None:
    tgtd.add_target(kernel_helpers.TARGET, {1: image})
    with kernel_helpers.opened() as kernel:
        session = kernel_helpers.start(kernel)
        disk = kernel_helpers.disk_of(session, 1)
        tgtd.stop()
        kernel_helpers.until_event(kernel, ConnectionLost)
        kernel_helpers.until_destroyed(kernel, session.sid)
        assert not disk.exists() and session_ids() == []


@pytest.mark.both_kernels
def test_adopting_sends_nothing_and_receives_everything(kernel: Kernel, image: Path) -> None:
    session = kernel_helpers.start(kernel)
    disk = kernel_helpers.disk_of(session, 1)
    disks.run("udevadm", "settle", "--timeout=120")
    kernel.close()
    before = _traffic(session.sid)
    with kernel_helpers.opened() as successor:
        (found,) = successor.list_sessions().sessions
        successor.adopt(found.sid)
        assert _traffic(session.sid) == before
        disks.write_at_start(disk, b"adopted")
        disks.assert_starts_with(image, b"adopted")
        assert successor.apply_timeouts(found.sid, kernel_helpers.TIMEOUTS) is None
        cut_connections()
        assert kernel_helpers.until_event(successor, ConnectionLost).sid == session.sid
        cmd_sn = kernel_helpers.learn(successor, found.sid)
        assert kernel_helpers.resume(successor, found.sid, cmd_sn) == session
        kernel_helpers.until_destroyed(successor, found.sid)


def _traffic(sid: int) -> tuple[str, list[str]]:
    """Return the connection's local port, and what TCP has counted on it."""
    port = connection_attribute(sid, "local_port")
    shown = disks.run("ss", "-H", "-t", "-i", "-n", "sport", "=", port)
    return port, [word for word in shown.split() if word.startswith(("bytes_", "segs_"))]


def _only_a_session(requests: RequestSocket) -> int:
    return requests.ask(iscsi_if.create_session(1, 128, 32)).sid


def _connection_never_bound(requests: RequestSocket) -> int:
    sid = _only_a_session(requests)
    Connections(requests).create(sid)
    return sid


def _bound_but_not_started(requests: RequestSocket) -> int:
    sid = _only_a_session(requests)
    sock, description = kernel_helpers.log_in()
    with sock:
        Connections(requests).create(sid).bind(sock, session_settings(description))
    return sid


def _stopped_for_good(requests: RequestSocket) -> int:
    sid = _only_a_session(requests)
    Connections(requests).create(sid).end()
    return sid


HALF_MADE = [_only_a_session, _connection_never_bound, _bound_but_not_started, _stopped_for_good]


@with_tgtd
@pytest.mark.parametrize("make", HALF_MADE)
def test_half_made_session_can_be_adopted_and_destroyed(
    make: Callable[[RequestSocket], int], kernel: Kernel
) -> None:
    sid = _leave(make)
    assert [session.sid for session in kernel.list_sessions().sessions] == [sid]
    kernel.adopt(sid)
    kernel_helpers.until_destroyed(kernel, sid)
    assert session_ids() == []


@pytest.mark.parametrize("make", [_connection_never_bound, _bound_but_not_started])
def test_half_made_session_can_be_adopted_and_brought_up(
    make: Callable[[RequestSocket], int], kernel: Kernel, image: Path
) -> None:
    sid = _leave(make)
    kernel.adopt(sid)
    session = kernel_helpers.resume(kernel, sid, kernel_helpers.learn(kernel, sid))
    assert not isinstance(session, SessionRefused)
    disks.write_at_start(kernel_helpers.disk_of(session, 1), b"brought up")
    disks.assert_starts_with(image, b"brought up")


def _leave(make: Callable[[RequestSocket], int]) -> int:
    """Make half a session, as a daemon does that is killed on the way."""
    requests = RequestSocket.open(Sysfs().transport_handle())
    try:
        return make(requests)
    finally:
        requests.close()


@with_tgtd
def test_unbinding_of_an_adopted_session_is_reported(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    kernel_helpers.disk_of(session, 1)
    kernel.close()
    with kernel_helpers.opened() as successor:
        assert successor.unbind_session(session.sid) is None
        assert kernel_helpers.until_event(successor, SessionUnbound) == SessionUnbound(session.sid)
        assert successor.list_sessions().sessions[0].target_state == "UNBOUND"


@with_tgtd
def test_order_about_a_session_that_is_gone_is_refused(kernel: Kernel) -> None:
    sid = kernel_helpers.start(kernel).sid
    kernel_helpers.until_destroyed(kernel, sid)
    gone = SessionDestroyed(sid)
    assert kernel.unbind_session(sid) == gone
    assert kernel.send_logout(sid, "iscsid:0:0") == gone
    assert kernel.apply_timeouts(sid, kernel_helpers.TIMEOUTS) == gone
    assert kernel.destroy_session(sid) == gone


@with_tgtd
def test_persistent_portal_is_the_one_that_was_set(kernel: Kernel) -> None:
    """The address before a redirect is what a recovery goes back to."""
    session = kernel_helpers.start(kernel)
    cmd_sn = kernel_helpers.learn(kernel, session.sid)
    sock, description = kernel_helpers.log_in(cmd_sn=cmd_sn)
    moved = replace(description, portal=Portal("2001:db8::5", 3261))
    assert kernel.resume_session(kernel_helpers.resume_order(session.sid, moved), sock) == session
    (found,) = kernel.list_sessions().sessions
    assert found.persistent_portal == Portal("2001:db8::5", 3261)
