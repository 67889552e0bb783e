"""The hand's sequences, order by order, with a stand-in for the kernel.

What a real kernel does with them is seen in ``tests/machine/test_kernel_hand.py``.
"""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from iscsid.errors import IscsidError
from iscsid.facts import (
    CmdSnLearned,
    CmdSnNotLearned,
    ConnectionBroke,
    DisksChecked,
    PduReceived,
    RequestRefused,
    SessionDestroyed,
    SessionRefused,
    SessionStarted,
    SessionUnbound,
)
from iscsid.jobs import JobId
from iscsid.orders import ResumeSession, StartSession
from iscsid.protocol.parameters import LoginResult
from iscsid.system.kernel import Kernel
from iscsid.system.uevent import Command
from tests.machine.hand import BINDING, ISID, TARGET, TIMEOUTS, describe
from tests.system.stand_in import StandIn
from tests.system.sysfs_tree import SESSION, SysfsTree

DESCRIPTION = describe(LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1))
STARTED = SessionStarted(BINDING, 1, 101)


@dataclass
class Bench:
    """A hand, and what it acts on."""

    hand: Kernel
    kernel: StandIn
    tree: SysfsTree

    def start(self, sock: socket.socket | None = None) -> SessionStarted | SessionRefused:
        """Start a session; sysfs shows it, as it would."""
        fact = self.hand.start_session(
            StartSession(BINDING, JobId(1), DESCRIPTION), sock or a_socket()
        )
        if isinstance(fact, SessionStarted):
            self.tree.add_session(fact.sid, fact.host_no)
        return fact

    def resume(self, sock: socket.socket | None = None) -> SessionStarted | SessionRefused:
        order = ResumeSession(BINDING, 1, JobId(2), replace(DESCRIPTION, cmd_sn=9))
        return self.hand.resume_session(order, sock or a_socket())

    def vanish(self) -> None:
        """Have the kernel lose session 1, as if another program had destroyed it."""
        self.kernel.lose_connection(1)
        del self.kernel.sessions[1]
        shutil.rmtree(self.tree.root / "devices/platform/host101", ignore_errors=True)

    @property
    def is_up(self) -> bool:
        there = self.kernel.sessions[1]
        return there is not None and there.is_up


def a_socket() -> socket.socket:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    kernel, tree = StandIn(), SysfsTree(tmp_path)
    hand = Kernel(kernel.request_socket(), kernel.event_socket(), tree.sysfs)
    yield Bench(hand, kernel, tree)
    hand.close()
    kernel.close()
    assert kernel.disasters == []


# --- a first start ------------------------------------------------------------------------------


def test_started_session_is_up_and_knows_its_parameters(bench: Bench) -> None:
    assert bench.start() == STARTED
    there = bench.kernel.sessions[1]
    assert there is not None and there.is_up
    assert (there.parameters[15], there.parameters[19]) == (TARGET, "-1")


def test_socket_is_closed_after_a_start(bench: Bench) -> None:
    sock = a_socket()
    bench.start(sock)
    assert sock.fileno() == -1


STEPS = [
    Command.CREATE_SESSION,
    Command.CREATE_CONN,
    Command.BIND_CONN,
    Command.SET_PARAM,
    Command.START_CONN,
]


@pytest.mark.parametrize("step", STEPS)
def test_refused_step_of_a_start_leaves_nothing_behind(step: Command, bench: Bench) -> None:
    bench.kernel.refusals[step] = errno.ENOMEM
    sock = a_socket()
    fact = bench.start(sock)
    assert isinstance(fact, SessionRefused) and fact.binding == BINDING
    assert "ENOMEM" in fact.failure.what
    assert bench.kernel.sessions == {}
    assert sock.fileno() == -1


def test_end_of_a_session_that_never_was_is_not_reported(bench: Bench) -> None:
    bench.kernel.refusals[Command.START_CONN] = errno.ENOTCONN
    bench.start()
    bench.kernel.report(105, 1, 101)
    bench.kernel.report(104, 101, 1)
    assert bench.hand.read_events() == []


def test_start_without_the_module_says_how_to_load_it(bench: Bench) -> None:
    shutil.rmtree(bench.tree.root / "class/iscsi_transport")
    fact = bench.start()
    assert isinstance(fact, SessionRefused) and "modprobe" in fact.failure.advice
    assert bench.kernel.asked == []


def test_description_the_kernel_must_not_see_is_refused_before_anything_is_made(
    bench: Bench,
) -> None:
    order = StartSession(BINDING, JobId(1), replace(DESCRIPTION, marker="x" * 256))
    assert isinstance(bench.hand.start_session(order, a_socket()), SessionRefused)
    assert bench.kernel.asked == []


# --- recovery -----------------------------------------------------------------------------------


def test_cmd_sn_is_learned_and_the_session_resumed(bench: Bench) -> None:
    bench.start()
    assert bench.hand.learn_cmd_sn(1) == CmdSnLearned(1, bench.kernel.cmd_sn)
    assert not bench.is_up
    sock = a_socket()
    assert bench.resume(sock) == STARTED
    assert bench.is_up and sock.fileno() == -1


