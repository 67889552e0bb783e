"""iscsi-ls shows the daemon's status, or what the kernel has if no daemon runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from iscsid.cli import iscsi_ls
from iscsid.cli.iscsi_ls import CLEAR, NOT_RUNNING, LsStatus
from iscsid.devices.sysfs import Sysfs
from iscsid.process.pidfile import PidFile
from iscsid.status.model import DiscoveryStatus, SessionStatus, from_json, to_json
from tests.support.kill_at_step import run_in_child
from tests.support.programs import on_a_terminal, started, watched_terminal
from tests.support.statuses import NOW, STATUS, UP
from tests.support.sysfs_tree import SysfsTree

COMMAND = [sys.executable, "-m", "iscsid.cli.iscsi_ls"]


RUNNING = replace(STATUS, pid=os.getpid())


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "iscsid.pid"


@pytest.fixture
def running(pidfile: Path) -> Iterator[Path]:
    """A daemon as iscsi-ls sees it: its locked pid file, and its status."""
    lock = PidFile(str(pidfile))
    lock.acquire()
    directory = pidfile.with_suffix("")
    directory.mkdir()
    (directory / "status.json").write_text(to_json(RUNNING))
    yield pidfile
    lock.release()


def test_status_of_a_running_daemon_is_shown(
    running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert iscsi_ls.main(["-P", str(running)]) == LsStatus.TROUBLES
    output = capsys.readouterr()
    assert output.err == "" and output.out.startswith("DISK      SIZE  NAME")
    assert "\n\ndiscovery at 192.0.2.9" in output.out
    assert "\x1b" not in output.out, "colours are for terminals"
    iscsi_ls.main(["-P", str(running), "--sessions"])
    assert capsys.readouterr().out.startswith("BUS  TGT  STATE")
    iscsi_ls.main(["-P", str(running), "--tree"])
    assert capsys.readouterr().out.startswith("bus0/target0  up")


@pytest.mark.parametrize(
    ("sessions", "discoveries", "expected"),
    [
        ([replace(UP, luns=[])], [], LsStatus.ALL_WELL),
        ([], [], LsStatus.NOTHING),
        ([], STATUS.discoveries, LsStatus.TROUBLES),
        (STATUS.sessions, [], LsStatus.TROUBLES),
    ],
)
@pytest.mark.parametrize("option", ["--sessions", "--json", "--luns"])
def test_exit_status_distinguishes_trouble_from_health(
    running: Path,
    sessions: list[SessionStatus],
    discoveries: list[DiscoveryStatus],
    expected: LsStatus,
    option: str,
) -> None:
    status = replace(RUNNING, sessions=sessions, discoveries=discoveries)
    (running.with_suffix("") / "status.json").write_text(to_json(status))
    assert iscsi_ls.main(["-P", str(running), option]) == expected


@pytest.mark.parametrize("variable", ["NO_COLOR=1", "TERM=dumb", "TERM="])
def test_a_terminal_without_colours_gets_none(
    running: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    _, output = on_a_terminal([*COMMAND, "-P", str(running)])
    assert "DISK" in output and "\x1b" not in output


def test_the_table_is_as_wide_as_the_terminal(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for width in (60, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        _, output = on_a_terminal([*COMMAND, "-P", str(running), "--sessions"])
        table = output.partition("\r\n\r\n")[0].splitlines()
        assert max(map(len, table)) <= width
    assert "  LUNS  " in output


def test_json_is_what_the_daemon_wrote(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    iscsi_ls.main(["-P", str(running), "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(to_json(RUNNING))


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202e\u2028\udcff"


def made_hostile(value: Any) -> Any:
    """Put it into every text of a status, as targets, workers and processes may choose some."""
    if is_dataclass(value) and not isinstance(value, type):
        names = {each.name for each in fields(value)} - {"state"}
        return replace(value, **{name: made_hostile(getattr(value, name)) for name in names})
    if isinstance(value, str):
        return f"{value}{HOSTILE}"
    if isinstance(value, list):
        return list(map(made_hostile, value))
    return {k: made_hostile(v) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("option", ["--sessions", "--tree", "--json", "-lc", "--pidfile"])
def test_no_text_in_the_status_reaches_the_terminal_as_it_is(
    running: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """A worker that was taken over, or a process that uses a disk, sent sequences to root's
    terminal."""
    status = made_hostile(RUNNING)
    text = to_json(status)
    assert text.replace("\n", "").isprintable() and from_json(text) == status
    (running.with_suffix("") / "status.json").write_text(text)
    iscsi_ls.main(["-P", str(running), *([option] if option != "--pidfile" else [])])
    output = capsys.readouterr()
    assert "owned" in output.out and output.err == ""
    assert all(line.isprintable() for line in output.out.split("\n"))


def test_lists_are_as_long_as_asked_for(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    iscsi_ls.main(["-P", str(running), "-l"])
    assert "DEVICE DETAILS" in capsys.readouterr().out
    iscsi_ls.main(["-P", str(running), "-c"])
    assert "PARAMETERS" in capsys.readouterr().out
    iscsi_ls.main(["-P", str(running), "-lc"])
    assert {"PARAMETERS:", "DEVICE DETAILS:"} <= set(capsys.readouterr().out.splitlines())


def test_daemon_that_died_is_not_believed(
    running: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "stale.pid"
    stale.write_text("4711\n")
    stale.with_suffix("").mkdir()
    (stale.with_suffix("") / "status.json").write_text(to_json(STATUS))
    iscsi_ls.main(["-P", str(stale)])
    output = capsys.readouterr()
    assert output.err == f"{iscsi_ls.NOT_RUNNING}\n" and "example:red" not in output.out


@pytest.mark.parametrize("text", [None, "", "{}", to_json(RUNNING)[:-10], to_json(STATUS)])
def test_status_that_cannot_be_read_is_reported(
    running: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    status = running.with_suffix("") / "status.json"
    status.unlink() if text is None else status.write_text(text)
    assert iscsi_ls.main(["-P", str(running)]) == LsStatus.NO_DAEMON
    assert capsys.readouterr().err == f"{iscsi_ls.NOT_READABLE}\n"


def test_sessions_are_read_from_sysfs_where_no_daemon_runs(pidfile: Path, tmp_path: Path) -> None:
    tree = SysfsTree(tmp_path / "sys")
    tree.add_unit(tree.add_session(1, 6), 6, 5, "sda")
    foreign = {"targetname": "iqn.x\x1b[2J", "ifacename": "default", "state": "FAILED", "tpgt": "2"}
    tree.add_session(2, 7, session=foreign, connection=None)
    status, diagnostic = iscsi_ls.look(str(pidfile), tree.sysfs, NOW)
    assert diagnostic == iscsi_ls.NOT_RUNNING and status.pid is None
    ours, theirs = status.sessions
    assert (ours.bus, ours.target, ours.state) == (0, 3, "up")
    assert (ours.portal, ours.isid) == ("192.0.2.1:3260", "800000000003")
    assert ours.luns[0].links == {"disk": "/dev/sda"}
    assert (theirs.bus, theirs.target, theirs.state, theirs.portal) == (None, None, "down", "")
    assert theirs.target_name.isprintable()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
def test_every_user_may_look(running: Path) -> None:
    for directory in (running.parent, *running.parent.parents[:2]):  # those of pytest
        directory.chmod(0o755)

    def child() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        assert iscsi_ls.look(str(running), Sysfs(), NOW) == (RUNNING, "")

    assert run_in_child(child) == 0


def test_terminal_gets_colours_and_json_none(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    status, output = on_a_terminal([*COMMAND, "-P", str(running)])
    assert status == LsStatus.TROUBLES and "\x1b[32mup" in output and "\x1b[31mwaiting" in output
    status, output = on_a_terminal([*COMMAND, "-P", str(running), "--json"])
    assert status == LsStatus.TROUBLES and "\x1b" not in output


def _restore_interrupts() -> None:
    """A shell ignores the signal in what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watching_goes_on_until_it_is_interrupted(running: Path) -> None:
    command = [*COMMAND, "-P", str(running), "--watch"]
    with started(command, stdout=subprocess.PIPE, preexec_fn=_restore_interrupts) as watch:
        assert watch.stdout is not None
        heads = 0
        for line in watch.stdout:
            heads += line.startswith("DISK")
            if heads == 2:
                break
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
        assert watch.wait() == LsStatus.TROUBLES


def test_watching_ends_when_the_reader_has_gone(running: Path) -> None:
    command = [*COMMAND, "-P", str(running), "--watch"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        assert watch.stdout is not None and watch.stderr is not None
        watch.stdout.readline()
        watch.stdout.close()
        assert watch.wait() == 1
        assert watch.stderr.read() == ""


def test_watching_without_a_daemon_shows_why_there_is_nothing(pidfile: Path) -> None:
    """The line is not wiped by the clearing of the screen."""
    environment = {"TERM": "xterm"}
    with watched_terminal([*COMMAND, "-P", str(pidfile), "--watch"], environment) as read:
        shown = ""
        while "no sessions" not in shown:
            shown += read()
    assert shown.startswith(f"{CLEAR}{NOT_RUNNING}")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["-v"], 0),
        (["--help"], 0),
        (["-x"], 2),
        (["-s", "-t"], 2),
        (["-l", "-s"], 2),
        (["-c", "--json"], 2),
    ],
)
def test_a_wrong_command_line_has_status_2(arguments: list[str], status: int) -> None:
    assert iscsi_ls.main(arguments) == status
