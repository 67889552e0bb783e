"""No process outlives a SIGKILL, whenever it comes.

Linux forgets one that comes while it makes a session (``iscsid.process.signals``): a few of the
dozens of kills here come just then.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from iscsid.facts import SessionStarted
from iscsid.jobs import JobId
from iscsid.orders import StartSession
from iscsid.protocol.parameters import AgreedParameters, LoginResult
from tests.vm import kernel_helpers, sessions

KILLS = 40
ROUND = 0.06
"""Seconds that it takes about to make a session and to remove it; how long it really takes does not
matter, only that the kills are spread over it."""
RESULT = LoginResult(
    isid=kernel_helpers.ISID,
    tsih=1,
    cmd_sn=1,
    exp_stat_sn=1,
    target_portal_group_tag=1,
    parameters=AgreedParameters(),
)


@contextmanager
def connection() -> Iterator[socket.socket]:
    """A TCP connection to ourselves, of which the kernel gets one end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near


def make_sessions(announce: int) -> None:
    """Make a session and remove it, for ever; ``announce`` gets an octet before each."""
    order = StartSession(kernel_helpers.BINDING, JobId(1), kernel_helpers.describe(RESULT))
    with kernel_helpers.opened() as kernel:
        while True:
            with connection() as near:
                os.write(announce, b".")
                fact = kernel.start_session(order, near)
                # Who goes on when one is refused shows that it could not be killed.
                if isinstance(fact, SessionStarted):
                    kernel.destroy_session(fact.sid)


def kill_after(seconds: float) -> int:
    """Kill a process that makes sessions, so long after it has begun; return its wait status."""
    received, announce = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            make_sessions(announce)
        finally:
            os._exit(os.EX_SOFTWARE)
    os.close(announce)
    with open(received, "rb", buffering=0) as announced:
        announced.read(1)
        announced.read(1)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        statuses: list[int] = []

        def has_ended() -> bool:
            ended, status = os.waitpid(pid, os.WNOHANG)
            statuses.append(status)
            return ended == pid

        kernel_helpers.until(has_ended)
    return statuses[-1]


def test_a_process_that_is_killed_while_it_makes_a_session_ends() -> None:
    chance = random.Random(1203)
    try:
        for _ in range(KILLS):
            status = kill_after(chance.uniform(0, ROUND))
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    finally:
        sessions.destroy_all()
