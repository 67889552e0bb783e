"""The commands print and end, refuse their command line, or cannot write their output."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from resource import RLIMIT_NOFILE, setrlimit

import pytest

from iscsid import __version__
from tests.support.patience import PATIENCE
from tests.support.programs import command, environment


def run(pidfile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "iscsid", f"--pidfile={pidfile}", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("option", "words"), [("-v", f"iscsid {__version__}\n"), ("--help", "--pidfile FILE")]
)
def test_what_only_prints_starts_no_daemon(option: str, words: str, tmp_path: Path) -> None:
    """ "Print the version and exit." "Print a short form of this list and exit." """
    done = run(tmp_path / "pid", option)
    assert (done.returncode, done.stderr) == (0, "") and words in done.stdout
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--frobnicate"], "--frobnicate"), (["-m", "999"], "999"), (["-t", "soon"], "soon")],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    options: list[str], words: str, tmp_path: Path
) -> None:
    """ "Above 0, one line on standard error says what was wrong." """
    done = run(tmp_path / "pid", *options)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("iscsid: ") and words in line
    assert not (tmp_path / "pid").exists()


def test_no_error_reaches_the_terminal_as_it_is() -> None:
    """What a worker reports of a target, for --discover, could clear the terminal."""
    script = """
        from iscsid.cli.command import run_command
        from iscsid.errors import IscsidError

        def fail():
            raise IscsidError("192.0.2.1: \\x1b[2J\\x9b31m\\u202e\\r", advice="first\\nsecond")

        raise SystemExit(run_command("iscsid", fail))
    """
    done = subprocess.run(command(script), env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.removesuffix("\n").split("\n")
    assert len(lines) == 2
    assert all(line.startswith("iscsid: ") and line.isprintable() for line in lines)


COMMANDS = {
    "iscsid": ["iscsid", "--check", "-f", "/dev/null"],
    "iscsid --help": ["iscsid", "--help"],
    "iscsid --version": ["iscsid", "--version"],
    "iscsid --show-config": ["iscsid", "--show-config", "-f", "/dev/null", "-b", "/none"],
    "iscsi-ls": ["iscsid.cli.iscsi_ls", "--json", "-P", "/none"],
    "iscsi-ls --help": ["iscsid.cli.iscsi_ls", "--help"],
    "iscsi-iname": ["iscsid.cli.iscsi_iname"],
    "iscsi-iname -v": ["iscsid.cli.iscsi_iname", "-v"],
}
each_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def run_shell(command: list[str], redirection: str) -> tuple[int, str]:
    """Run a command in a shell with its output redirected; return its status and its errors."""
    line = f"exec {sys.executable} -m {' '.join(command)} {redirection}"
    env = environment() | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        ["sh", "-c", line], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, "".join(
        line for line in done.stderr.splitlines(keepends=True) if "is not running" not in line
    )


@each_command
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_output_that_cannot_be_written_costs_one_line_and_status_1(
    command: list[str], redirection: str, reason: str
) -> None:
    status, diagnostic = run_shell(command, redirection)
    assert status == 1
    assert diagnostic.endswith(f": the output cannot be written: {reason}\n")
    assert diagnostic.count("\n") == 1


@each_command
def test_a_reader_that_has_gone_costs_status_1_and_no_line(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    output = [line for line in done.stderr.splitlines() if "is not running" not in line]
    assert (done.returncode, output) == (1, [])


@each_command
def test_with_all_standard_streams_closed_no_other_file_takes_their_numbers(
    command: list[str],
) -> None:
    assert run_shell(command, "<&- >&- 2>&-") == (1, "")


@each_command
@pytest.mark.parametrize("limit", [5, 6, 7])
def test_too_few_descriptors_show_no_traceback(command: list[str], limit: int) -> None:
    """With 4, Python itself cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=partial(setrlimit, RLIMIT_NOFILE, (limit, limit)),
    )
    output = [line for line in done.stderr.splitlines() if "is not running" not in line]
    assert done.returncode in (0, 1, 3) and "Traceback" not in done.stderr and len(output) <= 1
