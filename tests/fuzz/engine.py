"""Runs a fuzz target with atheris, and keeps the inputs worth keeping.

``corpus/NAME.hex`` has one input a line. A run unpacks it to ``.cache/fuzz/NAME`` in the checkout,
where libFuzzer adds what it finds; a failing input goes to ``.cache/fuzz`` as well. With ``--keep``
the inputs found so far are reduced to those that reach something new and written back.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = TOP / ".cache" / "fuzz"
LONGEST_KEPT = 2000
"""Octets of an input: longer ones are not worth their place in the repository."""


def kept(name: str) -> list[bytes]:
    """Return the inputs of the kept corpus of a target."""
    return [bytes.fromhex(line) for line in (CORPUS / f"{name}.hex").read_text().split("\n")]


def run(file: str) -> None:
    """Fuzz the target in ``file`` with the options of the command line."""
    name = Path(file).stem
    directory = FOUND / name
    directory.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(kept(name)):
        (directory / f"kept-{number}").write_bytes(octets)
    if sys.argv[1:] == ["--keep"]:
        _keep(name, directory)
        return
    atheris = importlib.import_module("atheris")
    for module in [each for each in sys.modules if each.startswith(("iscsid.", "tests."))]:
        del sys.modules[module]
    # Only what is imported from here on reports its branches: the program, not its libraries.
    with atheris.instrument_imports(include=["iscsid"]):
        test_one_input = importlib.import_module(f"tests.fuzz.{name}").test_one_input
    options = [f"-artifact_prefix={FOUND}/{name}-", *sys.argv[1:], str(directory)]
    atheris.Setup([sys.argv[0], *options], test_one_input)
    atheris.Fuzz()


def _keep(name: str, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as reduced:
        module = f"tests.fuzz.{name}"
        subprocess.run(
            [sys.executable, "-m", module, "-merge=1", f"-max_len={LONGEST_KEPT}", reduced],
            cwd=TOP,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        inputs = sorted({path.read_bytes() for path in Path(reduced).iterdir()})
    lines = [octets.hex() for octets in inputs if len(octets) <= LONGEST_KEPT]
    (CORPUS / f"{name}.hex").write_text("\n".join(lines))
    print(f"{name}: {len(lines)} inputs kept")
