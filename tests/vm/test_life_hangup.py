"""SIGHUP: what is new comes, what was taken out of the file goes, and nothing else changes.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.patience import wait_until
from tests.vm import disks, sessions, wire
from tests.vm.daemon import Daemon
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"
BLUE = "iqn.2003-02.org.example:blue"
YELLOW = "iqn.2003-02.org.example:yellow"
NAMES = (RED, GREEN, BLUE, YELLOW)
SCAN = {0x00, 0x12, 0x1A, 0x5A, 0x25, 0x9E, 0xA0, 0xA3}
"""TEST UNIT READY, INQUIRY, MODE SENSE, READ CAPACITY, REPORT LUNS, MAINTENANCE IN."""


def stanzas(tgtd: Tgtd, names: Sequence[str], *settings: str) -> list[str]:
    """Return the lines for these targets; the ``settings`` are those of the last."""
    lines = [f"TargetName={name}\n    Address={tgtd.address}" for name in names]
    return [*lines, *(f"    {setting}" for setting in settings)]


def configure(daemon: Daemon, *lines: str) -> None:
    daemon.configure("PingTimeout=0", *lines)


def hang_up(daemon: Daemon) -> None:
    """Send SIGHUP, and wait until it has been handled."""
    seen = len(daemon.lines_about("SIGHUP:"))
    daemon.send(signal.SIGHUP)
    until(lambda: len(daemon.lines_about("SIGHUP:")) > seen, "SIGHUP")


def until(question: Callable[[], bool], what: str) -> None:
    wait_until(question, lambda: f"this did not come: {what}")


def test_sighup_brings_the_new_and_ends_the_old_and_spares_the_rest(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    for name in NAMES:
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-4:], 32)})
    configure(daemon, *stanzas(tgtd, [RED, GREEN, BLUE]))
    daemon.start()
    numbers = daemon.wait_for_bindings(RED, GREEN, BLUE)
    red, green, blue = (daemon.link(*numbers[name], 1) for name in (RED, GREEN, BLUE))
    daemon.wait_for_links(red, green, blue)
    disks.make_file_system(green)
    disks.run("udevadm", "settle", "--timeout=60")
    with wire.captured() as capture:
        check_that_an_error_changes_nothing(daemon, capture)
    with disks.mounted(green, tmp_path / "mount") as root, wire.captured() as capture:
        check_what_comes_and_goes(tgtd, daemon, capture)
        written = disks.write_pattern(root / "pattern", 2, seed="still there")
        assert disks.checksum(root / "pattern") == written
    daemon.wait_for_no_links(blue)
    assert not blue.parents[1].exists(), "the directory of a target that is gone"
    # Unmounted, the disk no longer holds its session.
    hang_up(daemon)
    daemon.wait_for_sessions(RED, YELLOW)
    daemon.wait_for_no_links(green)
    check_that_settings_reach_the_sessions(tgtd, daemon)


def check_that_an_error_changes_nothing(daemon: Daemon, capture: wire.Capture) -> None:
    """ "If the new configuration has errors, they are logged and the old one stays in force." """
    configure(daemon, "Nonsense=yes")
    hang_up(daemon)
    daemon.wait_for_line("stays in force")
    assert daemon.lines_about(f"{daemon.configuration}:2", "Nonsense")
    for sid in sessions.session_ids():
        assert capture.carried(wire.source_port(sid)) == []
    daemon.wait_for_sessions(RED, GREEN, BLUE)


def check_what_comes_and_goes(tgtd: Tgtd, daemon: Daemon, capture: wire.Capture) -> None:
    """ "The daemon logs in to new targets ... and logs out of targets that are neither configured
    nor discovered any more, unless their disks are in use. Sessions whose settings have not
    changed are not disturbed." """
    ports = {name: wire.source_port(sessions.session_of(name)) for name in (RED, GREEN, BLUE)}
    configure(daemon, *stanzas(tgtd, [RED, YELLOW]))
    tgtd.add_lun(RED, 7, disks.make_file(daemon.configuration.parent / "new", 16))
    # While it sleeps they come as one; and one is all that is needed.
    received = len(daemon.lines_about("SIGHUP: reading"))
    daemon.send(signal.SIGSTOP)
    for _ in range(5):
        daemon.send(signal.SIGHUP)
    daemon.send(signal.SIGCONT)
    numbers = daemon.wait_for_bindings(YELLOW)
    daemon.wait_for_links(daemon.link(*numbers[YELLOW], 1), daemon.link(*numbers[RED], 7))
    daemon.wait_for_sessions(RED, GREEN, YELLOW)
    line = daemon.wait_for_line(GREEN, "in use")
    assert "mounted on" in line, line
    assert len(daemon.lines_about("SIGHUP: reading")) == received + 1
    for name in (RED, GREEN):
        assert wire.source_port(sessions.session_of(name)) == ports[name]
    sent = capture.requests(ports[RED])
    strange = [each for each in sent if each.opcode not in (wire.NOP_OUT, wire.SCSI_COMMAND)]
    assert not strange, f"an untouched session saw opcodes {[each.opcode for each in strange]}"
    # udev reads the new disk; the old one sees the commands of a scan alone.
    to_old = {h.command for h in sent if h.opcode == wire.SCSI_COMMAND and h.octets[9] != 7}
    assert to_old <= SCAN, f"a scan does not need {to_old - SCAN}"
    assert capture.requests(ports[BLUE])[-1].opcode == wire.LOGOUT_REQUEST
    assert capture.responses(ports[BLUE])[-1].opcode == wire.LOGOUT_RESPONSE


def check_that_settings_reach_the_sessions(tgtd: Tgtd, daemon: Daemon) -> None:
    """ "applies changed settings to the sessions" """
    red, yellow = sessions.session_of(RED), sessions.session_of(YELLOW)
    red_port, yellow_port = wire.source_port(red), wire.source_port(yellow)
    lines = stanzas(tgtd, [RED], "AbortTimeout=77s")
    configure(daemon, *lines, *stanzas(tgtd, [YELLOW], "HeaderDigest=prefer-on"))
    hang_up(daemon)
    until(lambda: sessions.attribute(red, "abort_tmo") == "77", "the new timeout")
    daemon.wait_for_line(YELLOW, "need a new login")

    def has_new_connection() -> bool:
        try:
            return wire.source_port(yellow) != yellow_port
        except OSError:  # it has none at the moment
            return False

    until(has_new_connection, "the new login")
    until(lambda: sessions.attribute(yellow, "state") == "LOGGED_IN", "the new session")
    assert sessions.session_of(YELLOW) == yellow and wire.source_port(red) == red_port
