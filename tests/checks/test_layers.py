"""Who may import whom: import-linter's contracts in pyproject.toml, and what it cannot express.

import-linter can forbid modules of the standard library, but not all except a list; and it looks at
modules, not at the names that are taken from them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "iscsid"
MODULES = sorted(PACKAGE.rglob("*.py"))

PURE = set(
    "errors exit_status secret protocol config bindings jobs facts orders status initiator".split()
)
"""Packages and modules without socket, clock, file, log or randomness."""

ALLOWED = frozenset(
    """
    __future__ abc argparse base64 binascii bisect collections contextlib dataclasses difflib enum
    errno functools hashlib heapq hmac ipaddress itertools json math operator re shlex stat
    string stringprep struct textwrap types typing unicodedata zlib
    """.split()
)
"""What these may take from the standard library."""

EXCEPTIONS = {"errors.py": {"os"}, "status/model.py": {"datetime"}}
"""The text of an errno, and the grammar of a date."""

DEPENDENCIES = {"daemon", "lockfile", "pyudev"}
SAME_NAME = {"__init__.py"}
"""The only name that two files of the package may have."""


def imports_of(module: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the dotted name of each module imported, and the names taken from it."""
    for node in ast.walk(ast.parse(module.read_text(), str(module))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}: write imports in full"
            yield node.module, [alias.name for alias in node.names]


def outside_imports(module: Path) -> set[str]:
    return {name.split(".")[0] for name, _ in imports_of(module)} - {"iscsid"}


def label(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def is_pure(module: Path) -> bool:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py") in PURE


def test_imports_keep_the_contracts() -> None:
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "lint-imports", "--no-cache"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=label)
def test_a_module_takes_nothing_private_and_no_unknown_package(module: Path) -> None:
    private = [
        f"{name}.{taken}"
        for name, names in imports_of(module)
        for taken in names
        if name.startswith("iscsid") and taken.startswith("_") and taken != "__version__"
    ]
    assert private == []
    assert outside_imports(module) <= sys.stdlib_module_names | DEPENDENCIES


@pytest.mark.parametrize("module", [each for each in MODULES if is_pure(each)], ids=label)
def test_a_pure_module_does_not_touch_the_machine(module: Path) -> None:
    assert outside_imports(module) - ALLOWED <= EXCEPTIONS.get(label(module), set())
    called = {
        node.func.id
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


def test_no_two_files_have_the_same_name() -> None:
    names = Counter(module.name for module in MODULES)
    assert {name for name, count in names.items() if count > 1} <= SAME_NAME


def test_no_two_classes_have_the_same_name() -> None:
    names = Counter(
        node.name
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
