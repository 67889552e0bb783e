"""Every promise of the manual page iscsid(8) has a test that proves it: ``manual_proofs.txt``.

What the page and the program merely have in common, names and numbers, is compared in
``test_manual``.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.checks.test_manual import terms, words

TESTS = Path(__file__).parents[1]
TABLE = (TESTS / "manual_proofs.txt").read_text()
ENTRY = re.compile(r'(?:^(?P<term>\S.*)\n)?    "(?P<quotation>[^"]+)"\n    (?P<proof>\S+)\n', re.M)
PROOFS = [(entry["quotation"], entry["proof"]) for entry in ENTRY.finditer(TABLE)]
SECTIONS = {
    part.partition("]")[0]: [entry["term"] for entry in ENTRY.finditer(part)]
    for part in re.split(r"^\[", TABLE, flags=re.M)[1:]
}


def test_the_table_holds_nothing_but_entries() -> None:
    rest = re.sub(r"(?m)^(#.*|\[.*\]|)$", "", ENTRY.sub("", TABLE))
    assert rest.strip() == ""


def test_every_section_that_explains_terms_has_its_proofs() -> None:
    with_terms = ["OPTIONS", "SIGNALS", "LOG", "FILES", "ENVIRONMENT", "EXIT STATUS"]
    assert list(SECTIONS) == with_terms


@pytest.mark.parametrize("section", SECTIONS)
def test_every_term_has_its_proof(section: str) -> None:
    assert SECTIONS[section] == terms(section)


@pytest.mark.parametrize(("quotation", "proof"), PROOFS, ids=[quotation for quotation, _ in PROOFS])
def test_a_promise_stands_in_the_page_and_its_proof_is_run(quotation: str, proof: str) -> None:
    assert quotation in words()
    file, _, name = proof.partition("::")
    assert name in functions_in(TESTS / file), f"{file} has no test {name}"


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Return the names of the tests in a file."""
    body = ast.parse(path.read_text()).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))
