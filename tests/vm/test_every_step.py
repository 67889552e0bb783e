"""A signal at every step of a login and of its start in the kernel leaves nothing half-made behind.

The test has the portal serve, or not, where a signal is to be sent. Quotations are
from the manual page iscsid(8).
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.support.scripted_portal import LoopbackPortal, loopback_portal
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget
from tests.vm import disks, sessions
from tests.vm.daemon import Daemon
from tests.vm.portals import Stepwise, serve_until
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"
USER, SECRET = "alice", "secret of alice"
SCRIPT = Script(accounts={USER: SECRET.encode()}, operational_rounds=1, luns=(0,))
LOGIN_ANSWERS = 5
"""AuthMethod, CHAP_A, CHAP_R; then two of the operational stage, of which the last is the end."""
STEPS = range(LOGIN_ANSWERS + 2)
"""How many answers have been given when the signal comes. After the last of the login comes the
hand-over, and what is waited for then is the answer to the kernel's first command."""


class Portal:
    """The portal a daemon logs in at, and how many answers it gives on its next connection."""

    def __init__(self) -> None:
        self.answers = 0
        self.made: list[Stepwise] = []

    def make(self) -> Stepwise:
        self.made.append(Stepwise(ScriptedTarget(SCRIPT), self.answers))
        return self.made[-1]

    def go_on(self) -> None:
        """Answer everything from now on."""
        self.answers = 1 << 30
        for each in self.made:
            each.answers = self.answers

    @property
    def is_holding(self) -> bool:
        return any(each.is_holding for each in self.made)


@contextmanager
def daemon_at(daemon: Daemon, portal: Portal) -> Iterator[LoopbackPortal]:
    with loopback_portal(portal.make) as found:
        address = f"{found.portal.host}:{found.portal.port}"
        daemon.configure(
            "PingTimeout=0",
            f"TargetName={NAME}\n    Address={address}",
            f'    Username={USER}\n    Password="{SECRET}"',
        )
        yield found
        for each in portal.made:
            assert each.target.diagnostics == []


def assert_nothing_half_made() -> None:
    for sid in sessions.session_ids():
        assert sessions.attribute(sid, "targetname") == NAME
        assert sessions.attribute(sid, "state") == "LOGGED_IN"
        assert sessions.connection_attribute(sid, "state") == "up"


def run_to_its_end(portal: LoopbackPortal, daemon: Daemon) -> int:
    serve_until(portal, lambda: daemon.has_ended, "its end")
    return daemon.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_that_ends_it_at_any_step_leaves_nothing_half_made(
    number: signal.Signals, daemon: Daemon
) -> None:
    """ "End, together with all its processes." And: "but first shut down all of the daemon's
    sessions in the kernel" """
    portal = Portal()
    with daemon_at(daemon, portal) as found:
        for step in STEPS:
            portal.answers = step
            portal.made.clear()
            daemon.start("--debug")
            serve_until(found, lambda: portal.is_holding, f"step {step}")
            children = daemon.workers()
            daemon.send(number)
            if number is signal.SIGINT and step > LOGIN_ANSWERS - 1:
                # To log out needs a target that answers.
                daemon.wait_for_line("SIGINT")
                portal.go_on()
            assert run_to_its_end(found, daemon) == 0, (step, daemon.log())
            portal.go_on()
            serve_until(
                found,
                lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),  # noqa: B023
                f"the end of all children at step {step}",
            )
            assert_nothing_half_made()
            was_handed_over = step >= LOGIN_ANSWERS and number is signal.SIGTERM
            assert len(sessions.session_ids()) == was_handed_over, f"step {step}"
            assert not daemon.pidfile.exists()
            if was_handed_over:
                break  # the session stays: what follows is a restart, tested below
        daemon.start()
        serve_until(found, daemon.link(0, 0, 0).exists, "the link")
        daemon.send(signal.SIGINT)
        assert run_to_its_end(found, daemon) == 0
        assert sessions.session_ids() == []


def test_signals_that_do_not_end_it_spoil_no_login_at_any_step(daemon: Daemon) -> None:
    """SIGHUP reads the configuration and SIGCHLD collects children, whatever is under way."""
    portal = Portal()
    with daemon_at(daemon, portal) as found:
        daemon.start("--debug")
        for step in STEPS:
            portal.answers = step
            for each in portal.made:
                each.answers = step
            serve_until(found, lambda: portal.is_holding, f"step {step}")
            received = len(daemon.lines_about("SIGHUP: reading"))
            for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
                daemon.send(number)
            serve_until(
                found,
                lambda: len(daemon.lines_about("SIGHUP: reading")) > received,  # noqa: B023
                "SIGHUP",
            )
        portal.go_on()
        serve_until(found, daemon.link(0, 0, 0).exists, "the link")
        assert len(portal.made) == 1, "a login was given up and begun anew"
        assert not daemon.lines_about("login request"), "level 1 is for operators"
        assert_nothing_half_made()
        daemon.send(signal.SIGINT)
        assert run_to_its_end(found, daemon) == 0
        assert sessions.session_ids() == []


def wait_while_it_reads_its_program(daemon: Daemon, pieces: int) -> None:
    """Wait until it has so many pieces of memory, or all it wants: each library brings some."""
    pid = daemon.pid

    def count() -> int:
        return len(Path(f"/proc/{pid}/maps").read_text().splitlines())

    wait_until(
        lambda: count() >= pieces or daemon.has_its_pidfile,
        lambda: f"{count()} pieces, not {pieces}\n{daemon.log()}",
    )


def wait_for_so_many_sessions(daemon: Daemon, wanted: int) -> None:
    daemon.wait_for_pidfile()
    wait_until(
        lambda: len(sessions.session_ids()) >= wanted,
        lambda: f"{sessions.session_ids()}, not {wanted}\n{daemon.log()}",
    )


def test_killed_at_any_moment_of_its_start_it_comes_up_the_next_time(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "A daemon that starts takes over the sessions of the one before." The moments are spread
    over the whole of a start, and found by what has happened, not by the clock."""
    names = [f"{NAME}{number}" for number in range(10)]
    for name in names:
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-6:], 8)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    chance = random.Random(4711)
    for round_number in range(6):
        daemon.start("--max-processes=4")
        pid = daemon.pid
        if round_number % 2:
            wait_while_it_reads_its_program(daemon, chance.randrange(30, 180))
        else:
            wait_for_so_many_sessions(daemon, chance.randrange(11))
        os.kill(pid, signal.SIGSTOP)
        children = daemon.workers()
        os.kill(pid, signal.SIGKILL)
        assert daemon.wait() == -signal.SIGKILL
        wait_until(
            lambda: not any(Path(f"/proc/{child}").exists() for child in children),  # noqa: B023
            lambda: f"round {round_number}: children outlived it",  # noqa: B023
        )
    daemon.start()
    numbers = daemon.wait_for_bindings(*names)
    daemon.wait_for_links(*(daemon.link(*numbers[name], 1) for name in names))
    daemon.wait_for_sessions(*names)
    for sid in sessions.session_ids():
        assert sessions.attribute(sid, "state") == "LOGGED_IN"
    for name in names:
        disks.write_at_start(daemon.link(*numbers[name], 1), name.encode())
        disks.assert_starts_with(tmp_path / name[-6:], name.encode())
    assert daemon.stop() == 0
