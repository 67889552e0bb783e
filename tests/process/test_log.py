"""The log: its format, its bounds, and that nothing the other side does can hold the daemon up."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from iscsid.orders import Level
from iscsid.process import log as module
from iscsid.process.log import DaemonLog, StandardError
from tests.support.programs import run

WHO = "iqn.2026-01.org.example:disk via 192.0.2.1:3260"


class FakeSyslog:
    """A stand-in for syslog's socket, which reads only when it is asked to."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self.open()

    def open(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()
        Path(self.address).unlink(missing_ok=True)

    def lines(self) -> list[str]:
        lines = []
        while True:
            try:
                lines.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return lines

    def texts(self) -> list[str]:
        return [line.partition("]: ")[2] for line in self.lines()]


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[FakeSyslog]:
    listener = FakeSyslog(tmp_path / "log")
    yield listener
    listener.close()


class Opened(Protocol):
    def __call__(self, address: str | Path, debug: int = 0) -> DaemonLog: ...


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open logs on an address, and close them after the test."""
    with ExitStack() as stack:

        def make(address: str | Path, debug: int = 0) -> DaemonLog:
            log = DaemonLog.open(False, debug, str(address))
            stack.callback(log.close)
            return log

        yield make


# --- what a line is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "priority"),
    # syslog(3): facility daemon is 3 << 3; LOG_ERR 3, LOG_WARNING 4, LOG_INFO 6, LOG_DEBUG 7.
    [(Level.ERROR, 27), (Level.WARNING, 28), (Level.INFO, 30), (Level.DEBUG, 31)],
)
def test_a_syslog_line_is_in_the_words_of_syslog(
    syslog: FakeSyslog, level: Level, priority: int, opened: Opened
) -> None:
    opened(syslog.address, 1).write(level, WHO, "session is up")
    (line,) = syslog.lines()
    assert re.fullmatch(
        rf"<{priority}>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123][0-9] "
        rf"[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}} iscsid\[{os.getpid()}\]: "
        + re.escape(f"{WHO}: session is up"),
        line,
    )


def test_a_line_about_the_daemon_itself_has_no_prefix(syslog: FakeSyslog, opened: Opened) -> None:
    opened(syslog.address).write(Level.INFO, "", "ready")
    assert syslog.texts() == ["ready"]


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\x00\x1b[31mb", r"a\r\x00\x1b[31mb"),
        ("a\x7f\x9b\u2028b", r"a\x7f\x9b\u2028b"),
        ("a\u202eb", r"a\u202eb"),
        ("a\udcffb", r"a\udcffb"),
        ("größe", "größe"),
    ],
)
def test_no_line_can_be_forged(
    syslog: FakeSyslog, received: str, shown: str, opened: Opened
) -> None:
    """A target chooses its name and its messages: what it sends stays within one line."""
    opened(syslog.address).write(Level.INFO, received, received)
    assert syslog.texts() == [f"{shown}: {shown}"]


@pytest.mark.parametrize("letter", ["x", "ö", "\x1b", "\N{HAMMER}"])
def test_a_line_is_at_most_a_kilobyte_and_cut_between_letters(
    syslog: FakeSyslog, letter: str, opened: Opened
) -> None:
    opened(syslog.address).write(Level.INFO, WHO, letter * 5000)
    line = syslog.socket.recv(65536)
    assert 1000 < len(line) <= 1024
    assert line.decode().endswith("...")


@pytest.mark.parametrize(
    ("debug", "shown"),
    [
        (0, ["session is up"]),
        (1, ["session is up", "attempt 2"]),
        (2, ["session is up", "attempt 2", "LoginRequest"]),
        (7, ["session is up", "attempt 2", "LoginRequest"]),
    ],
)
def test_the_debug_level_decides_what_is_written(
    syslog: FakeSyslog, debug: int, shown: list[str], opened: Opened
) -> None:
    """Linux-iSCSI: "Each occurence of -d will increment the debug level"; FreeBSD: "loglevel"."""
    log = opened(syslog.address, debug)
    log.write(Level.INFO, "", "session is up")
    log.write(Level.DEBUG, "", "attempt 2")
    log.write(Level.DEBUG, "", "LoginRequest", depth=2)
    assert syslog.texts() == shown


# --- syslog that is missing, slow or full ---------------------------------------------------------


def test_lines_wait_for_a_syslog_that_is_not_there_yet(tmp_path: Path, opened: Opened) -> None:
    log = opened(tmp_path / "log")
    log.write(Level.INFO, "", "first")
    log.write(Level.ERROR, "", "second")
    assert log.deadline() is not None
    syslog = FakeSyslog(tmp_path / "log")
    log.flush(time.monotonic())
    first, second, report = syslog.texts()
    assert (first, second) == ("first", "second")
    assert re.fullmatch(
        r"the log could not be reached since ..:..:.. \(No such file or directory\): "
        r"2 late, 0 lost",
        report,
    )
    assert log.deadline() is None
    log.write(Level.INFO, "", "third")
    assert syslog.texts() == ["third"]
    syslog.close()


def test_a_syslog_that_was_restarted_is_found_again(syslog: FakeSyslog, opened: Opened) -> None:
    log = opened(syslog.address)
    log.write(Level.INFO, "", "before")
    syslog.close()
    log.write(Level.INFO, "", "while it was away")
    syslog.open()
    log.flush(time.monotonic())
    assert syslog.texts()[0] == "while it was away"


def test_a_full_syslog_neither_blocks_nor_loses_nor_reorders(
    syslog: FakeSyslog, opened: Opened
) -> None:
    log = opened(syslog.address)
    sent = [f"line {number}" for number in range(500)]
    for text in sent:
        log.write(Level.INFO, "", text)
    came = syslog.texts()
    assert 0 < len(came) < 500, "the socket's own queue is short"
    for _ in range(500):
        if log.deadline() is None:
            break
        log.flush(time.monotonic())
        came += syslog.texts()
    assert came[:-1] == sent
    assert f"{os.strerror(errno.EAGAIN)}): " in came[-1]
    assert came[-1].endswith("late, 0 lost")


def test_the_backlog_is_bounded_and_what_is_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setattr(module, "BACKLOG", 5)
    log = opened(tmp_path / "log")
    for number in range(12):
        log.write(Level.INFO, "", f"line {number}")
    syslog = FakeSyslog(tmp_path / "log")
    log.flush(time.monotonic())
    *lines, report = syslog.texts()
    assert lines == [f"line {number}" for number in range(5)], "the beginning shows what happened"
    assert report.endswith("5 late, 7 lost")
    syslog.close()


def test_while_syslog_is_away_it_is_not_tried_for_every_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    """A line between two attempts is kept, even where it could have been sent: order is kept."""
    monkeypatch.setattr(module, "RETRY", 1000.0)
    log = opened(tmp_path / "log")
    log.write(Level.INFO, "", "first")
    syslog = FakeSyslog(tmp_path / "log")
    log.write(Level.INFO, "", "second")
    assert syslog.texts() == []
    log.flush(time.monotonic())
    assert syslog.texts()[:2] == ["first", "second"]
    syslog.close()


def test_a_line_after_the_pause_tries_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.0)
    log = opened(tmp_path / "log")
    log.write(Level.INFO, "", "first")
    syslog = FakeSyslog(tmp_path / "log")
    log.write(Level.INFO, "", "second")
    assert [text[:6] for text in syslog.texts()] == ["first", "the lo", "second"]
    syslog.close()


def test_the_loop_knows_when_to_try_again(tmp_path: Path, opened: Opened) -> None:
    log = opened(tmp_path / "log")
    assert log.deadline() is None
    before = time.monotonic()
    log.write(Level.INFO, "", "first")
    first = log.deadline()
    assert first is not None and first >= before + module.RETRY
    log.flush(time.monotonic())
    second = log.deadline()
    assert second is not None and second >= first


# --- standard error -----------------------------------------------------------------------------


def to_pipe() -> tuple[int, int, DaemonLog]:
    reader, writer = os.pipe()
    return reader, writer, DaemonLog(StandardError("iscsid", False, writer, {}), 0)


def test_in_the_foreground_the_log_goes_to_standard_error() -> None:
    """FreeBSD: "sends verbose debug output to standard error"."""
    out = run(
        """
        import os
        os.dup2(1, 2)
        from iscsid.orders import Level
        from iscsid.process.log import DaemonLog
        log = DaemonLog.open(True, 1)
        log.write(Level.INFO, "", "ready")
        log.write(Level.ERROR, "iqn.a via b:3260", "refused")
        log.write(Level.DEBUG, "", "trying again")
        """
    )
    stamp = r"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3} "
    assert re.fullmatch(
        f"{stamp}iscsid: ready\n"
        f"{stamp}iscsid: error: iqn.a via b:3260: refused\n"
        f"{stamp}iscsid: trying again\n",
        out,
    )


def test_without_debugging_lines_on_standard_error_have_no_stamp() -> None:
    reader, writer, log = to_pipe()
    log.write(Level.WARNING, "", "odd")
    assert os.read(reader, 4096) == b"iscsid: warning: odd\n"
    os.close(reader)
    os.close(writer)


def test_a_reader_that_does_not_read_cannot_stop_the_daemon() -> None:
    reader, writer, log = to_pipe()
    sent = [f"line {number} {'x' * 900}" for number in range(300)]
    for text in sent:
        log.write(Level.INFO, "", text)  # 300 kB into a pipe of 64
    os.set_blocking(reader, False)
    came = b""
    while log.deadline() is not None:
        came += os.read(reader, 1 << 20)
        log.flush(time.monotonic())
    came += os.read(reader, 1 << 20)
    lines = came.decode().splitlines()
    assert lines[:-1] == [f"iscsid: {text}" for text in sent]
    assert "its reader does not read" in lines[-1]
    os.close(reader)
    os.close(writer)


def test_a_standard_error_whose_reader_has_gone_is_harmless() -> None:
    reader, writer, log = to_pipe()
    os.close(reader)
    log.write(Level.ERROR, "", "into the void")
    assert log.deadline() is None
    os.close(writer)


def test_a_closed_standard_error_is_harmless() -> None:
    reader, writer, log = to_pipe()
    os.close(reader)
    os.close(writer)
    log.write(Level.ERROR, "", "into the void")
    assert log.deadline() is None


def test_the_journal_of_systemd_gets_the_priority() -> None:
    reader, writer = os.pipe()
    status = os.fstat(writer)
    here = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    DaemonLog(StandardError("iscsid", True, writer, here), 0).write(Level.ERROR, "a", "b")
    elsewhere = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}
    DaemonLog(StandardError("iscsid", False, writer, elsewhere), 0).write(Level.ERROR, "a", "b")
    assert os.read(reader, 4096) == b"<3>a: b\niscsid: error: a: b\n"
    os.close(reader)
    os.close(writer)
