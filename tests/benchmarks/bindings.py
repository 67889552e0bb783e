"""How fast the persistent numbers are with the file nearly full; prints figures, asserts nothing.

Run it from the repository's root: ``python -m tests.benchmarks.bindings``. What is O(1) keeps its
figure from column to column; reading and writing the whole file grows with it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from iscsid.bindings.allocation import Bindings
from iscsid.process.bindings_file import BindingsFile
from iscsid.protocol.names import IscsiName

SIZES = (1_000, 8_000, 65_535)
PROBES = 1_000


def name(number: int) -> IscsiName:
    return IscsiName(f"iqn.2001-04.com.example:storage.array7.volume-{number:05}")


def filled(size: int) -> Bindings:
    bindings = Bindings()
    for number in range(size):
        bindings.assign(name(number))
    return bindings


def with_gaps(size: int) -> str:
    """Return the text of a file from which a person has removed lines here and there."""
    lines = filled(size).format().splitlines(keepends=True)
    step = size // PROBES
    return "".join(line for number, line in enumerate(lines) if number % step != step // 2)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(size: int) -> dict[str, float]:
    """Return the figures for a file of ``size`` bindings: microseconds each, or milliseconds."""
    text = filled(size).format()
    bindings = Bindings.parse(text, "bindings")
    sparse = Bindings.parse(with_gaps(size), "bindings")
    known = [name(number * (size // PROBES)) for number in range(PROBES)]
    new = [IscsiName(f"iqn.2002-04.com.example:new-{number}") for number in range(PROBES // 2)]
    with tempfile.TemporaryDirectory() as directory:
        file = BindingsFile(str(Path(directory) / "bindings"))
        file.read()
        saving = seconds(lambda: file.save(text))
        reading = seconds(file.read)
    return {
        "look up, us each": seconds(lambda: [*map(bindings.lookup, known)]) / PROBES * 1e6,
        "assign into gaps, us each": seconds(lambda: [*map(sparse.assign, new)]) / len(new) * 1e6,
        "assign from empty, us each": seconds(lambda: filled(size)) / size * 1e6,
        "parse the file, ms": seconds(lambda: Bindings.parse(text, "bindings")) * 1e3,
        "format the file, ms": seconds(bindings.format) * 1e3,
        "read the file, ms": reading * 1e3,
        "replace the file, ms": saving * 1e3,
    }


def main() -> None:
    columns = [measure(size) for size in SIZES]
    print(f"{'bindings':28}", *(f"{size:>12,}" for size in SIZES))
    for row in columns[0]:
        print(f"{row:28}", *(f"{column[row]:12.2f}" for column in columns))


if __name__ == "__main__":
    main()