def test_what_the_units_said_of_themselves_is_told_with_the_cmd_sn(bench: Bench) -> None:
    bench.start()
    device = bench.tree.root / "devices/platform/host101/session1"
    (bench.tree.add_unit(device, 101, 5, "sda") / "vpd_pg83").write_bytes(b"\0\x83\0\0")
    bench.tree.add_unit(device, 101, 6, "sdb")
    fact = bench.hand.learn_cmd_sn(1)
    assert fact == CmdSnLearned(1, bench.kernel.cmd_sn, ((5, b"\0\x83\0\0"),))


def test_resume_stops_first_whatever_is_believed(bench: Bench) -> None:
    bench.start()
    bench.kernel.asked.clear()
    bench.resume()
    bench.resume()
    assert bench.kernel.asked[0] is Command.STOP_CONN
    assert bench.kernel.asked.count(Command.STOP_CONN) == 2


@pytest.mark.parametrize("step", [Command.BIND_CONN, Command.SET_PARAM, Command.START_CONN])
def test_refused_resume_keeps_the_session_and_lets_go_of_the_socket(
    step: Command, bench: Bench
) -> None:
    bench.start()
    bench.kernel.refusals[step] = errno.ENOTCONN
    sock = a_socket()
    assert isinstance(bench.resume(sock), SessionRefused)
    there = bench.kernel.sessions[1]
    assert there is not None and there.bound is None and sock.fileno() == -1
    bench.kernel.refusals.clear()
    assert bench.resume() == STARTED


def test_session_that_is_gone_cannot_be_resumed(bench: Bench) -> None:
    bench.start()
    bench.vanish()
    sock = a_socket()
    fact = bench.resume(sock)
    assert isinstance(fact, SessionRefused) and "find session 1" in fact.failure.what
    assert sock.fileno() == -1


def test_cmd_sn_of_a_session_that_is_gone_is_not_learned(bench: Bench) -> None:
    bench.start()
    bench.vanish()
    assert isinstance(bench.hand.learn_cmd_sn(1), CmdSnNotLearned)


def test_adopted_session_is_stopped_before_it_is_bound(bench: Bench) -> None:
    bench.start()
    successor = Kernel(bench.kernel.request_socket(), bench.kernel.event_socket(), bench.tree.sysfs)
    successor.adopt(1)
    assert bench.kernel.asked[-1] is Command.START_CONN
    assert successor.learn_cmd_sn(1) == CmdSnLearned(1, bench.kernel.cmd_sn)
    successor.close()


# --- the rest of a session's life ---------------------------------------------------------------


def test_timeouts_reach_a_session_that_is_up(bench: Bench) -> None:
    bench.start()
    assert bench.hand.apply_timeouts(1, replace(TIMEOUTS, recovery=77)) is None
    there = bench.kernel.sessions[1]
    assert there is not None and there.parameters[19] == "77"


def test_timeouts_of_a_session_that_is_down_wait_for_its_return(bench: Bench) -> None:
    bench.start()
    bench.kernel.refusals[Command.SET_PARAM] = errno.ENOTCONN
    assert bench.hand.apply_timeouts(1, TIMEOUTS) is None
    bench.kernel.refusals.clear()
    bench.hand.learn_cmd_sn(1)
    bench.kernel.asked.clear()
    assert bench.hand.apply_timeouts(1, TIMEOUTS) is None
    assert bench.kernel.asked == []


def test_refused_timeouts_are_reported(bench: Bench) -> None:
    bench.start()
    bench.kernel.refusals[Command.SET_PARAM] = errno.EPERM
    fact = bench.hand.apply_timeouts(1, TIMEOUTS)
    assert isinstance(fact, RequestRefused) and "EPERM" in fact.failure.what


def test_logout_is_a_request_to_close_the_session(bench: Bench) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        bench.start(ours)
        assert bench.hand.send_logout(1) is None
        assert theirs.recv(64)[:2] == b"\x46\x80"


def test_logout_of_a_session_that_is_down_is_refused(bench: Bench) -> None:
    bench.start()
    bench.hand.learn_cmd_sn(1)
    fact = bench.hand.send_logout(1)
    assert isinstance(fact, RequestRefused) and "ENOTCONN" in fact.failure.what


def test_unbinding_what_is_unbound_is_over_at_once(bench: Bench) -> None:
    bench.start()
    assert bench.hand.unbind_session(1) is None
    (bench.tree.root / "class/iscsi_session/session1/target_state").write_text("UNBOUND\n")
    bench.kernel.asked.clear()
    assert bench.hand.unbind_session(1) == SessionUnbound(1)
    assert bench.kernel.asked == []


def test_destroyed_session_is_gone_and_its_end_reported_once(bench: Bench) -> None:
    bench.start()
    assert bench.hand.destroy_session(1) is None
    assert bench.kernel.sessions == {}
    assert bench.hand.destroy_session(1) is None  # sysfs shows it still
    bench.kernel.report(104, 101, 1)
    bench.kernel.report(104, 101, 1)
    assert bench.hand.read_events() == [SessionDestroyed(1)]


