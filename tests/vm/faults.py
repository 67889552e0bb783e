"""Faults: connections break, packets vanish, targets die, daemons are killed.

Each fault is one call, or a block that ends with the repair. Inside the virtual machine only.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import PATIENCE, wait_until
from tests.vm import disks, resets, sessions
from tests.vm.daemon import Daemon
from tests.vm.lio import ISCSI, Lio
from tests.vm.tgtd import Tgtd

PORT = 3260
SECOND_PORT = 3261


def reset_all(port: int = PORT) -> None:
    """Reset every TCP connection to a target's port, as a firewall that lost its state does."""
    resets.reset(theirs=port)


def reset(sid: int) -> None:
    """Reset the connection of one session, where it has one."""
    if port := local_port(sid):
        resets.reset(ours=int(port))


def local_port(sid: int) -> str:
    """Return the port of a session's connection on our side; empty while there is none."""
    try:
        return sessions.connection_attribute(sid, "local_port")
    except OSError:
        return ""


@contextmanager
def silence(port: int = PORT) -> Iterator[None]:
    """Drop every packet to a target's port, unnoticed by both sides.

    On arrival: TCP notices what is dropped on its way out, and gives up soon.
    """
    disks.run("modprobe", "-a", "sch_ingress", "cls_u32", "act_gact")
    disks.run("tc", "qdisc", "add", "dev", "lo", "clsact")
    match = f"protocol ip prio 1 u32 match ip dport {port} 0xffff action drop"
    disks.run("tc", "filter", "add", "dev", "lo", "ingress", *match.split())
    try:
        yield
    finally:
        disks.run("tc", "qdisc", "del", "dev", "lo", "clsact")


@contextmanager
def network_down() -> Iterator[None]:
    """Take the loopback interface down, so that no address can be reached, and up again."""
    disks.run("ip", "link", "set", "lo", "down")
    try:
        yield
    finally:
        disks.run("ip", "link", "set", "lo", "up")


@contextmanager
def clock_jump(seconds: float) -> Iterator[None]:
    """Set the clock that people read forward (or back), and right again in the end."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - seconds)


class Storage:
    """Targets with one disk each, at LUN 1, that can go down and come back the same."""

    def __init__(self, kind: str, files: Mapping[str, Path], *portals: str) -> None:
        """``files``: what each target exports, by its name."""
        self.kind = kind
        self._files = files
        self.portals = portals or (f"127.0.0.1:{PORT}",)
        self._exporter: Tgtd | Lio | None = None
        self._is_up = False
        self.come_up()

    def go_down(self) -> None:
        """Tgtd is killed; LIO closes its portal groups, which close their connections."""
        self._is_up = False
        if isinstance(self._exporter, Lio):
            self._enable("0")
        elif self._exporter is not None:
            self._exporter.stop()
            self._exporter = None

    def come_up(self) -> None:
        """Serve the same disks again; harmless while it does."""
        if self._is_up:
            return
        self._is_up = True
        if isinstance(self._exporter, Lio):
            self._enable("1")
            return
        self._exporter = Tgtd(*self.portals) if self.kind == "tgtd" else Lio(self.portals)
        for name, file in self._files.items():
            self._exporter.add_target(name, {1: file})

    @contextmanager
    def down(self) -> Iterator[None]:
        self.go_down()
        try:
            yield
        finally:
            self.come_up()

    def stop(self) -> None:
        if self._exporter is not None:
            if isinstance(self._exporter, Lio):
                self._enable("1")
            self._exporter.stop()
            self._exporter = None

    def _enable(self, value: str) -> None:
        for name in self._files:
            (ISCSI / name / "tpgt_1" / "enable").write_text(value)


@contextmanager
def killed_at_send(daemon: Daemon, number: int) -> Iterator[None]:
    """Kill the daemon, as with kill -9, when it is about to send for the ``number``-th time.

    What it sends are its requests to the kernel; so this is a death between two given steps.
    """
    inject = f"inject=sendto:signal=SIGKILL:when={number}"
    command = ["strace", "-o", os.devnull, "-e", "trace=sendto", "-e", inject]
    tracer = subprocess.Popen([*command, "-p", str(daemon.pid)], stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{daemon.pid}/status")
    wait_until(
        lambda: "TracerPid:\t0" not in status.read_text(), lambda: "strace does not take hold"
    )
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait(timeout=PATIENCE)


def is_dead(daemon: Daemon) -> bool:
    """Whether the daemon in the foreground has been killed (it is our child: a zombie, then)."""
    try:
        status = Path(f"/proc/{daemon.pid}/status").read_text()
    except FileNotFoundError:
        return True
    return "State:\tZ" in status


class Stopwatch:
    """Prints how long something took; no test depends on it."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def lap(self, what: str) -> float:
        seconds = time.monotonic() - self.start
        print(f"{what}: {seconds:.1f} s")
        return seconds
