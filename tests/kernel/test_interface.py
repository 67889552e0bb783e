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
from tests.support.kernel_fixture import DESCRIPTION, STARTED, Bench, a_socket, bench_in
from tests.vm.kernel_helpers import BINDING, TARGET


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as bench:
        yield bench


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
    assert bench.interface.read_events() == []


def test_start_without_the_module_says_how_to_load_it(bench: Bench) -> None:
    shutil.rmtree(bench.tree.root / "class/iscsi_transport")
    fact = bench.start()
    assert isinstance(fact, SessionRefused) and "modprobe" in fact.failure.advice
    assert bench.kernel.asked == []


def test_description_the_kernel_must_not_see_is_refused_before_anything_is_made(
    bench: Bench,
) -> None:
    order = StartSession(
        BINDING, JobId(1), replace(DESCRIPTION, session_tag="x" * (MAX_SESSION_TAG + 1))
    )
    assert isinstance(bench.interface.start_session(order, a_socket()), SessionRefused)
    assert bench.kernel.asked == []


# --- recovery -----------------------------------------------------------------------------------


def test_cmd_sn_is_learned_and_the_session_resumed(bench: Bench) -> None:
    bench.start()
    assert bench.interface.learn_cmd_sn(1) == CmdSnLearned(1, bench.kernel.cmd_sn)
    assert not bench.is_up
    sock = a_socket()
    assert bench.resume(sock) == STARTED
    assert bench.is_up and sock.fileno() == -1


def test_what_the_units_said_of_themselves_is_told_with_the_cmd_sn(bench: Bench) -> None:
    bench.start()
    device = bench.tree.root / "devices/platform/host101/session1"
    (bench.tree.add_unit(device, 101, 5, "sda") / "vpd_pg83").write_bytes(b"\0\x83\0\0")
    bench.tree.add_unit(device, 101, 6, "sdb")
    fact = bench.interface.learn_cmd_sn(1)
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
    assert isinstance(bench.interface.learn_cmd_sn(1), CmdSnNotLearned)


def test_session_that_was_stopped_for_good_is_doomed(bench: Bench) -> None:
    bench.start()
    connection = bench.kernel.sessions[1]
    assert connection is not None
    connection.is_over = True
    assert bench.interface.learn_cmd_sn(1) == SessionUnrecoverable(1, "it was stopped for good")


def test_adopted_session_is_stopped_before_it_is_bound(bench: Bench) -> None:
    bench.start()
    successor = Kernel(bench.kernel.request_socket(), bench.kernel.event_socket(), bench.tree.sysfs)
    successor.adopt(1)
    assert bench.kernel.asked[-1] is Command.START_CONN
    assert successor.learn_cmd_sn(1) == CmdSnLearned(1, bench.kernel.cmd_sn)
    successor.close()
