"""The command iscsi-ls: what sessions, disks and troubles there are. See iscsi-ls(1).

It reads what the daemon writes, or if no daemon runs what /sys shows. Needs no privilege, sends
nothing, and changes nothing.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from functools import partial
from shutil import get_terminal_size

from iscsid import __version__
from iscsid.cli.command import CommandParser, UsageError, flush, run_command, write_lines
from iscsid.cli.daemon_status import read_status
from iscsid.devices.block_tree import block_device
from iscsid.devices.lun_details import luns, parameters
from iscsid.devices.mounts import Mounts
from iscsid.devices.sysfs import Sysfs
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.process.pidfile import PidFile
from iscsid.protocol.printable import printable
from iscsid.status.details import format_details
from iscsid.status.listing import (
    Display,
    format_disks,
    format_sessions,
    format_tree,
    troubles,
)
from iscsid.status.model import UP, SessionStatus, Status, for_terminals, to_json

NOT_RUNNING = "iscsi-ls: iscsid is not running: this is what the kernel shows"
NOT_READABLE = "iscsi-ls: iscsid runs, but its status is not there: this is what the kernel shows"
PAUSE = 2.0
"""Seconds between two listings with --watch."""
CLEAR = "\x1b[H\x1b[2J"


class LsStatus(IntEnum):
    """The exit statuses of iscsi-ls; the manual page's section EXIT STATUS has the same."""

    ALL_WELL = 0
    FAILURE = 1
    """The output could not be written."""
    USAGE = 2
    NO_DAEMON = 3
    TROUBLES = 4
    """At least one line of trouble is shown."""
    NOTHING = 5
    """No session is up, wanted or attempted, and nothing is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``iscsi-ls``; return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("iscsi-ls", partial(_run, given))


def make_parser() -> CommandParser:
    parser = CommandParser("iscsi-ls", "List iSCSI disks, sessions, and what is wrong.")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("-s", "--sessions", action="store_true", help="show a line for each session")
    only.add_argument("-t", "--tree", action="store_true", help="show sessions, disks, partitions")
    only.add_argument("--json", action="store_true", help="print all that is known, for programs")
    add = parser.add_argument
    add("-l", "--luns", action="store_true", help="show the logical units of each session")
    add("-c", "--parameters", action="store_true", help="show what was negotiated")
    add("--watch", action="store_true", help="go on printing until interrupted")
    add("-P", "--pidfile", default="/var/run/iscsid.pid", help="of the daemon that is meant")
    add("-v", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(arguments: Sequence[str]) -> int:
    options = make_parser().parse(arguments)
    if (options.luns or options.parameters) and (options.sessions or options.tree or options.json):
        given = "--luns" if options.luns else "--parameters"
        raise UsageError(f"{given} does not go with --sessions, --tree and --json", "iscsi-ls")
    try:
        status = _print(options)
        while options.watch:
            time.sleep(PAUSE)
            status = _print(options)
    except KeyboardInterrupt:
        pass
    return status


def _print(options: Namespace) -> LsStatus:
    sysfs, now = Sysfs(), time.time()
    status, diagnostic = look(options.pidfile, sysfs, now)
    as_read, status = status, for_terminals(status)
    display = _display(as_read, sysfs)
    wrong = list(troubles(status, display, now))
    if options.watch and sys.stdout.isatty() and not options.json and _is_capable():
        sys.stdout.write(CLEAR)
        flush(sys.stdout)
    if diagnostic:
        write_lines(sys.stderr, [diagnostic])
    if options.json:
        write_lines(sys.stdout, to_json(as_read).splitlines())
    elif options.luns or options.parameters:
        details = format_details(status, luns=options.luns, parameters=options.parameters)
        write_lines(sys.stdout, details)
    else:
        if options.tree:
            lines = format_tree(status, display)
        elif options.sessions:
            lines = format_sessions(status, display, now)
        else:
            lines = format_disks(status, display)
        write_lines(sys.stdout, [*lines, *(["", *wrong] if wrong else [])])
    flush(sys.stdout)
    if status.pid is None:
        return LsStatus.NO_DAEMON
    if wrong:
        return LsStatus.TROUBLES
    return LsStatus.ALL_WELL if status.sessions else LsStatus.NOTHING


def _display(status: Status, sysfs: Sysfs) -> Display:
    """Return what standard output can show, and the disks as they are now."""
    mounts: Mounts | None = None
    with suppress(OSError):
        mounts = Mounts()
    nodes = [lun.node for session in status.sessions for lun in session.luns if lun.node]
    disks = {node: block_device(node, mounts, sysfs) for node in nodes}
    is_terminal = sys.stdout.isatty()
    return Display(
        width=get_terminal_size().columns if is_terminal or "COLUMNS" in os.environ else None,
        # https://no-color.org: set and not empty.
        colour=is_terminal and _is_capable() and not os.environ.get("NO_COLOR"),
        unicode=(sys.stdout.encoding or "").lower() in ("utf-8", "utf8"),
        disks={node: for_terminals(disk) for node, disk in disks.items() if disk is not None},
    )


def _is_capable() -> bool:
    """Whether the terminal knows escape sequences."""
    return os.environ.get("TERM", "dumb") != "dumb"


def look(pidfile: str, sysfs: Sysfs, now: float) -> tuple[Status, str]:
    """Return what the daemon has written, or what the kernel shows and a line with the reason."""
    if not PidFile(pidfile).is_locked():
        return kernel_status(sysfs, now), NOT_RUNNING
    with suppress(OSError, ValueError):
        status = read_status(pidfile)
        if status is not None:
            return status, ""
    return kernel_status(sysfs, now), NOT_READABLE


def kernel_status(sysfs: Sysfs, now: float) -> Status:
    """Return the sessions that the kernel runs, ours and other programs'."""
    sessions = []
    for seen in sysfs.sessions():
        session_tag = parse_session_tag(seen.session_tag)
        is_up = seen.state == "LOGGED_IN" and seen.connection_state in ("up", "")
        sessions.append(
            SessionStatus(
                bus=session_tag.binding.bus if session_tag else None,
                target=session_tag.binding.target if session_tag else None,
                target_name=printable(seen.target_name),
                state=UP if is_up else "down",
                portal=printable(str(seen.persistent_portal or "")),
                portal_group_tag=seen.portal_group_tag,
                found_at=str((session_tag and session_tag.found_at) or ""),
                initiator_name=printable(seen.initiator_name),
                isid=session_tag.isid.hex() if session_tag else "",
                sid=seen.sid,
                host_no=seen.host_no,
                negotiated=parameters(sysfs, seen.sid),
                luns=luns(sysfs, seen.sid),
            )
        )
    return Status(version=__version__, pid=None, written=now, sessions=sessions)


if __name__ == "__main__":
    raise SystemExit(main())
