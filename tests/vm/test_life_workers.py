"""The daemon's workers: what they look like, what they may do, and what their death means.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.patience import wait_until
from tests.vm import disks, portals, sessions, wire
from tests.vm.daemon import Daemon, title
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"
DEAD = "iqn.2003-02.org.example:dead"
MIB = 1 << 20


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status; nothing where the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    pairs = (line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: text.strip() for name, text in pairs}


def wait_for_child(daemon: Daemon, words: str) -> int:
    """Wait until a child has this in its title, and has come as far as talking to its portal."""

    def found() -> list[int]:
        children = [pid for pid in daemon.workers() if words in title(pid)]
        return [pid for pid in children if status(pid).get("Uid", "0").split()[0] != "0"]

    wait_until(lambda: bool(found()), lambda: f"no child is called {words}\n{daemon.log()}")
    return found()[0]


def limits(pid: int) -> dict[str, str]:
    """Return the soft limits of a process."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:25].strip(): line[26:46].strip() for line in lines}


def test_children_that_talk_to_targets_are_named_and_confined(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "worker processes, whose names in ps(1) show what they do ... A worker that talks to a
    target has a user of its own without privileges ... Whatever happens to a worker counts as
    one failed attempt at one target." """
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    with portals.silent(2) as (discovery, login):
        daemon.configure(
            f"DiscoveryAddress={discovery.address}",
            f"DiscoveryAddress={tgtd.address}",
            f"TargetName={DEAD}\n    Address={login.address}",
        )
        daemon.start()
        asking = wait_for_child(daemon, f"iscsid: discovery at {discovery.address}")
        connecting = wait_for_child(daemon, f"iscsid: login {DEAD} via {login.address}")
        for pid in (asking, connecting):
            check_confinement(pid, daemon.pid)
        assert status(asking)["Uid"] != status(connecting)["Uid"]
        for pid, number, word in (
            (asking, signal.SIGKILL, "killed"),
            (connecting, signal.SIGSEGV, "crashed"),
        ):
            os.kill(pid, number)
            wait_until(lambda pid=pid: not title(pid), lambda: "it goes on")  # type: ignore[misc]
            where = (discovery if pid == asking else login).address
            line = daemon.wait_for_line(where, number.name)
            assert word in line, line
        # One failed attempt: the next comes by itself, and nothing else has noticed.
        assert wait_for_child(daemon, f"iscsid: discovery at {discovery.address}") != asking
        assert wait_for_child(daemon, f"iscsid: login {DEAD}") != connecting
        daemon.wait_for_links(daemon.link(*daemon.wait_for_bindings(NAME)[NAME], 1))
        for words in ((discovery.address, "SIGKILL"), (DEAD, login.address, "SIGSEGV")):
            assert len(daemon.lines_about(*words)) == 1
        orphans = daemon.workers()
        assert len(orphans) >= 2
        # Whatever becomes of the daemon: no child outlives it.
        daemon.end()
        wait_until(lambda: not any(map(title, orphans)), lambda: f"left: {orphans}")


def check_confinement(pid: int, daemon_pid: int) -> None:
    """Not root, no way back, bounded, and not ended by what is meant for the daemon."""
    shown, parents = status(pid), status(daemon_pid)
    (user,) = {*shown["Uid"].split(), *shown["Gid"].split()}
    assert 2_040_000_000 <= int(user) < 2_040_065_536
    assert shown["Groups"] == ""
    assert {shown[name] for name in ("CapEff", "CapPrm", "CapAmb")} == {"0" * 16}
    assert shown["NoNewPrivs"] == "1"
    assert shown.get("VmLck", "0 kB") == "0 kB" and parents["VmLck"] != "0 kB"
    assert shown["SigCgt"] == "0" * 16, "it still has the daemon's handlers"
    assert limits(pid)["Max cpu time"] == "30"
    assert limits(pid)["Max core file size"] == limits(pid)["Max processes"] == "0"
    address_space = int(limits(pid)["Max address space"])
    assert address_space <= int(shown["VmSize"].split()[0]) * 1024 + 160 * MIB
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
    assert Path(f"/proc/{daemon_pid}/oom_score_adj").read_text() == "-1000\n"
    targets = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = [target for target in targets if target.startswith("socket:")]
    assert len(sockets) == 2, f"one to the portal and one to the daemon, not {targets}"
    assert targets.count("/dev/null") == 3
    assert shown["Seccomp"] == "2"
    assert not Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0")
    assert not [target for target in targets if "iscsid.pid" in target]


def test_no_child_is_left_a_zombie(daemon: Daemon) -> None:
    """ "Sent by the kernel when a child process has ended; the daemon then reads its status." """
    addresses = portals.unused(30)
    daemon.configure(*(f"DiscoveryAddress={address}" for address in addresses))
    daemon.start("-d", "--max-processes=10")

    def deaths() -> int:
        return len(daemon.lines_about("asking again in"))

    rounds = 0
    while deaths() < 200:
        rounds += 1
        wait_until(lambda: deaths() >= 30 * rounds, lambda: f"only {deaths()} have died")  # noqa: B023
        daemon.send(signal.SIGHUP)
    assert daemon.stop(signal.SIGTERM) == 0
    daemon.start("--max-processes=10")
    wait_until(lambda: not daemon.workers(), lambda: f"workers are left: {states(daemon)}")


def states(daemon: Daemon) -> list[str]:
    return [status(worker).get("State", "gone") for worker in daemon.workers()]


def test_dead_portals_do_not_hold_up_live_ones(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    """ "Run at most so many discoveries and logins at the same time. ... targets that do not
    answer never delay those that do." """
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    with portals.silent(40) as dead:
        addresses = [*(portal.address for portal in dead), tgtd.address]
        daemon.configure(*(f"DiscoveryAddress={address}" for address in addresses))
        daemon.start("--max-processes=2", "--login-timeout=1")

        def is_tried_again() -> bool:
            assert len(daemon.workers_with_a_job()) <= 3, "two, and a discovery that stays"
            attempts = [portal.count() for portal in dead]
            again = max(attempts) > 1
            # Two may be on their way at this moment, no more.
            assert not again or attempts.count(0) <= 2, f"a retry went first: {attempts}"
            return again

        wait_until(is_tried_again, lambda: f"nothing is tried again\n{daemon.log()}")
        daemon.wait_for_links(daemon.link(0, 0, 1))
        # A session that breaks is none of the dead, and does not queue behind them.
        wire.cut(sessions.session_of(NAME))
        daemon.wait_for_line(NAME, "session is down")
        wait_until(
            lambda: len(daemon.lines_about(NAME, "session is up")) == 2,
            lambda: f"it does not come back\n{daemon.log()}",
        )
