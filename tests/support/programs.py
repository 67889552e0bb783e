"""Small real processes for tests: scripts that use the modules under test, run by this Python."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]


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
    output = b""
    with suppress(OSError):  # the end of a terminal whose other side is closed
        while piece := os.read(ours, 4096):
            output += piece
    os.close(ours)
    return process.wait(), output.decode()


@contextmanager
def watched_terminal(
    command: list[str], more: dict[str, str] | None = None
) -> Iterator[Callable[[], str]]:
    """Run a command on a terminal; what is yielded returns what it writes next."""
    ours, theirs = pty.openpty()
    options = {"stdout": theirs, "stderr": theirs, "env": environment() | (more or {})}
    try:
        with started(command, **options):
            os.close(theirs)
            yield lambda: os.read(ours, 4096).decode()
    finally:
        os.close(ours)


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a process beside the block, and kill it when the block ends, however it ends.

    ``with subprocess.Popen`` would wait for a process to which a failed block sent no signal.
    """
    with subprocess.Popen(command, **{"env": environment(), "text": True, **options}) as process:
        try:
            yield process
        finally:
            process.kill()
