"""Follows every link of a tree to its disk, again and again, and reports each wrong one.

Whose disk it is, the kernel says: the link leads to a device number, the number to a session, the
session to a target. A number that the link still leads to when the kernel has answered belonged to
that target at that moment. No disk is opened: an open disk would be in use, and keep its session.
A link that is gone, or whose disk is, is no fault.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE

SIGNATURE = 64
"""Octets at the beginning of a disk."""

_PROGRAM = """
import glob, os, re, signal, sys
tree = sys.argv[1]
expected = dict(pair.split("=") for pair in sys.argv[2:])
going, seen, wrong = True, 0, []
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
def number(path):
    return os.stat(path).st_rdev
def owner(disk):
    place = os.readlink(f"/sys/dev/block/{os.major(disk)}:{os.minor(disk)}")
    session = re.search("session[0-9]+", place)[0]
    with open(f"/sys/class/iscsi_session/{session}/targetname") as name:
        return name.read().strip()
print("watching", flush=True)
while going:
    for path in glob.glob(f"{tree}/bus*/target*/lun*/disk"):
        try:
            disk = number(path)
            found = owner(disk)
            if number(path) != disk:
                continue
        except OSError:
            continue
        seen += 1
        if expected[path.removeprefix(tree + "/")] != found:
            wrong.append(f"{path} led to the disk of {found}")
print(seen, len(wrong), *wrong[:5], sep="\\n", flush=True)
"""


def sign(file: Path, owner: str) -> None:
    """Write the owner's name into the file behind a disk."""
    with file.open("r+b") as disk:
        disk.write(owner.encode().ljust(SIGNATURE, b"\0"))


class LinkWatch:
    """The watcher as a process; ``owners``: whose disk each link must lead to."""

    def __init__(self, tree: Path, owners: dict[str, str]) -> None:
        pairs = [f"{link}={owner}" for link, owner in owners.items()]
        command = [sys.executable, "-c", _PROGRAM, str(tree), *pairs]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        assert self._output.readline() == "watching\n"

    def stop(self) -> int:
        """End it; return how many links it has followed. Any wrong one fails the test."""
        self._process.send_signal(signal.SIGTERM)
        seen, wrong, *descriptions = self._output.read().splitlines()
        assert self._process.wait(timeout=PATIENCE) == 0
        self._output.close()
        assert wrong == "0", descriptions
        return int(seen)

    def kill(self) -> None:
        """Kill it: for the end of a test."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)
        self._output.close()
