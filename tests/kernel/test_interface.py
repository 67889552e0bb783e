"""The kernel interface makes sessions and resumes them, with a fake kernel.

What a real kernel does with its orders is seen in ``tests/vm/test_kernel_interface.py``.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.facts import (
    CmdSnLearned,
    CmdSnNotLearned,
    SessionRefused,
    SessionUnrecoverable,
)
from iscsid.jobs import JobId
from iscsid.kernel.interface import Kernel
from iscsid.kernel.iscsi_if import Command
from iscsid.kernel.kernel_parameters import MAX_SESSION_TAG
from iscsid.orders import StartSession
from tests.support.kernel_fixture import DESCRIPTION, STARTED, KernelSetup, a_socket, kernel_setup
from tests.vm.kernel_helpers import BINDING, TARGET


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[KernelSetup]:
    with kernel_setup(tmp_path) as setup:
        yield setup


# --- a first start ------------------------------------------------------------------------------


def test_started_session_is_up_and_knows_its_parameters(setup: KernelSetup) -> None:
    assert setup.start() == STARTED
    there = setup.kernel.sessions[1]
    assert there is not None and there.is_up
    assert (there.parameters[15], there.parameters[19]) == (TARGET, "-1")


def test_socket_is_closed_after_a_start(setup: KernelSetup) -> None:
    sock = a_socket()
    setup.start(sock)
    assert sock.fileno() == -1


STEPS = [
    Command.CREATE_SESSION,
    Command.CREATE_CONN,
    Command.BIND_CONN,
    Command.SET_PARAM,
    Command.START_CONN,
]


@pytest.mark.parametrize("step", STEPS)
def test_refused_step_of_a_start_leaves_nothing_behind(step: Command, setup: KernelSetup) -> None:
    setup.kernel.refusals[step] = errno.ENOMEM
    sock = a_socket()
    fact = setup.start(sock)
    assert isinstance(fact, SessionRefused) and fact.binding == BINDING
    assert "ENOMEM" in fact.failure.what
    assert setup.kernel.sessions == {}
    assert sock.fileno() == -1


def test_end_of_a_session_that_never_was_is_not_reported(setup: KernelSetup) -> None:
    setup.kernel.refusals[Command.START_CONN] = errno.ENOTCONN
    setup.start()
    setup.kernel.report(105, 1, 101)
    setup.kernel.report(104, 101, 1)
    assert setup.interface.read_events() == []


def test_start_without_the_module_names_how_to_load_it(setup: KernelSetup) -> None:
    shutil.rmtree(setup.tree.root / "class/iscsi_transport")
    fact = setup.start()
    assert isinstance(fact, SessionRefused) and "modprobe" in fact.failure.advice
    assert setup.kernel.asked == []


def test_description_the_kernel_must_not_see_is_refused_before_anything_is_made(
    setup: KernelSetup,
) -> None:
    order = StartSession(
        BINDING, JobId(1), replace(DESCRIPTION, session_tag="x" * (MAX_SESSION_TAG + 1))
    )
    assert isinstance(setup.interface.start_session(order, a_socket()), SessionRefused)
    assert setup.kernel.asked == []


# --- recovery -----------------------------------------------------------------------------------


def test_cmd_sn_is_learned_and_the_session_resumed(setup: KernelSetup) -> None:
    setup.start()
    assert setup.interface.learn_cmd_sn(1) == CmdSnLearned(1, setup.kernel.cmd_sn)
    assert not setup.is_up
    sock = a_socket()
    assert setup.resume(sock) == STARTED
    assert setup.is_up and sock.fileno() == -1


def test_what_the_units_reported_comes_with_the_cmd_sn(setup: KernelSetup) -> None:
    setup.start()
    device = setup.tree.root / "devices/platform/host101/session1"
    (setup.tree.add_unit(device, 101, 5, "sda") / "vpd_pg83").write_bytes(b"\0\x83\0\0")
    setup.tree.add_unit(device, 101, 6, "sdb")
    fact = setup.interface.learn_cmd_sn(1)
    assert fact == CmdSnLearned(1, setup.kernel.cmd_sn, ((5, b"\0\x83\0\0"),))


def test_resume_stops_first_whatever_is_believed(setup: KernelSetup) -> None:
    setup.start()
    setup.kernel.asked.clear()
    setup.resume()
    setup.resume()
    assert setup.kernel.asked[0] is Command.STOP_CONN
    assert setup.kernel.asked.count(Command.STOP_CONN) == 2


@pytest.mark.parametrize("step", [Command.BIND_CONN, Command.SET_PARAM, Command.START_CONN])
def test_refused_resume_keeps_the_session_and_lets_go_of_the_socket(
    step: Command, setup: KernelSetup
) -> None:
    setup.start()
    setup.kernel.refusals[step] = errno.ENOTCONN
    sock = a_socket()
    assert isinstance(setup.resume(sock), SessionRefused)
    there = setup.kernel.sessions[1]
    assert there is not None and there.bound is None and sock.fileno() == -1
    setup.kernel.refusals.clear()
    assert setup.resume() == STARTED


def test_session_that_is_gone_cannot_be_resumed(setup: KernelSetup) -> None:
    setup.start()
    setup.vanish()
    sock = a_socket()
    fact = setup.resume(sock)
    assert isinstance(fact, SessionRefused) and "find session 1" in fact.failure.what
    assert sock.fileno() == -1


def test_cmd_sn_of_a_session_that_is_gone_is_not_learned(setup: KernelSetup) -> None:
    setup.start()
    setup.vanish()
    assert isinstance(setup.interface.learn_cmd_sn(1), CmdSnNotLearned)


def test_session_that_was_stopped_for_good_is_doomed(setup: KernelSetup) -> None:
    setup.start()
    connection = setup.kernel.sessions[1]
    assert connection is not None
    connection.is_over = True
    assert setup.interface.learn_cmd_sn(1) == SessionUnrecoverable(1, "it was stopped for good")


def test_adopted_session_is_stopped_before_it_is_bound(setup: KernelSetup) -> None:
    setup.start()
    successor = Kernel(setup.kernel.request_socket(), setup.kernel.event_socket(), setup.tree.sysfs)
    successor.adopt(1)
    assert setup.kernel.asked[-1] is Command.START_CONN
    assert successor.learn_cmd_sn(1) == CmdSnLearned(1, setup.kernel.cmd_sn)
    successor.close()
