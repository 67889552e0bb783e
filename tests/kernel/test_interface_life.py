"""The kernel interface: orders for a running session, the kernel's events, and checks of disks."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.errors import IscsidError
from iscsid.facts import (
    ConnectionLost,
    PduReceived,
    RequestRefused,
    SessionDestroyed,
    SessionUnbound,
    TimeoutsRefused,
)
from iscsid.kernel import interface
from iscsid.kernel.interface import Kernel, refuse_unsupported_kernel
from iscsid.kernel.iscsi_if import Command
from tests.support.kernel_fixture import KernelSetup, kernel_setup
from tests.support.sysfs_tree import SESSION
from tests.vm.kernel_helpers import TIMEOUTS

LEAVING = "iscsid-leaving:0:0:80aabbcc0000"


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[KernelSetup]:
    with kernel_setup(tmp_path) as setup:
        yield setup


# --- the rest of a session's life ---------------------------------------------------------------


def test_timeouts_reach_a_session_that_is_up(setup: KernelSetup) -> None:
    setup.start()
    assert setup.interface.apply_timeouts(1, replace(TIMEOUTS, recovery=77)) is None
    there = setup.kernel.sessions[1]
    assert there is not None and there.parameters[19] == "77"


def test_timeouts_of_a_session_that_is_down_wait_for_its_return(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.refusals[Command.SET_PARAM] = errno.ENOTCONN
    assert setup.interface.apply_timeouts(1, TIMEOUTS) is None
    setup.kernel.refusals.clear()
    setup.interface.learn_cmd_sn(1)
    setup.kernel.asked.clear()
    assert setup.interface.apply_timeouts(1, TIMEOUTS) is None
    assert setup.kernel.asked == []


def test_refused_timeouts_are_reported(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.refusals[Command.SET_PARAM] = errno.EPERM
    fact = setup.interface.apply_timeouts(1, TIMEOUTS)
    assert isinstance(fact, TimeoutsRefused) and "EPERM" in fact.failure.what


def test_logout_is_a_request_to_close_the_session(setup: KernelSetup) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        setup.start(ours)
        assert setup.interface.send_logout(1, LEAVING) is None
        assert theirs.recv(64)[:2] == b"\x46\x80"
    there = setup.kernel.sessions[1]
    assert there is not None and there.parameters[32] == LEAVING


def test_logout_of_a_session_that_is_down_is_refused(setup: KernelSetup) -> None:
    setup.start()
    setup.interface.learn_cmd_sn(1)
    fact = setup.interface.send_logout(1, LEAVING)
    assert isinstance(fact, RequestRefused) and "ENOTCONN" in fact.failure.what


def test_unbinding_what_is_unbound_is_over_at_once(setup: KernelSetup) -> None:
    setup.start()
    assert setup.interface.unbind_session(1) is None
    (setup.tree.root / "class/iscsi_session/session1/target_state").write_text("UNBOUND\n")
    setup.kernel.asked.clear()
    assert setup.interface.unbind_session(1) == SessionUnbound(1)
    assert setup.kernel.asked == []


def test_destroyed_session_is_gone_and_its_end_reported_once(setup: KernelSetup) -> None:
    setup.start()
    assert setup.interface.destroy_session(1) is None
    assert setup.kernel.sessions == {}
    assert setup.interface.destroy_session(1) is None  # sysfs shows it still
    setup.kernel.report(104, 101, 1)
    setup.kernel.report(104, 101, 1)
    assert setup.interface.read_events() == [SessionDestroyed(1)]


def test_session_without_a_connection_can_be_destroyed(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.lose_connection(1)
    setup.interface.adopt(1)
    assert setup.interface.destroy_session(1) is None
    assert setup.kernel.sessions == {}


def test_refused_destruction_is_reported_and_can_be_tried_again(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.refusals[Command.DESTROY_SESSION_ASYNC] = errno.EBUSY
    assert isinstance(setup.interface.destroy_session(1), RequestRefused)
    setup.kernel.refusals.clear()
    assert setup.interface.destroy_session(1) is None
    assert setup.kernel.sessions == {}


def test_every_order_about_a_session_that_is_gone_is_refused(setup: KernelSetup) -> None:
    setup.start()
    setup.vanish()
    gone = SessionDestroyed(1)
    assert setup.interface.apply_timeouts(1, TIMEOUTS) == gone
    assert setup.interface.send_logout(1, LEAVING) == gone
    assert setup.interface.unbind_session(1) == gone
    assert setup.interface.destroy_session(1) == gone


# --- events ------------------------------------------------------------------------------------


def test_events_of_other_programs_are_not_ours(setup: KernelSetup) -> None:
    setup.start()
    for sid in (1, 2):
        setup.kernel.report(101, sid, 0, 0, 0, payload=bytes(48))
        setup.kernel.report(105, sid, 7)
    assert setup.interface.read_events() == [PduReceived(1, bytes(48), b""), SessionUnbound(1)]


def test_broken_connection_is_reported(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.report(102, 1, 0, 1020)
    assert setup.interface.read_events() == [ConnectionLost(1, "the target closed the connection")]


def test_echo_of_our_own_stop_is_no_news(setup: KernelSetup) -> None:
    setup.start()
    setup.interface.learn_cmd_sn(1)
    setup.kernel.report(102, 1, 0, 1020)
    assert setup.interface.read_events() == []


def test_session_that_went_by_itself_is_forgotten(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.report(104, 101, 1)
    setup.kernel.report(105, 1, 101)
    assert setup.interface.read_events() == [SessionDestroyed(1)]


def test_events_of_an_adopted_session_are_ours(setup: KernelSetup) -> None:
    setup.interface.adopt(5)
    setup.kernel.report(102, 5, 0, 1022)
    assert [type(fact) for fact in setup.interface.read_events()] == [ConnectionLost]


def test_look_shows_all_sessions(setup: KernelSetup) -> None:
    setup.start()
    setup.tree.add_session(8, 9, session=SESSION | {"ifacename": "default"})
    assert [session.sid for session in setup.interface.list_sessions().sessions] == [1, 8]


@pytest.mark.parametrize(
    ("release", "largest", "name"),
    [
        ("4.19.0-27-amd64", 2**63 - 1, "Linux 4.19.0-27-amd64 is"),
        ("5.9.16", 2**63 - 1, "Linux 5.9.16 is"),
        ("6.1.0-56-686", 2**31 - 1, "Linux 6.1.0-56-686 in 32 bits is"),
    ],
)
def test_kernel_with_another_interface_is_refused_in_a_sentence(
    release: str, largest: int, name: str
) -> None:
    with pytest.raises(IscsidError) as refused:
        refuse_unsupported_kernel(release, largest)
    assert str(refused.value).startswith(
        f"{name} not supported: iscsid needs Linux 5.10 or later, in 64 bits"
    )


@pytest.mark.parametrize("release", ["5.10.0-35-amd64", "6.1.0-56-amd64", "7.3.4", "10.0", "x"])
def test_kernel_of_a_known_interface_is_accepted(release: str) -> None:
    refuse_unsupported_kernel(release, 2**63 - 1)


def test_machine_without_the_interface_gets_advice() -> None:
    if Path("/sys/class/iscsi_transport/tcp").exists():
        pytest.skip("this machine has iSCSI over TCP")
    with pytest.raises(IscsidError, match="modprobe iscsi_tcp"):
        Kernel.open()


def test_sessions_that_are_known_are_listed_by_what_may_change(setup: KernelSetup) -> None:
    """With 1,000 sessions, reading all of each took half a second of the loop, twice a minute."""
    setup.tree.add_session(1, 101)
    setup.tree.add_session(2, 102, session=SESSION | {"targetname": "(null)"})
    (before, _) = setup.interface.list_sessions().sessions
    directory = setup.tree.root / "class/iscsi_session"
    for sid in (1, 2):
        (directory / f"session{sid}/targetname").write_text("iqn.2003-02.org.example:new")
        (directory / f"session{sid}/state").write_text("FAILED")
    first, second = setup.interface.list_sessions().sessions
    assert first == replace(before, state="FAILED")
    assert second.target_name == "iqn.2003-02.org.example:new", "it was not complete yet"


def test_look_at_many_sessions_is_taken_in_pieces(setup: KernelSetup) -> None:
    for sid in (1, 2, 3):
        setup.tree.add_session(sid, 100 + sid)
    assert setup.interface.look_deadline() is None
    setup.interface.begin_look()
    pieces = []
    while setup.interface.look_deadline() is not None:
        pieces.append(setup.interface.go_on_looking(0))
    assert len(pieces) > 3 and not any(pieces[:-1])
    (found,) = pieces[-1]
    assert [session.sid for session in found.sessions] == [1, 2, 3]
    assert setup.interface.go_on_looking(0) == []


def test_look_without_descriptors_shows_nothing_and_is_made_again(
    setup: KernelSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the daemon with a traceback."""

    def none_left() -> frozenset[int]:
        raise OSError(errno.EMFILE, "Too many open files", "/proc/net/netlink")

    setup.tree.add_session(1, 101)
    with monkeypatch.context() as patch:
        patch.setattr(interface, "open_ports", none_left)
        setup.interface.begin_look(7)
        assert setup.interface.go_on_looking(60) == []
    again = setup.interface.look_deadline()
    assert again is not None and again > time.monotonic() + interface.LOOK_AGAIN - 0.5
    (found,) = setup.interface.go_on_looking(60)
    assert ([session.sid for session in found.sessions], found.turn) == ([1], 7)


