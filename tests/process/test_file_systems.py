"""File systems that fill up, become read-only or vanish while the daemon runs, and are there again.

It goes on, logs one line when it begins and one when it is over, and makes up for what it could not
write. The file systems are small ones in the mount namespace of the daemon program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import pytest

from iscsid.cli.iscsi_ls import LsStatus
from tests.support.patience import PATIENCE, wait_until
from tests.support.programs import environment
from tests.support.surroundings import (
    NAME,
    Place,
    check_log,
    end,
    running,
    until_up,
)
from tests.target.portal import Portals

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

SMALL = "mount -t tmpfs -o size=64k,mode=755 tmpfs"
STATUS_FAILS, STATUS_AGAIN = "the status is not written", "the status is written again"
BINDINGS_FAIL, BINDINGS_AGAIN = "the bindings are not saved", "the bindings are saved again"
WRONG = 60
"""Lines of a configuration, enough for more than a page of diagnostics."""
SECOND = f"TargetName={NAME}2\n Address=127.0.0.1:9\n"


@dataclass(frozen=True)
class Outage:
    """Commands of a shell; {0} is the directory with the file."""

    begin: str
    end: str
    words: str
    before: str = f"{SMALL} {{0}}"

    def __post_init__(self) -> None:
        assert "{0}" in self.begin and "{0}" in self.end


FULL = Outage(
    "dd if=/dev/zero of={0}/filler bs=4096 count=99 2>/dev/null || true",
    "rm {0}/filler",
    "No space left",
)
READ_ONLY = Outage("mount -o remount,ro {0}", "mount -o remount,rw {0}", "Read-only file system")
AWAY = Outage("mv {0} away", "mv away {0}", "No such file or directory", before="true")


def iscsi_ls(place: Place, process: subprocess.Popen[str]) -> int:
    """Return what iscsi-ls in the daemon's namespace ends with."""
    pidfile = str(place.directory / "run/iscsid.pid")
    command = [sys.executable, "-m", "iscsid.cli.iscsi_ls", "-P", pidfile]
    done = subprocess.run(
        place.in_namespace(process.pid, *command),
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode


def until_found(place: Place, process: subprocess.Popen[str]) -> None:
    wait_until(
        lambda: iscsi_ls(place, process) in (LsStatus.ALL_WELL, LsStatus.TROUBLES),
        lambda: f"iscsi-ls does not find it: {place.log}",
    )


@pytest.mark.parametrize(
    ("outage", "where"),
    # The lock is open for writing, which keeps all of /run from being made read-only here.
    [(FULL, "run"), (READ_ONLY, "run/iscsid"), (AWAY, "run")],
    ids=["full", "read-only", "away"],
)
def test_the_status_is_written_again_after_an_outage_of_run(
    outage: Outage, where: str, place: Place, portals: Portals
) -> None:
    with running(place, f"mkdir -p {where}; {outage.before.format(where)}") as process:
        until_up(place, portals, process)
        until_found(place, process)
        place.do(process.pid, outage.begin.format(where))
        process.send_signal(signal.SIGHUP)
        place.until_about(f"{STATUS_FAILS}: {place.directory}/run/iscsid: {outage.words}")
        place.do(process.pid, outage.end.format(where))
        place.until_about(STATUS_AGAIN)
        until_found(place, process)
        assert (len(place.about(STATUS_FAILS)), len(place.about(STATUS_AGAIN))) == (1, 1)
        end(process, place)
    check_log(place)


def test_files_in_run_that_were_removed_are_made_again(place: Place, portals: Portals) -> None:
    """Without the lock a second daemon could start, and both would log in to every target."""
    with running(place) as process:
        until_up(place, portals, process)
        until_found(place, process)
        place.do(process.pid, "rm -r run/*")
        place.until_about("the pid file was gone, and is made again")
        until_found(place, process)
        assert (place.directory / "run/iscsid.pid").read_text() == f"{process.pid}\n"
        second = subprocess.run(
            place.command(), env=environment(), capture_output=True, text=True, timeout=PATIENCE
        )
        assert second.returncode == 1
        assert f"iscsid is already running, pid {process.pid}" in second.stderr
        end(process, place)
    assert os.listdir(place.directory / "run") == []
    check_log(place)


def test_a_daemon_whose_place_a_second_one_has_taken_leaves(place: Place, portals: Portals) -> None:
    """Removed together with the lock, and taken before the first daemon looked."""
    with running(place) as process:
        until_up(place, portals, process)
        process.send_signal(signal.SIGSTOP)
        place.do(process.pid, "rm -r run/*")
        second_place = copy(place)
        second_place.log_name = "log2"
        with running(second_place) as second:
            wait_until(lambda: second_place.about("adopted, up"), lambda: str(second_place.log))
            process.send_signal(signal.SIGCONT)
            assert process.wait(PATIENCE) == 1
            last = place.log[-1]
            assert "leaving; the sessions stay in the kernel: iscsid is already running" in last
            end(second, second_place)
    check_log(place)


@pytest.mark.parametrize("outage", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_bindings_are_saved_after_an_outage(outage: Outage, place: Place, portals: Portals) -> None:
    with running(place, outage.before.format("bindings")) as process:
        until_up(place, portals, process)
        place.do(process.pid, outage.begin.format("bindings"))
        configuration = (place.directory / "conf/file").read_text()
        place.configure(configuration + SECOND)
        process.send_signal(signal.SIGHUP)
        place.until_about(BINDINGS_FAIL)
        place.do(process.pid, outage.end.format("bindings"))
        place.until_about(BINDINGS_AGAIN)
        saved = Path(f"/proc/{process.pid}/root{place.directory}/bindings/file").read_text()
        assert f"{NAME}2" in saved
        assert outage.words in place.about(BINDINGS_FAIL)[0]
        assert (len(place.about(BINDINGS_FAIL)), len(place.about(BINDINGS_AGAIN))) == (1, 1)
        end(process, place)
    check_log(place)


def test_lines_for_which_the_log_had_no_room_come_later(place: Place, portals: Portals) -> None:
    """They were lost without a word, and the line in which the room ended ran into the next."""
    before = f"mkdir logs; {SMALL} logs; exec 2>logs/file"
    with running(place, before) as process:

        def lines() -> list[str]:
            log = Path(f"/proc/{process.pid}/root{place.directory}/logs/file")
            return log.read_text().splitlines() if log.exists() else []

        def until_line(words: str) -> None:
            def is_there() -> bool:
                portals.turn()
                return any(words in line for line in lines())

            wait_until(is_there, lambda: str(lines()))

        until_line("session is up")
        place.do(process.pid, FULL.begin.format("logs"))
        place.configure("".join(f"Nonsense{number}=1\n" for number in range(WRONG)))
        process.send_signal(signal.SIGHUP)
        # A page of the log has room for some.
        until_line(":1:1: unknown keyword")
        wait_until(lambda: sum(map(len, lines())) + len(lines()) > 4000, lambda: str(lines()))
        place.do(process.pid, FULL.end.format("logs"))
        until_line("the log could not be reached since")
        assert sum("unknown keyword" in line for line in lines()) == WRONG
        assert all(line.startswith("iscsid: ") for line in lines()), lines()
        end(process, place)
