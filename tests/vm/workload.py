"""Writes without a pause, and proof of what became of them.

A child process writes blocks that carry their place and a generation, past every cache, and notes
each one that the disk has acknowledged. Now and then it reads one back at once; at the end the test
reads all of them. Whatever was acknowledged must be there, whole, in its place, and not older.

The child is this very file, run without the checkout: it imports the standard library alone.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BLOCK = 4096
PLACES = 16
"""Blocks of one writer: few, so that each is written again and again."""
PAUSE = 0.01
"""Seconds between two writes of all writers together: the emulated machine has other things to do,
and what is measured in it is to be the daemon's work."""
REST = 0.2
"""Seconds after a write that failed, where failures are to be borne."""
PATIENCE = 60.0 * float(os.environ.get("ISCSID_TEST_PATIENCE", "1"))


def block(place: int, generation: int) -> bytes:
    """Return what belongs in ``place``: the two numbers, over and over."""
    return (place.to_bytes(8, "big") + generation.to_bytes(8, "big")) * (BLOCK // 16)


# --- the child ----------------------------------------------------------------------------------


class _Writer(threading.Thread):
    """Writes to the places of one disk that are its own, and notes what happened."""

    def __init__(
        self, disk: int, path: str, first: int, record: int, pause: float, bears_errors: bool
    ) -> None:
        super().__init__(daemon=True)
        self._disk, self._first, self._record = disk, first, record
        self._pause, self._bears_errors = pause, bears_errors
        self._file = os.open(path, os.O_RDWR | os.O_DIRECT)
        self._buffer = mmap.mmap(-1, BLOCK)  # O_DIRECT wants pages
        self._kept: dict[int, int] = {}

    def run(self) -> None:
        generation = 0
        while True:
            generation += 1
            place = self._first + generation % PLACES
            start = time.monotonic()
            try:
                self._write(place, generation)
            except OSError as error:
                self._note("E", place, generation, start, error.errno or 0)
                if not self._bears_errors:
                    os._exit(1)
                time.sleep(REST)
            time.sleep(self._pause)

    def _write(self, place: int, generation: int) -> None:
        start = time.monotonic()
        self._buffer[:] = block(place, generation)
        os.pwrite(self._file, self._buffer, place * BLOCK)
        self._kept[place] = generation
        self._note("A", place, generation, start)
        if generation % 8 == 0:
            os.preadv(self._file, [self._buffer], place * BLOCK)
            if self._buffer[:] != block(place, generation):
                self._note("X", place, generation, start)

    def _note(self, kind: str, place: int, generation: int, start: float, code: int = 0) -> None:
        line = f"{kind} {self._disk} {place} {generation} {start:.4f} {time.monotonic():.4f} {code}"
        os.write(self._record, line.encode() + b"\n")


def _main(record: str, depth: str, bears_errors: str, *paths: str) -> None:
    output = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    pause = PAUSE * len(paths) * int(depth)
    for disk, path in enumerate(paths):
        for writer in range(int(depth)):
            _Writer(disk, path, writer * PLACES, output, pause, bears_errors == "yes").start()
    signal.pause()


# --- the test's side ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the record. ``kind``: A(cknowledged), E(rror), or X, other bytes came back."""

    kind: str
    disk: int
    place: int
    generation: int
    start: float
    end: float
    code: int


class Workload:
    """The child that writes to ``disks``, with ``depth`` commands at once on each."""

    def __init__(
        self, disks: Sequence[Path], record: Path, *, depth: int = 3, bears_errors: bool = False
    ) -> None:
        self._disks, self._record = disks, record
        self._notes: list[Note] = []
        self._read = 0
        words = [str(record), str(depth), "yes" if bears_errors else "no", *map(str, disks)]
        self._process = subprocess.Popen([sys.executable, "-I", "-S", __file__, *words])

    def notes(self) -> list[Note]:
        """Return everything that was noted so far."""
        if self._record.exists():
            with self._record.open("rb") as file:
                file.seek(self._read)
                whole, end, _ = file.read().rpartition(b"\n")
            self._read += len(whole) + len(end)
            self._notes += [_parse(line) for line in whole.decode().splitlines()]
        return self._notes

    def wait_for_progress(self, after: float | None = None, writes: int = 5) -> float:
        """Wait for ``writes`` begun after ``after`` (now) on every disk; return when they ended."""
        seen = len(self.notes()) if after is None else 0
        begin = time.monotonic() if after is None else after
        limit = time.monotonic() + PATIENCE
        done: list[list[float]] = [[] for _ in self._disks]
        while True:
            # A long soak has made very many notes: look at each of them once.
            for note in self.notes()[seen:]:
                seen += 1
                if note.kind == "A" and note.start >= begin:
                    done[note.disk].append(note.end)
            counts = [len(ends) for ends in done]
            if min(counts) >= writes:
                return max(ends[0] for ends in done)
            assert self._process.poll() is None, f"writing failed: {self.errors()[-3:]}"
            assert time.monotonic() < limit, f"writing does not go on: {counts}"
            time.sleep(0.1)

    def wait_for_error(self, after: float) -> Note:
        """Wait for a write that fails after ``after``, and return the first."""
        limit = time.monotonic() + PATIENCE
        while True:
            for note in self.errors():
                if note.end >= after:
                    return note
            assert time.monotonic() < limit, "no write fails"
            time.sleep(0.1)

    def errors(self) -> list[Note]:
        return [note for note in self.notes() if note.kind == "E"]

    def longest_stall(self) -> float:
        """Return the longest time, in seconds, in which one of the disks acknowledged nothing."""
        longest, last = 0.0, dict[int, float]()
        for note in self.notes():
            if note.kind == "A":
                longest = max(longest, note.end - last.get(note.disk, note.end))
                last[note.disk] = note.end
        return longest

    def stop(self) -> None:
        """End the writing. A write that is blocked in the kernel outlives even SIGKILL."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)

    def verify(self) -> int:
        """Find everything that was acknowledged on the disks; return how many writes that were."""
        acknowledged = [note for note in self.notes() if note.kind == "A"]
        assert acknowledged, "nothing was written"
        assert not [note for note in self.notes() if note.kind == "X"], "other bytes came back"
        newest = {(note.disk, note.place): note.generation for note in acknowledged}
        for disk, path in enumerate(self._disks):
            wanted = {place: new for (where, place), new in newest.items() if where == disk}
            _verify(path, wanted)
        return len(acknowledged)


def _verify(disk: Path, newest: dict[int, int]) -> None:
    buffer = mmap.mmap(-1, BLOCK)
    file = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    try:
        for place, generation in sorted(newest.items()):
            os.preadv(file, [buffer], place * BLOCK)
            found = int.from_bytes(buffer[8:16], "big")
            where = f"place {place} of {disk}"
            assert buffer[:] == block(place, found), f"{where} holds {buffer[:16].hex()}, torn"
            assert found >= generation, f"{where} holds {found}, but {generation} was acknowledged"
    finally:
        os.close(file)


def _parse(line: str) -> Note:
    kind, disk, place, generation, start, end, code = line.split()
    numbers = int(disk), int(place), int(generation)
    return Note(kind, *numbers, float(start), float(end), int(code))


@contextmanager
def writing(
    disks: Sequence[Path], record: Path, *, depth: int = 3, bears_errors: bool = False
) -> Iterator[Workload]:
    """Write while the block runs; verify when it ends, and print the figures."""
    workload = Workload(disks, record, depth=depth, bears_errors=bears_errors)
    try:
        workload.wait_for_progress()
        yield workload
        workload.wait_for_progress()
    finally:
        workload.stop()
    writes = workload.verify()
    print(f"{writes} writes kept, longest stall {workload.longest_stall():.1f} s")


if __name__ == "__main__":
    _main(*sys.argv[1:])
