"""A soak: disks under writes, one fault after the other, and not one byte lost.

``python -m tests.vm.soak --minutes 30`` boots a virtual machine of its own and prints what it
does to it, and the seed with which the same faults come in the same order. Each fault begins once
every disk has written again; how long that took is printed, and asserted is only that it happens.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.support.patience import scaled
from tests.vm import emulated, faults
from tests.vm.boot import Machine, find_oops
from tests.vm.recovery import Scenario, running
from tests.vm.workload import Workload

DISKS = 3
KINDS = ("tgtd", "lio")
PING_UNANSWERED = "a ping was not answered in time"
DAY = 86400.0
SILENCE_LIMIT = scaled(900.0)
"""Seconds without a word from the machine that end the soak."""


class Soak:
    """One scenario, and the faults that it has to bear."""

    def __init__(self, scenario: Scenario, random: Random) -> None:
        self._stage = scenario
        self._random = random
        self.deeds: tuple[Callable[[], None], ...] = (
            self.one_connection_is_reset,
            self.all_connections_are_reset,
            self.the_target_restarts,
            self.packets_are_dropped_for_a_while,
            self.packets_are_dropped_until_a_ping_times_out,
            self.the_network_goes_down,
            self.the_clock_jumps,
            self.the_daemon_is_killed,
            self.the_daemon_is_killed_during_a_recovery,
            self.a_connection_breaks_while_no_daemon_is_there,
            self.connections_break_while_the_daemon_sleeps,
        )

    def run(self, seconds: float) -> int:
        """Do one deed after the other for so long; return how many. Every deed once at least."""
        end = time.monotonic() + seconds
        count = 0
        waiting: list[Callable[[], None]] = []
        with self._stage.writing() as workload:
            while time.monotonic() < end or count < len(self.deeds):
                waiting = waiting or self._random.sample(self.deeds, len(self.deeds))
                self._do(waiting.pop(), workload)
                count += 1
            assert not workload.errors(), "ConnFailTimeout is 0, and yet a write failed"
        self._stage.assert_nothing_has_moved()
        return count

    def _do(self, deed: Callable[[], None], workload: Workload) -> None:
        deed()
        watch = faults.Stopwatch()
        workload.wait_for_progress()
        watch.lap(f"{self._stage.storage.kind}: {deed.__name__.replace('_', ' ')}; writes go on")
        sys.stdout.flush()
        self._pause(0, 2)

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self._random.uniform(least, most))

    def one_connection_is_reset(self) -> None:
        faults.reset(self._stage.sid)

    def all_connections_are_reset(self) -> None:
        faults.reset_all()

    def the_target_restarts(self) -> None:
        with self._stage.storage.down():
            self._pause(0, 6)

    def packets_are_dropped_for_a_while(self) -> None:
        with faults.silence():
            self._pause(0, 10)

    def packets_are_dropped_until_a_ping_times_out(self) -> None:
        """No end closes the connection: only the kernel's pings can find out."""
        # A daemon that has only just started would find the session broken, and not learn why.
        self._stage.daemon.wait_until_ready()
        with faults.silence():
            self._stage.wait_for_state("FAILED")
            self._stage.daemon.wait_for_line(self._stage.names[0], PING_UNANSWERED)

    def the_network_goes_down(self) -> None:
        """Even the daemon's connection to itself is impossible meanwhile."""
        with faults.network_down():
            self._pause(0, 8)

    def the_clock_jumps(self) -> None:
        with faults.clock_jump(self._random.choice((-1, 1)) * DAY):
            faults.reset_all()
            self._pause(0, 2)

    def the_daemon_is_killed(self) -> None:
        self._stage.daemon.end()
        self._pause(0, 2)
        self._stage.daemon.start()

    def the_daemon_is_killed_during_a_recovery(self) -> None:
        faults.reset_all()
        self._pause(0, 1)
        self._stage.daemon.end()
        self._stage.daemon.start()

    def a_connection_breaks_while_no_daemon_is_there(self) -> None:
        self._stage.daemon.end()
        faults.reset(self._stage.sid)
        self._pause(0, 2)
        self._stage.daemon.start()

    def connections_break_while_the_daemon_sleeps(self) -> None:
        self._stage.daemon.send(signal.SIGSTOP)
        faults.reset_all()
        self._pause(0, 3)
        self._stage.daemon.send(signal.SIGCONT)


def soak(kind: str, seconds: float, seed: int, directory: Path) -> int:
    """Cause faults inside the virtual machine; return how many there were."""
    with running(Scenario(kind, directory, count=DISKS)) as scenario:
        return Soak(scenario, Random(f"{seed} {kind}")).run(seconds)


def _inside(seconds: float, seed: int) -> None:
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as directory:
            count = soak(kind, seconds / len(KINDS), seed, Path(directory))
        print(f"{kind}: {count} faults borne, nothing lost", flush=True)


def _outside(minutes: float, seed: int) -> int:
    if missing := emulated.what_is_missing():
        print(missing, file=sys.stderr)
        return 2
    print(f"seed {seed}", flush=True)
    words = [sys.executable, "-m", "tests.vm.soak", "--inside"]
    words += ["--minutes", str(minutes), "--seed", str(seed)]
    console = Path(tempfile.mkstemp(prefix="iscsid-soak-", suffix=".log")[1])
    machine = Machine(f"{shlex.join(words)} && echo SOAKED", console=console)
    lines: list[str] = []
    try:
        while (line := machine.read_line(seconds=SILENCE_LIMIT)) is not None:
            lines.append(line)
            print(line, flush=True)
    finally:
        machine.stop()
    said = console.read_text(errors="replace")
    oops = find_oops(said)
    if oops or "SOAKED" not in lines:
        print(f"{oops or 'it did not come to its end'}; see {console}", file=sys.stderr)
        return 1
    console.unlink()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--inside", action="store_true", help="this is the virtual machine")
    options = parser.parse_args()
    if options.inside:
        _inside(options.minutes * 60, options.seed)
        return 0
    return _outside(options.minutes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
