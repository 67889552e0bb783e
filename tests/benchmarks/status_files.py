"""What the status files and the look at the kernel cost the loop with many sessions.

Usage: python -m tests.benchmarks.status_files [SESSIONS]
Prints, for a tree that looks like /sys: the longest turn and the whole time of a write of the
files when all sessions are new, none has changed, one has; and of a first and a second look.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from iscsid.process.status_files import SLICE, StatusFiles
from iscsid.status.model import Status
from tests.support.statuses import STATUS, UP
from tests.support.sysfs_tree import SysfsTree


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tree = SysfsTree(Path(directory) / "sys")
        for sid in range(1, number + 1):
            tree.add_unit(tree.add_session(sid, sid), sid, 1, f"sd{sid}")
        sessions = [replace(UP, sid=sid, target=sid) for sid in range(1, number + 1)]
        status = replace(STATUS, sessions=sessions)
        files = StatusFiles(f"{directory}/run", tree.sysfs)
        show("all sessions new", files, lambda: status)
        show("none changed", files, lambda: status)
        sessions[7] = replace(UP, sid=8, target=8, state="waiting")
        show("one changed", files, lambda: status)
        first = timed(tree.sysfs.look)
        known = {session.sid: session for session in tree.sysfs.sessions()}
        again = timed(lambda: tree.sysfs.look(known=known))
        each = tree.sysfs.each_session((), known)
        longest = max(timed(lambda: next(each, None)) for _ in range(number + 1))
        print(
            f"look at {number} sessions: {first * 1000:.0f} ms, again {again * 1000:.0f} ms, "
            f"of which the longest piece has {longest * 1000:.0f} ms"
        )


def show(what: str, files: StatusFiles, status: Callable[[], Status]) -> None:
    turns = [timed(lambda: files.write(status, SLICE))]
    while files.deadline() == 0.0:
        turns.append(timed(lambda: files.write(status, SLICE)))
    print(
        f"status files, {what}: {len(turns)} turns, "
        f"longest {max(turns) * 1000:.0f} ms, in all {sum(turns) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
