"""The kernel interface with a real kernel and real targets: sessions are made and removed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.devices.sysfs import Sysfs
from iscsid.errors import IscsidError
from iscsid.facts import (
    EventsLost,
    PduReceived,
    RequestRefused,
    SessionDestroyed,
    SessionRefused,
    SessionUnbound,
)
from iscsid.jobs import JobId
from iscsid.kernel.interface import Kernel
from iscsid.orders import StartSession
from iscsid.protocol.parameters import AgreedParameters, Digest
from iscsid.protocol.pdu import LogoutResponse, decode
from tests.vm import disks, kernel_helpers
from tests.vm.conftest import with_tgtd
from tests.vm.paths import CHECKOUT
from tests.vm.sessions import attribute, connection_attribute, session_ids
from tests.vm.tgtd import Tgtd

LEAVING = "iscsid-leaving:0:0:80aabbcc0000"


@pytest.mark.both_kernels
def test_session_is_there_as_described(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    (found,) = kernel.list_sessions().sessions
    assert (found.sid, found.host_no) == (session.sid, session.host_no)
    assert (found.target_name, found.session_tag) == (kernel_helpers.TARGET, kernel_helpers.MARKER)
    assert (found.state, found.connection_state, found.target_state) == (
        "LOGGED_IN",
        "up",
        "ALLOCATED",
    )
    assert (found.persistent_portal, found.portal_group_tag) == (kernel_helpers.PORTAL, 1)
    shown = {"initiatorname": kernel_helpers.INITIATOR, "recovery_tmo": "off", "abort_tmo": "11"}
    shown |= {"lu_reset_tmo": "12", "tgt_reset_tmo": "13", "max_outstanding_r2t": "1"}
    assert {name: attribute(session.sid, name) for name in shown} == shown
    assert connection_attribute(session.sid, "ping_tmo") == "15"
    assert connection_attribute(session.sid, "recv_tmo") == "14"
    assert connection_attribute(session.sid, "max_recv_dlength") == "262144"


@with_tgtd
def test_secrets_and_what_else_was_never_set_are_not_shown(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    for name in ("username", "password", "username_in", "password_in"):
        assert attribute(session.sid, name) == "(null)"


@pytest.mark.parametrize("cmd_sn", [1, 0, 0xFFFFFFF0])
def test_disk_works_whatever_the_first_cmd_sn(cmd_sn: int, kernel: Kernel, image: Path) -> None:
    """A CmdSN the target does not expect would make every command wait for ever."""
    disk = kernel_helpers.disk_of(kernel_helpers.start(kernel, cmd_sn=cmd_sn), 1)
    disks.write_at_start(disk, b"written through the session")
    disks.assert_starts_with(image, b"written through the session")


def test_disk_works_with_a_digest(kernel: Kernel, image: Path) -> None:
    session = kernel_helpers.start(kernel, digest=Digest.CRC32C)
    assert connection_attribute(session.sid, "header_digest") == "1"
    disks.write_at_start(kernel_helpers.disk_of(session, 1), b"digested")
    disks.assert_starts_with(image, b"digested")


@pytest.mark.both_kernels
@with_tgtd
def test_refused_bind_leaves_nothing_in_the_kernel(kernel: Kernel) -> None:
    sock, description = kernel_helpers.log_in()
    sock.close()
    order = StartSession(kernel_helpers.BINDING, JobId(1), description)
    fact = kernel.start_session(order, kernel_helpers.not_tcp())
    assert isinstance(fact, SessionRefused) and "take over" in fact.failure.what
    kernel_helpers.until(lambda: not session_ids())
    assert kernel.read_events() == []


def _wrong_r2t(agreed: AgreedParameters) -> AgreedParameters:
    return replace(agreed, max_outstanding_r2t=65535)


def _wrong_burst(agreed: AgreedParameters) -> AgreedParameters:
    return replace(agreed, first_burst_length=65536, max_burst_length=512)


@with_tgtd
@pytest.mark.parametrize(
    ("spoil", "step"), [(_wrong_r2t, "set MAX_R2T"), (_wrong_burst, "start the connection")]
)
def test_refused_parameter_or_start_leaves_nothing_in_the_kernel(
    spoil: Callable[[AgreedParameters], AgreedParameters], step: str, kernel: Kernel
) -> None:
    sock, description = kernel_helpers.log_in()
    description = replace(description, parameters=spoil(description.parameters))
    fact = kernel.start_session(StartSession(kernel_helpers.BINDING, JobId(1), description), sock)
    assert isinstance(fact, SessionRefused) and step in fact.failure.what, fact
    kernel_helpers.until(lambda: not session_ids())
    assert kernel.read_events() == []


@pytest.mark.both_kernels
@with_tgtd
def test_timeouts_change_while_the_session_runs(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    timeouts = replace(
        kernel_helpers.TIMEOUTS, recovery=77, abort=8, ping_interval=0, ping_timeout=0
    )
    assert kernel.apply_timeouts(session.sid, timeouts) is None
    assert attribute(session.sid, "recovery_tmo") == "77"
    assert attribute(session.sid, "abort_tmo") == "8"
    assert connection_attribute(session.sid, "ping_tmo") == "0"


@pytest.mark.both_kernels
def test_orderly_end_unbind_logout_destroy(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    disk = kernel_helpers.disk_of(session, 1)
    assert kernel.unbind_session(session.sid) is None
    assert kernel_helpers.until_event(kernel, SessionUnbound) == SessionUnbound(session.sid)
    assert not disk.exists()
    assert kernel.unbind_session(session.sid) == SessionUnbound(session.sid)
    assert kernel.send_logout(session.sid, LEAVING) is None
    assert attribute(session.sid, "ifacename") == LEAVING
    answer = kernel_helpers.until_event(kernel, PduReceived)
    assert isinstance(decode(answer.header, answer.data), LogoutResponse)
    assert kernel.destroy_session(session.sid) is None
    assert kernel_helpers.until_event(kernel, SessionDestroyed) == SessionDestroyed(session.sid)
    assert session_ids() == []
    assert kernel.destroy_session(session.sid) == SessionDestroyed(session.sid)


@with_tgtd
def test_session_that_was_never_scanned_can_be_unbound(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    assert kernel.unbind_session(session.sid) is None
    assert kernel_helpers.until_event(kernel, SessionUnbound) == SessionUnbound(session.sid)


def test_destroying_at_once_takes_the_disks_along(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    disk = kernel_helpers.disk_of(session, 1)
    assert kernel.destroy_session(session.sid) is None
    assert kernel.destroy_session(session.sid) in (None, SessionDestroyed(session.sid))
    kernel_helpers.until(lambda: not session_ids())
    assert not disk.exists()


@with_tgtd
def test_logout_of_a_stopped_session_is_refused(kernel: Kernel) -> None:
    session = kernel_helpers.start(kernel)
    kernel_helpers.learn(kernel, session.sid)
    assert isinstance(kernel.send_logout(session.sid, LEAVING), RequestRefused)


@pytest.mark.both_kernels
@with_tgtd
def test_lost_events_are_noticed_and_later_ones_received(kernel: Kernel) -> None:
    buffer = kernel._events._socket
    assert buffer.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 16 << 20
    buffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    started = [kernel_helpers.start(kernel) for _ in range(8)]
    for session in started[1:]:
        assert kernel.destroy_session(session.sid) is None
    kernel_helpers.until(lambda: session_ids() == [started[0].sid])
    assert EventsLost() in kernel.read_events()
    kernel.read_events()
    assert kernel.unbind_session(started[0].sid) is None
    assert kernel_helpers.until_event(kernel, SessionUnbound) == SessionUnbound(started[0].sid)


def test_reloaded_module_is_no_obstacle(tgtd: Tgtd, image: Path) -> None:
    tgtd.add_target(kernel_helpers.TARGET, {1: image})
    before = Sysfs().transport_handle()
    with kernel_helpers.opened() as kernel:
        disks.run("modprobe", "-r", "iscsi_tcp")
        sock, description = kernel_helpers.log_in()
        fact = kernel.start_session(
            StartSession(kernel_helpers.BINDING, JobId(1), description), sock
        )
        assert isinstance(fact, SessionRefused) and "modprobe iscsi_tcp" in fact.failure.advice
        load_elsewhere(before)
        kernel_helpers.start(kernel)


def load_elsewhere(handle: int) -> None:
    """Load the module so that its handle is another one: others fill its place, in the end."""
    for other in ("dummy", "nlmon", "veth", "team", "vxlan", "geneve", "ipvlan", "ifb"):
        disks.run("modprobe", "-a", other, "iscsi_tcp")
        if Sysfs().transport_handle() != handle:
            return
        disks.run("modprobe", "-r", "iscsi_tcp")
    raise AssertionError("the module comes to the same place whatever is loaded before it")


OPEN = "from iscsid.kernel.interface import Kernel; Kernel.open()"


@pytest.mark.parametrize(
    ("prefix", "advice"),
    [
        (["unshare", "--net"], "initial network namespace"),
        (["setpriv", "--reuid=65534", "--clear-groups"], "run as root"),
    ],
)
def test_interface_that_cannot_be_opened_names_what_to_do(prefix: list[str], advice: str) -> None:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", OPEN],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert IscsidError.__name__ in done.stderr and advice in done.stderr, done.stderr


def test_events_of_another_program_are_left_alone(tgtd: Tgtd, image: Path) -> None:
    tgtd.add_target(kernel_helpers.TARGET, {1: image})
    with kernel_helpers.opened() as ours, kernel_helpers.opened() as theirs:
        session = kernel_helpers.start(theirs)
        kernel_helpers.until_destroyed(theirs, session.sid)
        assert ours.read_events() == []
