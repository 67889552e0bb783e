"""``iscsid --wait`` returns when the tree is complete, and names what is missing if it is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.cli.wait import wait
from iscsid.errors import IscsidError
from iscsid.process.pidfile import PidFile
from iscsid.process.status_files import STATUS, directory_for
from iscsid.status.model import DiscoveryStatus, Status, to_json
from tests.support.patience import PATIENCE
from tests.support.programs import on_a_terminal


def text(targets: int | None, pid: int) -> str:
    discovery = DiscoveryStatus(address="192.0.2.1:3260", state="asking", since=0, targets=targets)
    return to_json(Status(version="4", pid=pid, written=0, discoveries=[discovery]))


@pytest.fixture
def pidfile(tmp_path: Path) -> Iterator[str]:
    """The pid file of a daemon that runs: this process."""
    held = PidFile(str(tmp_path / "iscsid.pid"))
    held.acquire()
    yield held.path
    held.release()


def write(pidfile: str, targets: int | None, *, pid: int | None = None) -> None:
    directory = Path(directory_for(pidfile))
    directory.mkdir(exist_ok=True)
    (directory / "new").write_text(text(targets, pid or os.getpid()))
    os.replace(directory / "new", directory / STATUS)


def test_a_complete_tree_is_not_waited_for(pidfile: str) -> None:
    write(pidfile, 0)
    assert wait(pidfile, 0) == 0


def test_it_waits_until_the_status_comes_and_the_tree_is_complete(pidfile: str) -> None:
    def live() -> None:
        time.sleep(0.05)
        write(pidfile, None)
        time.sleep(0.05)
        write(pidfile, 3)

    daemon = threading.Thread(target=live)
    daemon.start()
    assert wait(pidfile, 0) == 0
    daemon.join()


def test_the_status_of_a_killed_daemon_is_not_believed_after_the_next_start(pidfile: str) -> None:
    write(pidfile, 0, pid=os.getppid())
    with pytest.raises(IscsidError, match="after 1 s: the daemon's status"):
        wait(pidfile, 1)
    write(pidfile, 0)
    assert wait(pidfile, 1) == 0


def test_when_time_runs_out_it_names_what_is_missing(pidfile: str) -> None:
    write(pidfile, None)
    with pytest.raises(IscsidError, match=r"after 1 s: discovery at 192\.0\.2\.1:3260"):
        wait(pidfile, 1)


def test_a_terminal_shows_the_progress_and_is_left_clean(pidfile: str) -> None:
    write(pidfile, None)
    command = [sys.executable, "-m", "iscsid", "-P", pidfile]
    status, output = on_a_terminal([*command, "--wait=1"])
    assert status == 1
    _, shown, blanks, diagnostic, _ = output.split("\r")
    assert shown == "0 of 0 sessions up, waiting for discovery at 192.0.2.1:3260"
    assert blanks == " " * len(shown) and diagnostic.startswith("iscsid: not complete after 1 s")
    write(pidfile, 0)
    status, output = on_a_terminal([*command, "--wait"])
    assert (status, output.strip()) == (0, "0 of 0 sessions up"), "and a blank line over it"


def test_without_a_daemon_it_does_not_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "iscsid.pid")
    with pytest.raises(IscsidError, match="no iscsid runs"):
        wait(path, 0)


def test_a_status_that_makes_no_sense_is_reported(pidfile: str) -> None:
    write(pidfile, 0)
    Path(directory_for(pidfile), STATUS).write_text("{")
    with pytest.raises(IscsidError, match="cannot be read"):
        wait(pidfile, 0)


def test_the_command_waits_and_starts_no_daemon(pidfile: str, tmp_path: Path) -> None:
    write(pidfile, 0)
    command = [sys.executable, "-m", "iscsid", "--wait=5", "-P"]
    root = Path(__file__).parents[2]
    assert subprocess.run([*command, pidfile], cwd=root, timeout=PATIENCE).returncode == 0
    absent = subprocess.run(
        [*command, str(tmp_path / "none.pid")],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert absent.returncode == 1
    assert absent.stderr.count("\n") == 1 and "no iscsid runs" in absent.stderr
