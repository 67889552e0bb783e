"""The kernel interface with a fake kernel and a tree that looks like /sys."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iscsid.facts import SessionRefused, SessionStarted
from iscsid.jobs import JobId
from iscsid.kernel.interface import Kernel
from iscsid.orders import ResumeSession, StartSession
from iscsid.protocol.parameters import LoginResult
from tests.support.fake_kernel import StandIn
from tests.support.sysfs_tree import SysfsTree
from tests.vm.kernel_helpers import BINDING, ISID, describe

DESCRIPTION = describe(LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1))
STARTED = SessionStarted(BINDING, 1, 101)


@dataclass
class KernelSetup:
    """The kernel interface, and what it acts on."""

    interface: Kernel
    kernel: StandIn
    tree: SysfsTree

    def start(self, sock: socket.socket | None = None) -> SessionStarted | SessionRefused:
        """Start a session; sysfs shows it, as it would."""
        fact = self.interface.start_session(
            StartSession(BINDING, JobId(1), DESCRIPTION), sock or a_socket()
        )
        if isinstance(fact, SessionStarted):
            self.tree.add_session(fact.sid, fact.host_no)
        return fact

    def resume(self, sock: socket.socket | None = None) -> SessionStarted | SessionRefused:
        order = ResumeSession(BINDING, 1, JobId(2), replace(DESCRIPTION, cmd_sn=9))
        return self.interface.resume_session(order, sock or a_socket())

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


@contextmanager
def kernel_setup(directory: Path) -> Iterator[KernelSetup]:
    """Set up it; at the end, no order may have been one that harms a real machine."""
    kernel, tree = StandIn(), SysfsTree(directory)
    interface = Kernel(kernel.request_socket(), kernel.event_socket(), tree.sysfs)
    yield KernelSetup(interface, kernel, tree)
    interface.close()
    kernel.close()
    assert kernel.disasters == []
