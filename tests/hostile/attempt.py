"""One run of the daemon program against many hostile targets at once, and what became of each.

The daemon, its fork servers and its workers are the real ones; only the kernel's iSCSI interface is
the fake one (``program``). The targets live in the process of the test. Honest targets lie between
the hostile ones: what becomes of these shows whether others are served meanwhile.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.hostile.case import Case, Kind
from tests.support.patience import FACTOR, PATIENCE, scaled
from tests.support.programs import environment, started
from tests.target.portal import Portal, Portals, listen
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget

PREFIX = "iqn.2024-01.org.example"
AT_ONCE = 16
"""--max-processes; a quarter of the places is for portals that answer."""
ANSWER = max(1, round(FACTOR))
"""Seconds that a target has for an answer; for the whole of a login it has three times as long."""
HONEST_EVERY = 20
"""One target in so many is an honest one."""
LOOK = 0.05
"""Seconds between two looks at the processes."""
GIVES_UP = ": giving up until SIGHUP"
"""The line behind a failure that no waiting mends."""
SUMMARY = r" \((once|\d+ times) more(, at .*)?\)$"
"""What ends a line about failures that came again within a minute."""
BORNE = 1.0
"""Seconds for which a target that the daemon must bear goes on after its first answer."""
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Outcome:
    """What is known of one target."""

    case: Case | None
    """``None``: an honest one."""
    number: int
    portal: Portal
    lines: list[str] = field(default_factory=list)
    """Of the log, about this target."""
    failed_after: float | None = None
    """Seconds from the first connection to the first line of a failure."""
    processor: float = 0.0
    """Seconds of all its workers together."""
    memory: int = 0
    """Octets of the largest of its workers."""
    session_after: float | None = None
    """Seconds from the first connection until the kernel was asked for a session."""

    @property
    def target(self) -> str:
        return f"{PREFIX}:case{self.number}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.portal.number}"

    @property
    def is_login(self) -> bool:
        return self.case is None or self.case.kind is Kind.LOGIN

    @property
    def failures(self) -> list[str]:
        return [
            line
            for line in self.lines
            if line.startswith(("iscsid: error:", "iscsid: warning:"))
            and GIVES_UP not in line
            and not re.search(SUMMARY, line)
        ]

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be waited for."""
        if self.case is None:
            return self.session_after is not None
        if self.case.cause or self.failures:
            return bool(self.failures)
        since = self.portal.first_at
        return since > 0 and time.monotonic() - since > scaled(BORNE) and self._is_answered

    @property
    def _is_answered(self) -> bool:
        return bool(self.lines) or self.is_login

    def configuration(self) -> list[str]:
        if self.is_login:
            settings = self.case.settings if self.case else ()
            name = [f"TargetName={self.target}", f" Address={self.address}", " Enabled=yes"]
            return [*name, *(f" {each}" for each in settings)]
        assert self.case is not None
        kept = "yes" if self.case.kind is Kind.KEPT else "no"
        return [f"DiscoveryAddress={self.address}", f" Continuous={kept}"]


@dataclass
class Run:
    """What became of all of them, and of the daemon."""

    outcomes: list[Outcome]
    log: str = ""
    status: int | None = None
    seconds: float = 0.0
    memory: int = 0
    """Octets of the daemon's process at the end."""
    processor: float = 0.0
    """Seconds of the daemon's process."""
    requests: list[str] = field(default_factory=list)
    """What the fake kernel was asked for."""
    written: bytes = b""
    """Every file that the daemon has written."""
    titles: set[str] = field(default_factory=set)
    """Of the workers, as ps(1) shows them."""

    @property
    def honest(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.case is None]


def run_cases(cases: Sequence[Case], directory: Path) -> Run:
    """Run the daemon until all is known of each case, and end it."""
    portals = Portals()
    with closing(portals):
        run = Run(list(_outcomes(cases, portals)))
        _configure(run, directory)
        with (
            (directory / "log").open("wb") as log,
            started(_command(directory), env=environment(), stderr=log, text=False) as process,
        ):
            began = time.monotonic()
            watch = _Watch(run, process.pid, directory)
            while not all(each.is_over for each in run.outcomes):
                portals.turn()
                watch.look()
                assert process.poll() is None, (directory / "log").read_text()[-3000:]
                if time.monotonic() - began > PATIENCE:
                    break
            run.seconds = time.monotonic() - began
            watch.look_at_last()
            process.send_signal(signal.SIGTERM)
            ending = time.monotonic() + PATIENCE
            while process.poll() is None and time.monotonic() < ending:
                portals.turn()
            run.status = process.poll()
        watch.read_log()
        watch.close()
    run.log = (directory / "log").read_text(errors="replace")
    return run


def run_check(cases: Sequence[Case], directory: Path, *options: str) -> tuple[int, str]:
    """Run ``--check --login`` with all cases; return its exit status and all that it printed."""
    portals = Portals()
    with closing(portals):
        _configure(Run(list(_outcomes(cases, portals))), directory)
        files = ["-f", directory / "iscsi.conf", "--initiatorname", directory / "initiatorname"]
        command = [sys.executable, "-m", "iscsid", "--check", "--login", *map(str, files), *options]
        with (directory / "printed").open("wb") as printed:
            with started(command, env=environment(), stdout=printed, stderr=printed) as process:
                end = time.monotonic() + PATIENCE
                while process.poll() is None and time.monotonic() < end:
                    portals.turn()
                status = process.poll()
    assert status is not None, "it does not end"
    return status, (directory / "printed").read_text(errors="replace")


