"""Every promise of the manual page iscsid(8) has a test that proves it: ``manual_proofs.txt``.

The table names the promises in words of its own; it must cover each term of the page, and each
test that it names must exist. Names and numbers are compared in ``test_manual_pages``.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.man_pages import Page

TESTS = Path(__file__).parents[1]
TABLE = (TESTS / "manual_proofs.txt").read_text()
ENTRY = re.compile(r"(?:^(?P<term>\S.*)\n)?    (?P<promise>\S.*)\n    (?P<proof>\S+::\S+)\n", re.M)
PROOFS = [(entry["promise"], entry["proof"]) for entry in ENTRY.finditer(TABLE)]
PAGE = Page("iscsid.8")
CLASSIC = "CLASSIC"
SECTIONS = {
    part.partition("]")[0]: [entry["term"] for entry in ENTRY.finditer(part) if entry["term"]]
    for part in re.split(r"^\[", TABLE, flags=re.M)[1:]
}


def test_the_table_holds_nothing_but_entries() -> None:
    rest = re.sub(r"(?m)^(#.*|\[.*\]|)$", "", ENTRY.sub("", TABLE))
    assert rest.strip() == ""


def test_every_section_that_explains_terms_has_its_proofs() -> None:
    with_terms = [name for name in PAGE.sections() if PAGE.terms(name) and name != "DEVICE NAMES"]
    assert list(SECTIONS) == [*with_terms, CLASSIC]


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != CLASSIC])
def test_every_term_has_its_proof(section: str) -> None:
    assert sorted(SECTIONS[section]) == sorted(PAGE.terms(section))


@pytest.mark.parametrize(("promise", "proof"), PROOFS, ids=[promise for promise, _ in PROOFS])
def test_the_test_that_proves_a_promise_exists(promise: str, proof: str) -> None:
    file, _, name = proof.partition("::")
    assert name in functions_in(TESTS / file), f"{file} has no test {name}"


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Return the names of the tests in a file."""
    body = ast.parse(path.read_text()).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))
