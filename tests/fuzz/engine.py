"""Runs a fuzz target with atheris, and keeps the inputs worth keeping.

``corpus/NAME.hex`` has one input a line. A run unpacks it to ``.cache/fuzz/NAME`` in the checkout,
or to the directory that is given, where libFuzzer adds what it finds; a failing input goes to
``.cache/fuzz``. With ``--keep``
the inputs found so far are reduced to those that reach something new and written back.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

TOP = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = TOP / ".cache" / "fuzz"
LONGEST_KEPT = 2000
"""Octets of an input: longer ones are not worth their place in the repository."""


Arc = tuple[str, int, int]


def kept(name: str) -> list[bytes]:
    """Return the inputs of the kept corpus of a target."""
    return [bytes.fromhex(line) for line in (CORPUS / f"{name}.hex").read_text().split("\n")]


def run(file: str) -> None:
    """Fuzz the target in ``file`` with the options of the command line."""
    name = Path(file).stem
    options = [each for each in sys.argv[1:] if each.startswith("-")]
    given = [Path(each) for each in sys.argv[1:] if not each.startswith("-")]
    directory = given[0] if given else FOUND / name
    directory.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(kept(name)):
        (directory / f"kept-{number}").write_bytes(octets)
    if options == ["--keep"]:
        _keep(name, directory)
        return
    atheris = importlib.import_module("atheris")
    for module in [each for each in sys.modules if each.startswith(("iscsid.", "tests."))]:
        del sys.modules[module]
    # Only what is imported from here on reports its branches: the program, not its libraries.
    with atheris.instrument_imports(include=["iscsid"]):
        test_one_input = importlib.import_module(f"tests.fuzz.{name}").test_one_input
    FOUND.mkdir(parents=True, exist_ok=True)
    options = [f"-artifact_prefix={FOUND}/{name}-", *options, str(directory)]
    atheris.Setup([sys.argv[0], *options], test_one_input)
    atheris.Fuzz()


def _keep(name: str, directory: Path) -> None:
    """Write back the inputs that take a branch which no shorter one takes."""
    test_one_input = importlib.import_module(f"tests.fuzz.{name}").test_one_input
    inputs = {path.read_bytes() for path in directory.iterdir()}
    known: set[Arc] = set()
    lines = []
    for octets in sorted(inputs, key=lambda octets: (len(octets), octets)):
        arcs = _arcs_of(test_one_input, octets) if len(octets) <= LONGEST_KEPT else set()
        if arcs - known:
            known |= arcs
            lines.append(octets.hex())
    (CORPUS / f"{name}.hex").write_text("\n".join(lines))
    print(f"{name}: {len(lines)} of {len(inputs)} inputs kept")


def _arcs_of(test_one_input: Callable[[bytes], None], octets: bytes) -> set[Arc]:
    """Return the steps from line to line of the program that an input causes."""
    arcs: set[Arc] = set()
    last = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal last
        if "/iscsid/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            arcs.add((frame.f_code.co_filename, last, frame.f_lineno))
            last = frame.f_lineno
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        test_one_input(octets)
    finally:
        sys.settrace(None)
    return arcs
