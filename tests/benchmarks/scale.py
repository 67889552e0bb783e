"""Measures many targets in one boot: iscsid, Debian's open-iscsi, and the least that is possible.

Run it from the repository's root after ``sh tests/setup``::

    python -m tests.benchmarks.scale [--counts 1,32,128] [--target tgtd|lio] [--dead N] [--delay MS]

One target has one LUN. Everything lies in the memory of the virtual machine, and every program has
run once before the clock starts. Only ratios within one run mean anything: the processor is
emulated. A table goes to standard output, and each figure as a line of JSON to ``--json FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import open_iscsi
from tests.benchmarks.process_tree import ProcessTree, forks, processor_time
from tests.support.patience import wait_until
from tests.vm import disks, emulated, faults, sessions
from tests.vm.boot import Machine
from tests.vm.daemon import Daemon

NAME = "iqn.2003-02.org.example:s"
ADDRESS = f"127.0.0.1:{faults.PORT}"
FIGURE = "figure "
"""How a line begins that the machine sends to the host."""
IDLE = 30.0
"""Seconds over which wake-ups are counted."""
LIMIT = 900.0
"""Seconds for one phase of one program."""
PROGRAMS = ("floor", "iscsid", "open-iscsi")


# --- inside -------------------------------------------------------------------------------------


@dataclass
class Run:
    """One program with so many targets: what it took, phase by phase."""

    program: str
    count: int
    start: float = field(default_factory=time.monotonic)
    forks_before: int = field(default_factory=forks)

    def note(self, what: str, value: float) -> None:
        figure = {"program": self.program, "targets": self.count, "what": what, "value": value}
        print(FIGURE + json.dumps(figure), flush=True)

    def lap(self, what: str) -> None:
        self.note(what, round(time.monotonic() - self.start, 2))

    def follow(self, tree: ProcessTree, links: Callable[[], list[Path]]) -> None:
        """Note when all sessions are logged in, all disks there, all links made."""
        phases: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("logged in, s", lambda: _logged_in() >= self.count),
            ("scanned, s", lambda: _disks() >= self.count),
            ("links, s", lambda: all(link.is_symlink() for link in links())),
        )
        limit = time.monotonic() + LIMIT
        for what, is_done in phases:
            while not is_done():
                assert time.monotonic() < limit, f"{self.program}: no '{what}' in {LIMIT:.0f} s"
                tree.sample()
                time.sleep(0.2)
            self.lap(what)
        self.note("processor time, s", round(tree.processor_time(), 2))
        self.note("memory (PSS), kB", tree.peak_pss)
        self.note("processes made", forks() - self.forks_before)


def _logged_in() -> int:
    return sum(
        1
        for path in sessions.SESSIONS.glob("session*/state")
        if path.read_text().strip() == "LOGGED_IN"
    )


def _disks() -> int:
    return sum(1 for _ in sessions.SESSIONS.glob("session*/device/target*/*:*:*:*/block/*"))


def _by_path(count: int) -> list[Path]:
    return [Path(f"/dev/disk/by-path/ip-{ADDRESS}-iscsi-{NAME}{n}-lun-1") for n in range(count)]


def _all_gone() -> None:
    sessions.destroy_all()
    disks.run("udevadm", "settle", "--timeout=110")


def measure_floor(count: int, directory: Path, dead: int) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.floor"]
    run = Run("floor", count)
    process = subprocess.Popen([*command, str(count), NAME])
    try:
        run.follow(ProcessTree(process.pid), lambda: _by_path(count))
    finally:
        process.terminate()
        process.wait()
    _all_gone()


def measure_iscsid(count: int, directory: Path, dead: int) -> None:
    daemon = Daemon(directory)
    daemon.configure(
        *(f"DiscoveryAddress=127.0.1.{n + 1}" for n in range(dead)), f"DiscoveryAddress={ADDRESS}"
    )
    run = Run("iscsid", count)
    started = daemon.run()
    assert started.returncode == 0, started.stderr
    run.lap("ready, s")
    pid = int(daemon.pidfile.read_text())
    tree = ProcessTree(pid)

    def links() -> list[Path]:
        return [daemon.link(n // 256, n % 256, 1) for n in range(count)]

    run.follow(tree, links)
    _note_idle(run, tree)
    os.kill(pid, signal.SIGTERM)
    _wait_for_end(pid)
    run.start = time.monotonic()
    started = daemon.run()
    assert started.returncode == 0, started.stderr
    run.lap("restart with all up, ready, s")
    pid = int(daemon.pidfile.read_text())
    run.start = time.monotonic()
    os.kill(pid, signal.SIGINT)
    _wait_for_end(pid)
    run.lap("all logged out, s")
    _all_gone()


def measure_open_iscsi(count: int, directory: Path, dead: int) -> None:
    run = Run("open-iscsi", count)
    with open_iscsi.running_daemon() as pid:
        run.lap("ready, s")
        open_iscsi.iscsiadm("--mode", "discovery", "--type", "sendtargets", "--portal", ADDRESS)
        login = open_iscsi.start_iscsiadm("--mode", "node", "--login")
        run.follow(ProcessTree(pid), lambda: _by_path(count))
        login.wait()
        _note_idle(run, ProcessTree(pid))
        run.start = time.monotonic()
        open_iscsi.start_iscsiadm("--mode", "node", "--logout").wait()
        run.lap("all logged out, s")
    _all_gone()


def _note_idle(run: Run, tree: ProcessTree) -> None:
    time.sleep(10)
    wake_ups, used = tree.wake_ups(), processor_time(tree.root)
    time.sleep(IDLE)
    run.note("idle wake-ups a second", round((tree.wake_ups() - wake_ups) / IDLE, 2))
    run.note("idle processor, %", round(100 * (processor_time(tree.root) - used) / IDLE, 2))


def _wait_for_end(pid: int) -> None:
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), lambda: f"process {pid} does not end")


@contextmanager
def _delayed(milliseconds: int) -> Iterator[None]:
    if not milliseconds:
        yield
        return
    disks.run("modprobe", "sch_netem")
    disks.run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", f"{milliseconds}ms")
    try:
        yield
    finally:
        disks.run("tc", "qdisc", "del", "dev", "lo", "root")


def _inside(options: argparse.Namespace) -> None:
    measures = {
        "floor": measure_floor,
        "iscsid": measure_iscsid,
        "open-iscsi": measure_open_iscsi,
    }
    programs = [p for p in options.programs.split(",") if p != "open-iscsi" or _has_open_iscsi()]
    _run_everything_once()
    for count in map(int, options.counts.split(",")):
        with tempfile.TemporaryDirectory(dir="/run") as name:
            files = {f"{NAME}{n}": Path(name) / f"disk{n}" for n in range(count)}
            for file in files.values():
                disks.make_file(file, 4)
            storage = faults.Storage(options.target, files)
            try:
                with _delayed(options.delay):
                    for program in programs:
                        directory = Path(name) / program
                        directory.mkdir()
                        measures[program](count, directory, options.dead)
            finally:
                storage.stop()


def _has_open_iscsi() -> bool:
    return open_iscsi.DIRECTORY.exists()


def _run_everything_once() -> None:
    """Bring what the programs import into memory, so that no start is a cold one."""
    for module in ("iscsid.daemon", "tests.benchmarks.floor"):
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


# --- outside ------------------------------------------------------------------------------------


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("--counts", default="1,32,128", help="numbers of targets (1,32,128)")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--target", choices=("tgtd", "lio"), default="tgtd")
    parser.add_argument("--dead", type=int, default=0, help="so many dead portals in iscsi.conf")
    parser.add_argument("--delay", type=int, default=0, help="milliseconds on the network")
    parser.add_argument("--json", help="append every figure to this file")
    parser.add_argument("--inside", action="store_true", help="this is the virtual machine")
    return parser.parse_args()


def main() -> int:
    options = _parse()
    if options.inside:
        _inside(options)
        return 0
    if missing := emulated.what_is_missing():
        print(missing, file=sys.stderr)
        return 2
    try:
        open_iscsi.fetch()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"without open-iscsi: {error}", file=sys.stderr)
    figures = _measure()
    if options.json:
        with open(options.json, "a") as file:
            file.writelines(json.dumps(figure) + "\n" for figure in figures)
    print(format_table(figures))
    return 0 if figures else 1


def _measure() -> list[dict[str, object]]:
    """Boot a machine for the measurements; return the figures it printed."""
    console = Path(tempfile.mkstemp(prefix="iscsid-scale-", suffix=".log")[1])
    words = [sys.executable, "-m", "tests.benchmarks.scale", "--inside", *sys.argv[1:]]
    machine = Machine(shlex.join(words), console=console)
    figures: list[dict[str, object]] = []
    try:
        while (line := machine.read_line(seconds=2 * LIMIT)) is not None:
            if line.startswith(FIGURE):
                figures.append(json.loads(line.removeprefix(FIGURE)))
                print(line.removeprefix(FIGURE), file=sys.stderr, flush=True)
    finally:
        machine.stop()
    print(f"the machine's console is in {console}", file=sys.stderr)
    return figures


def format_table(figures: list[dict[str, object]]) -> str:
    """Return a Markdown table: a row for each number of targets and figure, a column a program."""
    rows = dict.fromkeys((figure["targets"], figure["what"]) for figure in figures)
    values = {(f["targets"], f["what"], f["program"]): f["value"] for f in figures}
    programs = [program for program in PROGRAMS if any(f["program"] == program for f in figures)]
    lines = [
        "| targets | | " + " | ".join(programs) + " |",
        "| --- | --- |" + " --- |" * len(programs),
    ]
    for targets, what in rows:
        cells = (str(values.get((targets, what, program), "")) for program in programs)
        lines.append(f"| {targets} | {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
