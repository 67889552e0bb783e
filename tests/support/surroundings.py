"""The daemon program with the fake kernel, and its files each in a directory of its own.

It runs in a mount namespace of its own, in which a test can mount, fill and remove what it likes
while it runs. An honest target behind a real socket serves it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import PATIENCE, wait_until
from tests.support.programs import environment, started
from tests.target.portal import Portals

NAME = "iqn.2024-01.org.example:honest"
SMALL = "mount -t tmpfs -o size=4k,mode=755 tmpfs"
FILL = "dd if=/dev/zero of={0}/filler bs=4096 count=4 2>/dev/null"
TOP = Path(__file__).parents[2]
OF_THE_TEST = ("no udevd runs", "scanning for LUNs failed: session")
FILES = {
    "-f": "conf/file",
    "-b": "bindings/file",
    "-l": "links",
    "-P": "run/iscsid.pid",
    "--initiatorname": "name/file",
}


def full(directory: str) -> str:
    """Return the shell command that mounts a file system without a free block."""
    return f"{SMALL} {directory}; {FILL.format(directory)}"


def read_only(directory: str) -> str:
    return f"mount -t tmpfs -o ro,mode=755 tmpfs {directory}"


@dataclass
class Place:
    """The daemon's files; ``address`` is the target's."""

    directory: Path
    address: str
    options: Sequence[str] = ("-n",)
    log_name: str = "log"

    def __post_init__(self) -> None:
        for name in ("conf", "name", "bindings", "run"):
            (self.directory / name).mkdir()
        (self.directory / "name/file").write_text("InitiatorName=iqn.2024-01.org.example:me\n")
        (self.directory / "victim").write_text("precious\n")
        self.configure(f"TargetName={NAME}\n Address={self.address}\n")

    def configure(self, text: str) -> None:
        configuration = self.directory / "conf/file"
        configuration.write_text(text)
        configuration.chmod(0o600)

    def command(self, before: str = "true", wrapper: Sequence[str] = ()) -> list[str]:
        """Return the daemon's command line, after ``before`` was run by a shell.

        ``wrapper`` is a command that runs the daemon.
        """
        pairs = ((option, str(self.directory / name)) for option, name in FILES.items())
        options = [word for pair in pairs for word in pair]
        program = [*wrapper, sys.executable, "-m", "tests.hostile.program"]
        program += [str(self.directory / "sys"), str(self.directory / "asked")]
        program += [*self.options, *options]
        run = f'{before}; exec "$@"'
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", run, "sh", *program]

    def do(self, pid: int, commands: str) -> None:
        """Run commands in the daemon's mount namespace."""
        command = self.in_namespace(pid, "sh", "-ec", commands.format(top=TOP))
        subprocess.run(command, check=True, timeout=PATIENCE)

    def in_namespace(self, pid: int, *command: str) -> list[str]:
        """Return the command as it runs in the daemon's mount namespace, in this directory."""
        return ["nsenter", "-t", str(pid), "-m", f"--wdns={self.directory}", *command]

    @property
    def log(self) -> list[str]:
        """The lines but those that the fake kernel, and a machine without udevd, bring about."""
        lines = (self.directory / self.log_name).read_text(errors="replace").splitlines()
        return [line for line in lines if not any(words in line for words in OF_THE_TEST)]

    def about(self, words: str) -> list[str]:
        return [line for line in self.log if words in line]

    def until_about(self, words: str, number: int = 1) -> None:
        """Wait until so many lines of the log have these words."""
        wait_until(lambda: len(self.about(words)) >= number, lambda: "\n".join(self.log))


@contextmanager
def running(
    place: Place, before: str = "true", wrapper: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon beside the block."""
    with (place.directory / place.log_name).open("wb") as log:
        command = place.command(before, wrapper)
        with started(command, env=environment(), cwd=place.directory, stderr=log) as process:
            yield process


def until_up(
    place: Place, portals: Portals, process: subprocess.Popen[str], sessions: int = 1
) -> None:
    """Serve until the log names so many sessions that are up."""

    def is_up() -> bool:
        portals.turn()
        assert process.poll() is None, place.log
        return len(place.about("session is up")) >= sessions

    wait_until(is_up, lambda: f"no session: {place.log}")


def check_log(place: Place) -> None:
    """Hold each line against what holds for all of them."""
    log = place.log
    assert not [line for line in log if "Traceback" in line or "internal error" in line], log
    assert all(line.startswith("iscsid: ") and line.isprintable() for line in log), log


def end(process: subprocess.Popen[str], place: Place) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, place.log
