"""Reads every disk of a tree through its link, again and again, and reports each wrong one.

Each disk begins with a text that names its owner. Opening a link follows it in one step, so what
is read then is what a program that uses the name would get at that moment. A link that is gone, or
whose disk is, is no fault.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE

SIGNATURE = 64
"""Octets at the beginning of a disk."""

_PROGRAM = f"""
import glob, mmap, os, signal, sys
tree = sys.argv[1]
expected = dict(pair.split("=") for pair in sys.argv[2:])
page = mmap.mmap(-1, 4096)
going, read, wrong = True, 0, []
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
print("watching", flush=True)
while going:
    for path in glob.glob(f"{{tree}}/bus*/target*/lun*/disk"):
        try:
            disk = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            os.preadv(disk, [page], 0)
        except OSError:
            continue
        finally:
            os.close(disk)
        read += 1
        found = page[:{SIGNATURE}].rstrip(b"\\0").decode()
        if expected[path.removeprefix(tree + "/")] != found:
            wrong.append(f"{{path}} led to the disk of {{found}}")
print(read, len(wrong), *wrong[:5], sep="\\n", flush=True)
"""


def sign(file: Path, owner: str) -> None:
    """Write the owner's name into the file behind a disk."""
    with file.open("r+b") as disk:
        disk.write(owner.encode().ljust(SIGNATURE, b"\0"))


class LinkWatch:
    """The reader as a process; ``owners``: whose disk each link must lead to."""

    def __init__(self, tree: Path, owners: dict[str, str]) -> None:
        pairs = [f"{link}={owner}" for link, owner in owners.items()]
        command = [sys.executable, "-c", _PROGRAM, str(tree), *pairs]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        assert self._output.readline() == "watching\n"

    def stop(self) -> int:
        """End it; return how many disks it has read. Any wrong one fails the test."""
        self._process.send_signal(signal.SIGTERM)
        read, wrong, *descriptions = self._output.read().splitlines()
        assert self._process.wait(timeout=PATIENCE) == 0
        self._output.close()
        assert wrong == "0", descriptions
        return int(read)

    def kill(self) -> None:
        """Kill it: for the end of a test."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)
        self._output.close()
