"""iscsid as a black box: its files, its command line, its signals, its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.patience import PATIENCE, wait_until
from tests.support.processes import is_alive
from tests.vm import sessions
from tests.vm.paths import CHECKOUT

Numbers = tuple[int, int]
"""Bus and target id."""

INITIATOR_NAME = "iqn.2003-02.org.example:machine"

FORK_SERVER, IDLE = "iscsid: fork server", "iscsid: worker"
"""Titles of processes."""


class Daemon:
    """One daemon, with all its files in ``directory``."""

    def __init__(self, directory: Path, *, python: str = sys.executable) -> None:
        self.python = python
        self.configuration = directory / "iscsi.conf"
        self.bindings = directory / "bindings"
        self.tree = directory / "iscsi"
        self.pidfile = directory / "iscsid.pid"
        self.initiatorname = directory / "initiatorname.iscsi"
        self.initiatorname.write_text(f"InitiatorName={INITIATOR_NAME}\n")
        self._log = directory / "log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *options: str) -> list[str]:
        """Return the command line with every file in our own directory."""
        files = {
            "-f": self.configuration,
            "-b": self.bindings,
            "-l": self.tree,
            "-P": self.pidfile,
            "--initiatorname": self.initiatorname,
        }
        pairs = [word for option, path in files.items() for word in (option, str(path))]
        return [self.python, "-m", "iscsid", *pairs, *options]

    def configure(self, *lines: str) -> None:
        """Write the configuration. Only root may read it: it may hold secrets."""
        self.configuration.write_text("".join(f"{line}\n" for line in lines))
        self.configuration.chmod(0o600)

    def run(self, *options: str, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run the command to its end: a check, or a start that detaches or is refused."""
        return subprocess.run(
            self.command(*options),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )

    def start(self, *options: str) -> None:
        """Start in the foreground and return at once."""
        assert self._process is None, "one daemon at a time"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("-n", *options), cwd=CHECKOUT, stdin=subprocess.DEVNULL, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "no daemon runs in the foreground"
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def workers(self) -> list[int]:
        """Return the process ids of all workers, idle ones and zombies too."""
        servers = [pid for pid in map(int, _processes()) if title(pid) == FORK_SERVER]
        children = (child for server in servers for child in children_of(server))
        return [child for child in children if title(child) != FORK_SERVER]

    def workers_with_a_job(self) -> list[int]:
        """Return the process ids of those that are at work."""
        return [pid for pid in self.workers() if title(pid) not in ("", IDLE)]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        assert self._process is not None
        try:
            status = self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            where = "".join(_look_into(self.pid, name) for name in ("status", "wchan", "stack"))
            raise AssertionError(self._describe(f"it does not end\n{where}")) from None
        self._process = None
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def end(self) -> None:
        """Kill the daemon, also one that has detached: for the end of a test."""
        if self._process is not None:
            self._process.kill()
            self.wait()
        with suppress(OSError, ValueError):
            # A pid file that is left names a daemon that still runs, or one that was killed.
            os.kill(pid := int(self.pidfile.read_text()), signal.SIGKILL)
            wait_until(lambda: not is_alive(pid), f"process {pid} goes on")

    def stop_detached(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon that the pid file names, and wait until it is gone."""
        os.kill(pid := int(self.pidfile.read_text()), number)
        wait_until(lambda: not is_alive(pid), f"process {pid} goes on")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def lines_about(self, *words: str) -> list[str]:
        """Return the lines of the log that hold every one of ``words``."""
        return [line for line in self.log().splitlines() if all(word in line for word in words)]

    def wait_for_line(self, *words: str) -> str:
        """Wait for a line of the log that holds every one of ``words``, and return the first."""
        self._wait(lambda: bool(self.lines_about(*words)), lambda: f"no line about {words}")
        return self.lines_about(*words)[0]

    def wait_until_ready(self) -> None:
        """Wait until a shell that started it in the background would go on.

        One that was killed before it has left its status, with another process id.
        """
        status = self.pidfile.with_suffix("") / "status.json"

        def is_its_own() -> bool:
            return status.exists() and json.loads(status.read_text())["pid"] == self.pid

        self._wait(is_its_own, lambda: "it is not ready")

    def link(self, bus: int, target: int, lun: int, name: str = "disk") -> Path:
        return self.tree / f"bus{bus}" / f"target{target}" / f"lun{lun}" / name

    def wait_for_links(self, *links: Path) -> None:
        """Wait until every link is there and leads to a device."""

        def missing() -> list[str]:
            return [str(link) for link in links if not link.exists()]

        self._wait(lambda: not missing(), lambda: f"links are missing: {missing()}")

    def wait_for_no_links(self, *links: Path) -> None:
        """Wait until every link is gone, dangling ones too."""

        def left() -> list[str]:
            return [str(link) for link in links if link.is_symlink()]

        self._wait(lambda: not left(), lambda: f"links are left: {left()}")

    def wait_for_pidfile(self) -> None:
        """Wait until the pid file names this daemon: it has come as far as to its own work."""
        self._wait(lambda: self.has_its_pidfile, lambda: f"the pid file does not name {self.pid}")

    @property
    def has_its_pidfile(self) -> bool:
        """Whether the pid file names this daemon, and none before it."""
        return self.pidfile.exists() and self.pidfile.read_text().strip() == str(self.pid)

    def wait_for_bindings(self, *target_names: str) -> dict[str, Numbers]:
        """Wait until the bindings file names every target; return the numbers of each."""

        def missing() -> list[str]:
            return [name for name in target_names if name not in self.read_bindings()]

        self._wait(lambda: not missing(), lambda: f"no binding yet for {missing()}")
        return self.read_bindings()

    def read_bindings(self) -> dict[str, Numbers]:
        """Return the content of the bindings file: bus and target id of each target."""
        if not self.bindings.exists():
            return {}
        words = [line.split() for line in self.bindings.read_text().splitlines()]
        return {line[2]: (int(line[0]), int(line[1])) for line in words if line and line[0] != "#"}

    def wait_for_sessions(self, *target_names: str) -> None:
        """Wait until the kernel has sessions with these targets, and with no others."""
        wanted = sorted(target_names)
        found: Callable[[], list[str]] = sessions.target_names
        self._wait(lambda: found() == wanted, lambda: f"sessions: {found()}, wanted: {wanted}")

    def _wait(self, question: Callable[[], bool], failure: Callable[[], str]) -> None:
        def answered() -> bool:
            # Asked first: what is true when the daemon has ended is true all the same.
            answer = question()
            if not answer and self._process is not None and self._process.poll() is not None:
                raise AssertionError(
                    self._describe(f"it ended with status {self._process.returncode}")
                )
            return answer

        wait_until(answered, lambda: self._describe(failure()))

    def _describe(self, what: str) -> str:
        tree = "\n".join(show_tree(self.tree))
        return f"{what}\n--- the tree\n{tree}\n--- the log\n{self.log()}"


def _look_into(pid: int, name: str) -> str:
    """Return a file of /proc/PID, for the failure of one that hangs."""
    try:
        return f"--- {name}\n{Path(f'/proc/{pid}/{name}').read_text()}\n"
    except OSError as error:
        return f"--- {name}: {error.strerror}\n"


def children_of(pid: int) -> list[int]:
    """Return the process ids of the children of ``pid``; none where it is gone."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in found.split()]


def title(pid: int) -> str:
    """Return the command line of a process; nothing if it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _processes() -> list[str]:
    return [each for each in os.listdir("/proc") if each.isdecimal()]


def show_tree(top: Path) -> Iterable[str]:
    """Return each link below ``top`` and where it leads, in order."""
    links = sorted(path for path in top.rglob("*") if path.is_symlink())
    return [f"{link.relative_to(top)} -> {os.readlink(link)}" for link in links]
