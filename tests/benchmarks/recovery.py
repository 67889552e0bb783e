"""Measures how soon writes go on after a fault, for iscsid and for Debian's open-iscsi.

Run it from the repository's root after ``sh tests/setup``: ``python -m tests.benchmarks.recovery``.
Both daemons are measured in one boot of a virtual machine, one after the other, with the same tgtd
and the same writes, each as it is configured out of the box: only so can their figures be compared.
open-iscsi is fetched and unpacked into the checkout's cache, never installed; without a network
iscsid is measured alone.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import open_iscsi
from tests.benchmarks.process_tree import processor_time
from tests.support.patience import wait_until
from tests.vm import disks, emulated, faults, sessions
from tests.vm.boot import Machine
from tests.vm.recovery import Scenario, running, states
from tests.vm.workload import Workload, writing

COUNT = 32
CALM = 35.0
"""Seconds before each fault: a session that has only just come up is no common case, and iscsid
waits before it tries one again."""
OUTAGES = (0, 30)
"""Seconds for which the target stays away once every session is down."""
ADDRESS = f"127.0.0.1:{faults.PORT}"


# --- inside -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """One daemon, and the writes that it keeps going."""

    log_prefix: str
    pid: int
    storage: faults.Storage
    workload: Workload

    def run(self, rounds: int) -> None:
        """Break things, and print how long the writes stood still."""
        for _ in range(rounds):
            with self._lap("reset of one connection"):
                faults.reset(sessions.session_ids()[0])
            with self._lap(f"reset of {COUNT} connections"):
                faults.reset_all()
        for seconds in OUTAGES:
            with self._lap(f"return of the target of {COUNT} sessions after {seconds} s"):
                with self.storage.down():
                    wait_until(lambda: states() == {"FAILED"}, lambda: f"states: {states()}")
                    time.sleep(seconds)

    @contextmanager
    def _lap(self, what: str) -> Iterator[None]:
        """Wait until all is calm; then print what comes of the fault that happens within."""
        time.sleep(CALM)
        before = processor_time(self.pid)
        yield
        watch = faults.Stopwatch()
        waited = self.workload.wait_for_progress(writes=1) - watch.start
        # Children may still be ending, and are counted when they have.
        time.sleep(1)
        used = processor_time(self.pid) - before
        print(
            f"{self.log_prefix}: {what}: {waited:.1f} s, {used:.1f} s of processor time", flush=True
        )


def measure_iscsid(directory: Path, rounds: int) -> None:
    with running(Scenario("tgtd", directory, settings=(), count=COUNT)) as scenario:
        with scenario.writing(depth=1) as workload:
            Measurement("iscsid", scenario.daemon.pid, scenario.storage, workload).run(rounds)


def measure_open_iscsi(directory: Path, rounds: int) -> None:
    files = {f"iqn.2003-02.org.example:o{n}": directory / f"disk{n}" for n in range(COUNT)}
    for file in files.values():
        disks.make_file(file, 4)
    storage = faults.Storage("tgtd", files)
    with open_iscsi.running_daemon() as pid:
        open_iscsi.iscsiadm("--mode", "discovery", "--type", "sendtargets", "--portal", ADDRESS)
        open_iscsi.iscsiadm("--mode", "node", "--login")
        links = [Path(f"/dev/disk/by-path/ip-{ADDRESS}-iscsi-{name}-lun-1") for name in files]
        wait_until(
            lambda: all(link.exists() for link in links), lambda: "open-iscsi's disks are missing"
        )
        with writing(links, directory / "record", depth=1) as workload:
            Measurement("open-iscsi", pid, storage, workload).run(rounds)
        open_iscsi.iscsiadm("--mode", "node", "--logout")
    storage.stop()


# --- outside ------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recovery")
    parser.add_argument("--rounds", type=int, default=3, help="so many resets of each kind (3)")
    parser.add_argument("--inside", action="store_true", help="this is the virtual machine")
    options = parser.parse_args()
    if options.inside:
        for measure_one in (measure_iscsid, measure_open_iscsi):
            if measure_one is measure_iscsid or open_iscsi.DIRECTORY.exists():
                with tempfile.TemporaryDirectory() as directory:
                    measure_one(Path(directory), options.rounds)
        return 0
    if missing := emulated.what_is_missing():
        print(missing, file=sys.stderr)
        return 2
    try:
        open_iscsi.fetch()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"without open-iscsi: {error}", file=sys.stderr)
    return _outside(options.rounds)


def _outside(rounds: int) -> int:
    """Boot a machine for the measurements, and print what they print."""
    console = Path(tempfile.mkstemp(prefix="iscsid-recovery-", suffix=".log")[1])
    words = [sys.executable, "-m", "tests.benchmarks.recovery", "--inside"]
    machine = Machine(shlex.join([*words, "--rounds", str(rounds)]), console=console)
    try:
        while (line := machine.read_line(seconds=900)) is not None:
            print(line, flush=True)
    finally:
        machine.stop()
    print(f"the machine's console is in {console}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
