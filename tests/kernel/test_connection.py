"""The orders that bring a machine down cannot be expressed."""

from __future__ import annotations

import ast
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import iscsid
from iscsid.errors import KernelError
from iscsid.kernel import connection as module
from iscsid.kernel import iscsi_if
from iscsid.kernel.connection import Bound, Connections, Ended, Running, State, Stopped, Unknown
from iscsid.kernel.iscsi_if import Command
from iscsid.kernel.kernel_parameters import KernelParameter, Parameter
from tests.support.fake_kernel import StandIn

SETTINGS = (KernelParameter(Parameter.HDRDGST_EN, "0"), KernelParameter(Parameter.TPGT, "1"))


@pytest.fixture
def kernel() -> Iterator[StandIn]:
    kernel = StandIn()
    yield kernel
    assert kernel.disasters == []
    kernel.close()


@pytest.fixture
def connections(kernel: StandIn) -> Iterator[Connections]:
    requests = kernel.request_socket()
    requests.ask(iscsi_if.create_session(1, 0, 0))
    yield Connections(requests)
    requests.close()


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


ALLOWED = {
    Unknown: {"sid", "stop", "end", "send", "set"},
    Stopped: {"sid", "stop", "end", "bind"},
    Bound: {"sid", "stop", "end", "send", "set", "start"},
    Running: {"sid", "stop", "end", "send", "set"},
    Ended: {"sid", "end", "destroy"},
}


@pytest.mark.parametrize("state", ALLOWED)
def test_state_offers_what_is_harmless_in_it_and_nothing_else(
    state: type[State], connections: Connections
) -> None:
    offered = {name for name in dir(state(connections, 1)) if not name.startswith("_")}
    assert offered == ALLOWED[state]


def test_states_are_all_in_the_table() -> None:
    assert set(State.__args__) == set(ALLOWED)


def test_dangerous_requests_are_built_in_one_place_only() -> None:
    dangerous = {"bind_connection", "start_connection", "BIND_CONN", "START_CONN"}
    package = Path(iscsid.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in dangerous)
        or (isinstance(node, ast.Name) and node.id in dangerous)
        or (isinstance(node, ast.alias) and node.name in dangerous)
    }
    assert users == {"kernel/iscsi_if.py", "kernel/connection.py"}


def _run(connections: Connections, sock: socket.socket) -> Running:
    return connections.create(1).bind(sock, SETTINGS).start()


def test_way_from_creation_to_running(
    kernel: StandIn, connections: Connections, sock: socket.socket
) -> None:
    running = _run(connections, sock)
    assert connections[1] is running
    there = kernel.sessions[1]
    assert there is not None and there.is_up and there.parameters == {2: "0", 16: "1"}


def test_parameters_go_to_the_kernel_with_the_bind(
    kernel: StandIn, connections: Connections, sock: socket.socket
) -> None:
    connections.create(1).bind(sock, SETTINGS)
    assert kernel.asked[-3:] == [Command.BIND_CONN, Command.SET_PARAM, Command.SET_PARAM]


def test_socket_may_be_closed_once_it_is_bound(
    kernel: StandIn, connections: Connections, sock: socket.socket
) -> None:
    bound = connections.create(1).bind(sock, SETTINGS)
    sock.close()
    bound.start()
    there = kernel.sessions[1]
    assert there is not None and there.is_up


def test_adopted_connection_must_be_stopped_before_it_can_be_bound(
    connections: Connections, sock: socket.socket
) -> None:
    _run(connections, sock)
    adopted = connections.adopt(1)
    assert isinstance(adopted.stop().bind(sock, ()).start(), Running)


def _steps(sock: socket.socket) -> dict[str, Callable[..., object]]:
    """Every operation of every state, as a function of a handle."""
    return {
        "stop": lambda handle: handle.stop(),
        "end": lambda handle: handle.end(),
        "bind": lambda handle: handle.bind(sock, SETTINGS),
        "start": lambda handle: handle.start(),
        "send": lambda handle: handle.send(bytes(48)),
        "set": lambda handle: handle.set(SETTINGS),
        "destroy": lambda handle: handle.destroy(),
    }


