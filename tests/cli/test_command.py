"""The command ``iscsid`` where it prints and leaves, or refuses its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from iscsid import __version__


def run(pidfile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "iscsid", f"--pidfile={pidfile}", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("option", "words"), [("-v", f"iscsid {__version__}\n"), ("--help", "-P, --pidfile=FILE")]
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
