"""What ``ps`` shows for a process: the command line, rewritten in place.

The kernel reads a process's command line from the process's own memory, so writing there is all
it takes (proc(5), setproctitle(3) of the BSDs). The place is told by /proc/self/stat. Where any
of this is impossible the old title stays, and nothing else happens. Touches only this process.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from iscsid.system.prctl import set_name

_STAT = Path("/proc/self/stat")
_ARG_START, _ARG_END, _ENV_START, _ENV_END = 45, 46, 47, 48
"""Places in /proc/PID/stat, counted from the field behind the command's name (proc(5))."""


def set_title(title: str) -> None:
    """Show ``title`` as this process's command line, cut to the room there is."""
    try:
        set_name(title)
        start, room = _find_room(_STAT.read_bytes())
    except (OSError, ValueError, IndexError):
        return
    if room > 1:
        environment = dict(os.environ)
        # The text may run on into the place where the environment's strings lie. Taken out and
        # put back, they lie elsewhere.
        os.environ.clear()
        ctypes.memset(start, 0, room)
        ctypes.memmove(start, *_fit(title, room - 1))
        os.environ.update(environment)


def _find_room(stat: bytes) -> tuple[int, int]:
    """Return where the command line starts, and how many bytes may be written there."""
    fields = stat.rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    if end == int(fields[_ENV_START]):
        end = int(fields[_ENV_END])
    return start, end - start


def _fit(title: str, room: int) -> tuple[bytes, int]:
    octets = title.encode()[:room]
    return octets, len(octets)