def _outcomes(cases: Sequence[Case], portals: Portals) -> Iterator[Outcome]:
    for number, case in enumerate(cases):
        if number % HONEST_EVERY == 0:
            yield _honest(1_000_000 + number, portals)
        listener = listen()
        port = listener.getsockname()[1]
        make = case.make
        yield Outcome(case, number, portals.add(listener, partial(make, port)))
    yield _honest(2_000_000, portals)


def _honest(number: int, portals: Portals) -> Outcome:
    return Outcome(None, number, portals.add(listen(), lambda: ScriptedTarget(Script())))


def _configure(run: Run, directory: Path) -> None:
    lines = [f"LoginTimeout={ANSWER}", "Enabled=no"]
    for outcome in run.outcomes:
        lines += outcome.configuration()
    configuration = directory / "iscsi.conf"
    configuration.write_text("".join(f"{line}\n" for line in lines))
    configuration.chmod(0o600)
    (directory / "initiatorname").write_text(f"InitiatorName={PREFIX}:initiator\n")


def _command(directory: Path) -> list[str]:
    files = {
        "-f": "iscsi.conf",
        "-b": "bindings",
        "-l": "links",
        "-P": "iscsid.pid",
        "--initiatorname": "initiatorname",
    }
    pairs = [word for option, name in files.items() for word in (option, str(directory / name))]
    program = [
        sys.executable,
        "-m",
        "tests.hostile.program",
        directory / "sys",
        directory / "asked",
    ]
    limits = ["-n", f"--login-timeout={3 * ANSWER}", f"--max-processes={AT_ONCE}"]
    return [*map(str, program), *pairs, *limits]


class _Watch:
    """Reads the log, the processes and the fake kernel's report while the daemon runs."""

    def __init__(self, run: Run, daemon: int, directory: Path) -> None:
        self._run = run
        self._daemon = daemon
        self._directory = directory
        self._log = (directory / "log").open("rb")
        self._rest = b""
        self._asked = 0
        self._next = 0.0
        self._of_worker: dict[int, Outcome] = {}
        self._spent: dict[int, float] = {}
        self._by_word: dict[str, Outcome] = {}
        for each in run.outcomes:
            self._by_word[each.target if each.is_login else each.address] = each

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK
        self.read_log()
        self._read_report()
        for pid in self._workers():
            self._look_at(pid)

    def look_at_last(self) -> None:
        self._run.processor, self._run.memory = spent(self._daemon)
        files = [each for each in self._directory.rglob("*") if each.is_file()]
        ours = ("iscsi.conf", "log", "asked")
        written = [each for each in files if each.name not in ours]
        self._run.written = b"".join(each.read_bytes() for each in written)

    def close(self) -> None:
        self._log.close()

    def read_log(self) -> None:
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        for line in lines:
            self._note(line.decode(errors="replace"))

    def _note(self, line: str) -> None:
        for outcome in {id(each): each for each in self._named_in(line)}.values():
            before = len(outcome.failures)
            outcome.lines.append(line)
            if outcome.failures and not before:
                outcome.failed_after = time.monotonic() - outcome.portal.first_at

    def _named_in(self, line: str) -> Iterator[Outcome]:
        for word in line.replace(",", " ").split():
            if outcome := self._by_word.get(word.rstrip(":")):
                yield outcome

    def _read_report(self) -> None:
        with suppress(FileNotFoundError):
            lines = (self._directory / "asked").read_text().splitlines()
            self._run.requests = [line for line in lines if line.isupper()]
            for line in lines[self._asked :]:
                outcome = self._by_word.get(line.partition(" ")[2])
                if outcome is not None and outcome.session_after is None:
                    outcome.session_after = time.monotonic() - outcome.portal.first_at
            self._asked = len(lines)

    def _workers(self) -> list[int]:
        servers = _children(self._daemon)
        return [child for server in servers for child in _children(server)]

    def _look_at(self, pid: int) -> None:
        if pid not in self._of_worker:
            title = _title(pid)
            self._run.titles.add(title)
            for word in title.split():
                if outcome := self._by_word.get(word):
                    self._of_worker[pid] = outcome
        outcome = self._of_worker.get(pid)
        if outcome is not None:
            seconds, memory = spent(pid)
            outcome.processor += max(0.0, seconds - self._spent.get(pid, 0.0))
            self._spent[pid] = max(seconds, self._spent.get(pid, 0.0))
            outcome.memory = max(outcome.memory, memory)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(each) for each in text.split()]
    return []


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def spent(pid: int) -> tuple[float, int]:
    """Return processor seconds and most resident octets of a process; zeros if it is gone."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
        most = int(status.partition("VmHWM:")[2].split()[0]) << 10
        return (int(fields[11]) + int(fields[12])) / _TICK, most
    return 0.0, 0