def test_old_kernel_destroys_while_we_wait(bench: Bench) -> None:
    bench.start()
    bench.kernel.refusals[Command.DESTROY_SESSION_ASYNC] = errno.ENOSYS
    assert bench.hand.destroy_session(1) is None
    assert bench.kernel.asked[-1] is Command.DESTROY_SESSION
    assert bench.kernel.sessions == {}


def test_session_without_a_connection_can_be_destroyed(bench: Bench) -> None:
    bench.start()
    bench.kernel.lose_connection(1)
    bench.hand.adopt(1)
    assert bench.hand.destroy_session(1) is None
    assert bench.kernel.sessions == {}


def test_refused_destruction_is_reported_and_can_be_tried_again(bench: Bench) -> None:
    bench.start()
    bench.kernel.refusals[Command.DESTROY_SESSION_ASYNC] = errno.EBUSY
    assert isinstance(bench.hand.destroy_session(1), RequestRefused)
    bench.kernel.refusals.clear()
    assert bench.hand.destroy_session(1) is None
    assert bench.kernel.sessions == {}


def test_every_order_about_a_session_that_is_gone_says_so(bench: Bench) -> None:
    bench.start()
    bench.vanish()
    gone = SessionDestroyed(1)
    assert bench.hand.apply_timeouts(1, TIMEOUTS) == gone
    assert bench.hand.send_logout(1) == gone
    assert bench.hand.unbind_session(1) == gone
    assert bench.hand.destroy_session(1) == gone


# --- the ear ------------------------------------------------------------------------------------


def test_events_of_other_programs_are_not_ours(bench: Bench) -> None:
    bench.start()
    for sid in (1, 2):
        bench.kernel.report(101, sid, 0, 0, 0, payload=bytes(48))
        bench.kernel.report(105, sid, 7)
    assert bench.hand.read_events() == [PduReceived(1, bytes(48), b""), SessionUnbound(1)]


def test_broken_connection_is_reported(bench: Bench) -> None:
    bench.start()
    bench.kernel.report(102, 1, 0, 1020)
    assert bench.hand.read_events() == [ConnectionBroke(1, "the target closed the connection")]


def test_echo_of_our_own_stop_is_no_news(bench: Bench) -> None:
    bench.start()
    bench.hand.learn_cmd_sn(1)
    bench.kernel.report(102, 1, 0, 1020)
    assert bench.hand.read_events() == []


def test_session_that_went_by_itself_is_forgotten(bench: Bench) -> None:
    bench.start()
    bench.kernel.report(104, 101, 1)
    bench.kernel.report(105, 1, 101)
    assert bench.hand.read_events() == [SessionDestroyed(1)]


def test_events_of_an_adopted_session_are_ours(bench: Bench) -> None:
    bench.hand.adopt(5)
    bench.kernel.report(102, 5, 0, 1022)
    assert [type(fact) for fact in bench.hand.read_events()] == [ConnectionBroke]


def test_look_shows_all_sessions(bench: Bench) -> None:
    bench.start()
    bench.tree.add_session(8, 9, session=SESSION | {"ifacename": "default"})
    assert [session.sid for session in bench.hand.look().sessions] == [1, 8]


# --- the disks ----------------------------------------------------------------------------------


def test_disks_nobody_uses_are_free(bench: Bench) -> None:
    bench.tree.add_unit(bench.tree.add_session(1, 101), 101, 3, "sdx")
    assert bench.hand.check_disks(1, may_open=True) == DisksChecked(1, ())


def test_held_disk_of_any_lun_counts(bench: Bench) -> None:
    device = bench.tree.add_session(1, 101)
    bench.tree.add_unit(device, 101, 0, "sdx")
    unit = bench.tree.add_unit(device, 101, 9, "sdy", "sdy1")
    (unit / "block/sdy/sdy1/holders/dm-3").mkdir()
    uses = ("/dev/sdy1 is held by dm-3",)
    assert bench.hand.check_disks(1, may_open=False) == DisksChecked(1, uses)


def test_disk_is_not_opened_while_the_host_recovers(bench: Bench) -> None:
    bench.tree.add_unit(bench.tree.add_session(1, 101), 101, 3, "sdx")
    (bench.tree.root / "class/scsi_host/host101/state").write_text("recovery\n")
    uses = ("host101 is recovering from SCSI errors",)
    assert bench.hand.check_disks(1, may_open=True) == DisksChecked(1, uses)
    assert bench.hand.check_disks(1, may_open=False) == DisksChecked(1, ())


def test_machine_without_the_interface_says_what_to_do() -> None:
    if Path("/sys/class/iscsi_transport/tcp").exists():
        pytest.skip("this machine has iSCSI over TCP")
    with pytest.raises(IscsidError, match="modprobe iscsi_tcp"):
        Kernel.open()
