"""The command iscsi-ls: what sessions, disks and troubles there are. See iscsi-ls(1).

It reads what the daemon writes, or if no daemon runs what /sys shows. Needs no privilege, sends
nothing, and changes nothing.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from iscsid import __version__
from iscsid.cli.command import CommandParser, flush, run_command, write_lines
from iscsid.cli.daemon_status import read_status
from iscsid.devices.lun_details import luns, parameters
from iscsid.devices.sysfs import Sysfs
from iscsid.exit_status import ExitStatus
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.process.pidfile import PidFile
from iscsid.protocol.printable import printable
from iscsid.status.listing import Wanted, format_listing
from iscsid.status.model import UP, SessionStatus, Status, to_json

NOT_RUNNING = "iscsi-ls: iscsid is not running: this is what the kernel shows"
NOT_READABLE = "iscsi-ls: iscsid runs, but its status is not there: this is what the kernel shows"
PAUSE = 2.0
"""Seconds between two listings with --watch."""
CLEAR = "\x1b[H\x1b[2J"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``iscsi-ls``; return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("iscsi-ls", partial(_run, given))


def make_parser() -> CommandParser:
    parser = CommandParser("iscsi-ls", "List iSCSI sessions and their disks.")
    add = parser.add_argument
    add("-l", "--luns", action="store_true", help="show the logical units of each session")
    add("-c", "--parameters", action="store_true", help="show what was negotiated")
    add("--json", action="store_true", help="print all that is known, for programs")
    add("--watch", action="store_true", help="go on printing until interrupted")
    add("-P", "--pidfile", default="/var/run/iscsid.pid", help="of the daemon that is meant")
    add("-v", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(arguments: Sequence[str]) -> int:
    options = make_parser().parse(arguments)
    try:
        _print(options)
        while options.watch:
            time.sleep(PAUSE)
            _print(options)
    except KeyboardInterrupt:
        pass
    return ExitStatus.SUCCESS


def _print(options: Namespace) -> None:
    now = time.time()
    status, diagnostic = look(options.pidfile, Sysfs(), now)
    is_terminal = sys.stdout.isatty()
    wanted = Wanted(luns=options.luns, parameters=options.parameters, colour=is_terminal)
    text = to_json(status) if options.json else format_listing(status, wanted, now)
    if options.watch and is_terminal and not options.json:
        text = CLEAR + text
    if diagnostic:
        write_lines(sys.stderr, [diagnostic])
    write_lines(sys.stdout, text.splitlines())
    flush(sys.stdout)


def look(pidfile: str, sysfs: Sysfs, now: float) -> tuple[Status, str]:
    """Return what the daemon has written, or what the kernel shows and a line that says why."""
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