@pytest.mark.parametrize("state", ALLOWED)
def test_a_spent_or_made_up_handle_sends_nothing(
    state: type[State], kernel: StandIn, connections: Connections, sock: socket.socket
) -> None:
    _run(connections, sock)
    made_by_hand = state(connections, 1)
    asked = list(kernel.asked)
    for name in ALLOWED[state] - {"sid"}:
        if (state, name) == (Ended, "end"):
            continue  # it asks nothing
        with pytest.raises(RuntimeError, match="of session 1 is spent"):
            _steps(sock)[name](made_by_hand)
    assert kernel.asked == asked


def test_handle_serves_for_one_step(connections: Connections, sock: socket.socket) -> None:
    stopped = connections.create(1)
    stopped.bind(sock, ())
    with pytest.raises(RuntimeError, match="this Stopped of session 1 is spent"):
        stopped.bind(sock, ())


def test_adopting_spends_the_handle_that_was_there(
    connections: Connections, sock: socket.socket
) -> None:
    bound = connections.create(1).bind(sock, ())
    connections.adopt(1)
    with pytest.raises(RuntimeError, match="is spent"):
        bound.start()


REFUSED: list[tuple[Command, str]] = [
    (Command.BIND_CONN, "take over the connected socket"),
    (Command.SET_PARAM, "set HDRDGST_EN to '0'"),
    (Command.START_CONN, "start the connection"),
]


@pytest.mark.parametrize(("command", "step"), REFUSED)
def test_refused_step_leaves_a_connection_that_must_be_stopped(
    command: Command, step: str, kernel: StandIn, connections: Connections, sock: socket.socket
) -> None:
    kernel.refusals[command] = errno.EINVAL
    with pytest.raises(KernelError, match=step):
        _run(connections, sock)
    assert isinstance(connections[1], Unknown)
    kernel.refusals.clear()
    assert isinstance(connections.stop(1).bind(sock, ()), Bound)


def test_refused_stop_does_not_pass_for_a_stop(kernel: StandIn, connections: Connections) -> None:
    connections.adopt(1)
    kernel.refusals[Command.STOP_CONN] = errno.EIO
    with pytest.raises(KernelError):
        connections.stop(1)
    assert isinstance(connections[1], Unknown)


def test_connection_that_was_never_made_can_be_ended(connections: Connections) -> None:
    connections[1].end().destroy()
    assert isinstance(connections[1], Ended)


def test_connection_is_made_once(connections: Connections, sock: socket.socket) -> None:
    bound = connections.create(1).bind(sock, ())
    with pytest.raises(RuntimeError, match="session 1 has a connection"):
        connections.create(1)
    assert isinstance(bound.start(), Running)


def test_session_on_its_way_out_is_not_revived(connections: Connections) -> None:
    connections.create(1).end()
    with pytest.raises(KernelError, match="revive"):
        connections.stop(1)


def test_destroying_twice_is_as_good_as_once(kernel: StandIn, connections: Connections) -> None:
    ended = connections.create(1).end()
    ended.destroy()
    ended.end().destroy()
    assert kernel.sessions[1] is None


def test_every_class_with_bind_or_start_is_known() -> None:
    classes = [thing for thing in vars(module).values() if isinstance(thing, type)]
    own = [cls for cls in classes if cls.__module__ == module.__name__]
    assert [cls for cls in own if hasattr(cls, "bind")] == [Stopped]
    assert [cls for cls in own if hasattr(cls, "start")] == [Bound]


STEPS = st.tuples(
    st.integers(0, 30),
    st.sampled_from(["stop", "end", "bind", "start", "send", "set", "destroy", "adopt", "create"]),
    st.sampled_from([None, None, None, *Command]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_no_sequence_of_steps_and_refusals_harms_the_machine(
    walk: list[tuple[int, str, Command | None]],
) -> None:
    """Any handle ever held may be used again, in any order, whatever the kernel refuses."""
    kernel = StandIn()
    requests = kernel.request_socket()
    requests.ask(iscsi_if.create_session(1, 0, 0))
    connections = Connections(requests)
    ours, theirs = socket.socketpair()
    handles: list[object] = [connections.create(1)]
    steps = _steps(ours) | {
        "adopt": lambda _handle: connections.adopt(1),
        "create": lambda _handle: connections.create(1),
    }
    with ours, theirs:
        for number, name, refused in walk:
            kernel.refusals = {refused: errno.EINVAL} if refused else {}
            try:
                handles.append(steps[name](handles[number % len(handles)]))
            except (KernelError, RuntimeError, AttributeError):
                continue
    requests.close()
    kernel.close()
    assert kernel.disasters == []
