"""The house style, as far as a machine can judge it: linters, types, and how long things get."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LONGEST_FILE = 600
LONGEST_FUNCTION = 80


def sources() -> list[Path]:
    return [path for folder in ("iscsid", "tests") for path in sorted((TOP / folder).rglob("*.py"))]


def shell_scripts() -> list[Path]:
    """Return every shell script, by its first line."""
    files = [
        path for folder in (".ci", "etc", "tests") for path in sorted((TOP / folder).rglob("*"))
    ]
    shebang = re.compile(rb"#! ?/bin/(ba)?sh\b")
    return [path for path in files if path.is_file() and shebang.match(path.read_bytes()[:20])]


def label(path: Path) -> str:
    return str(path.relative_to(TOP))


def complaints_of(*command: str) -> str:
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def functions_of(source: Path) -> Iterator[tuple[str, int]]:
    """Yield the name of each function, and how many lines it has."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{label(source)}: {node.name}", (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize(
    "linter",
    [
        ["ruff", "check", "--quiet", "iscsid", "tests"],
        ["ruff", "format", "--check", "--quiet", "iscsid", "tests"],
        ["mypy", "--no-error-summary"],
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_a_linter_finds_nothing(linter: list[str]) -> None:
    if diagnostics := complaints_of(sys.executable, "-m", *linter):
        pytest.fail(diagnostics, pytrace=False)


@pytest.mark.parametrize("script", shell_scripts(), ids=label)
def test_shellcheck_finds_nothing(script: Path) -> None:
    if diagnostics := complaints_of("shellcheck", str(script)):
        pytest.fail(diagnostics, pytrace=False)


def test_no_file_makes_one_scroll_for_ever() -> None:
    lengths = {label(source): len(source.read_text().splitlines()) for source in sources()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_every_function_fits_on_a_screen() -> None:
    lengths = dict(each for source in sources() for each in functions_of(source))
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_nothing_is_promised_for_later() -> None:
    promise = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    assert [label(source) for source in sources() if promise.search(source.read_text())] == []


def test_every_module_opens_with_what_it_is() -> None:
    silent = [
        source for source in sources() if not ast.get_docstring(ast.parse(source.read_text()))
    ]
    assert [label(source) for source in silent] == []