def test_session_that_goes_during_a_look_is_not_shown_by_it(setup: KernelSetup) -> None:
    """It would be taken for one that a killed daemon has left."""
    setup.start()
    setup.tree.add_session(8, 108)
    setup.interface.begin_look()
    setup.interface.go_on_looking(0)
    setup.kernel.report(104, 101, 1)
    setup.interface.read_events()
    (found,) = setup.interface.go_on_looking(60)
    assert [session.sid for session in found.sessions] == [8]


def test_look_that_is_ordered_during_another_shows_nothing_older(setup: KernelSetup) -> None:
    setup.tree.add_session(1, 101)
    setup.interface.begin_look()
    setup.interface.go_on_looking(0)
    state = setup.tree.root / "class/iscsi_session/session1/state"
    state.write_text("FAILED")
    setup.interface.begin_look()
    (found,) = setup.interface.go_on_looking(60)
    assert [session.state for session in found.sessions] == ["FAILED"]


def test_session_with_a_number_that_was_used_before_is_read_anew(setup: KernelSetup) -> None:
    """The kernel counts from 1 again when its module is reloaded."""
    setup.start()
    assert setup.interface.list_sessions().sessions
    setup.kernel.report(104, 101, 1)
    setup.interface.read_events()
    name = setup.tree.root / "class/iscsi_session/session1/targetname"
    name.write_text("iqn.2003-02.org.example:other")
    (found,) = setup.interface.list_sessions().sessions
    assert found.target_name == "iqn.2003-02.org.example:other"
