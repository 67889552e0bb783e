"""Standard error as a way for the log: wherever it leads, it neither blocks nor fails.

Syslog, the other way, is tested with the journal. The quotation is from FreeBSD's manual page.
"""

from __future__ import annotations

import os
import re
import time

from iscsid.orders import Level
from iscsid.process.log import DaemonLog
from iscsid.process.log_sinks import StandardError
from tests.support.programs import run


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
        journal = DaemonLog.open(True, 1)
        journal.write(Level.INFO, "", "ready")
        journal.write(Level.ERROR, "iqn.a via b:3260", "refused")
        journal.write(Level.DEBUG, "", "trying again")
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
    reader, writer, journal = to_pipe()
    journal.write(Level.WARNING, "", "odd")
    assert os.read(reader, 4096) == b"iscsid: warning: odd\n"
    os.close(reader)
    os.close(writer)


def test_a_reader_that_does_not_read_cannot_stop_the_daemon() -> None:
    reader, writer, journal = to_pipe()
    sent = [f"line {number} {'x' * 900}" for number in range(300)]
    for text in sent:
        journal.write(Level.INFO, "", text)  # 300 kB into a pipe of 64
    os.set_blocking(reader, False)
    came = b""
    while journal.deadline() is not None:
        came += os.read(reader, 1 << 20)
        journal.flush(time.monotonic())
    came += os.read(reader, 1 << 20)
    lines = came.decode().splitlines()
    assert lines[:-1] == [f"iscsid: {text}" for text in sent]
    assert "its reader does not read" in lines[-1]
    os.close(reader)
    os.close(writer)


def test_a_standard_error_whose_reader_has_gone_is_harmless() -> None:
    reader, writer, journal = to_pipe()
    os.close(reader)
    journal.write(Level.ERROR, "", "into the void")
    assert journal.deadline() is None
    os.close(writer)


def test_a_closed_standard_error_is_harmless() -> None:
    reader, writer, journal = to_pipe()
    os.close(reader)
    os.close(writer)
    journal.write(Level.ERROR, "", "into the void")
    assert journal.deadline() is None


def test_the_journal_of_systemd_is_told_the_priority() -> None:
    reader, writer = os.pipe()
    status = os.fstat(writer)
    here = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    DaemonLog(StandardError("iscsid", True, writer, here), 0).write(Level.ERROR, "a", "b")
    elsewhere = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}
    DaemonLog(StandardError("iscsid", False, writer, elsewhere), 0).write(Level.ERROR, "a", "b")
    assert os.read(reader, 4096) == b"<3>a: b\niscsid: error: a: b\n"
    os.close(reader)
    os.close(writer)
