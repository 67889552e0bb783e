"""Small real processes for tests: scripts that use the modules under test, run by this Python."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which something that must happen is taken not to happen."""


def command(script: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``script``, warnings being errors as in the tests."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments]


def environment() -> dict[str, str]:
    """Where a process finds the package, though its directory be another."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def run(script: str, *arguments: str) -> str:
    """Run ``script`` to its end and return its output; a status other than 0 fails the test."""
    ended = subprocess.run(
        command(script, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command whose output is a terminal; return its exit status and all that it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment(), stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the end of a terminal whose other side is closed
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    return process.wait(), said.decode()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as ``condition`` holds; fails the test where it never does."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether there is a process ``pid`` that is more than a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
