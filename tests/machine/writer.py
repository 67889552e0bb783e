"""Writes to a disk for as long as it is let, and knows what the disk has promised to keep.

Each block carries its number. A write counts as acknowledged once its number is in the record;
whatever was acknowledged must be on the disk in the end, or something newer in the same place.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.machine.disks import forget_cache

BLOCK = 4096
PLACES = 256
PATIENCE = 90.0

_PROGRAM = f"""
import mmap, os, sys
disk = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
block = mmap.mmap(-1, {BLOCK})
number = 0
while True:
    number += 1
    block[:8] = number.to_bytes(8, "big")
    os.pwrite(disk, block, number % {PLACES} * {BLOCK})
    os.write(1, b"%d\\n" % number)
"""


class Writer:
    """A process that writes to ``disk``, and its ``record`` of what was acknowledged."""

    def __init__(self, disk: Path, record: Path) -> None:
        self._disk = disk
        self._record = record
        with record.open("wb") as output:
            command = [sys.executable, "-c", _PROGRAM, str(disk)]
            self._process = subprocess.Popen(command, stdout=output)

    def wait_for_progress(self, blocks: int = 20) -> None:
        """Wait until so many more blocks have been acknowledged."""
        goal = len(self._acknowledged()) + blocks
        limit = time.monotonic() + PATIENCE
        while len(self._acknowledged()) < goal:
            assert self._process.poll() is None, "writing failed"
            assert time.monotonic() < limit, "writing does not go on"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the writing. A write that is blocked in the kernel outlives even SIGKILL."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)

    def verify(self) -> None:
        """Find every acknowledged block on the disk, or a newer one in its place."""
        forget_cache(self._disk)
        newest = {number % PLACES: number for number in self._acknowledged()}
        with self._disk.open("rb") as file:
            for place, number in newest.items():
                file.seek(place * BLOCK)
                found = int.from_bytes(file.read(8), "big")
                assert found >= number and found % PLACES == place, (
                    f"place {place} of {self._disk} holds {found}, but {number} was acknowledged"
                )

    def _acknowledged(self) -> list[int]:
        whole, _, _ = self._record.read_text().rpartition("\n")
        return [int(line) for line in whole.split()]


@contextmanager
def writing(disk: Path, record: Path) -> Iterator[Writer]:
    """Write to ``disk`` while the block runs, and verify all of it afterwards."""
    writer = Writer(disk, record)
    try:
        yield writer
    finally:
        writer.stop()
    writer.verify()
