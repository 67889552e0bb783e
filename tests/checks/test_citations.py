"""Each section of RFC 7143 that iscsid cites exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.protocol.keys import KEYS, Key

ROOT = Path(__file__).parents[2]
SECTIONS = ROOT / "tests" / "rfc7143_sections.txt"

CITATION = re.compile(
    r"RFC 7143, (?:sections?|appendix) ([0-9]+(?:\.[0-9]+)*|[A-E](?:\.[0-9]+)*\b)"
    r"(?:,? and ([0-9]+(?:\.[0-9]+)*))?"
)
OTHER_FORMS = re.compile(r"RFC7143|RFC 7143,? (?:Section|sec\.|§|chapter)|RFC 7143 section")
SECTION_ARGUMENT = re.compile(r"(?:4|6|7|8|9|10|11|12|13)(?:\.[0-9]{1,2}){1,3}")


def titles() -> dict[str, str]:
    lines = SECTIONS.read_text().splitlines()
    entries = (line.partition(" ") for line in lines if not line.startswith("#"))
    return {number: title for number, _, title in entries}


def sources() -> list[Path]:
    """Return the files that may cite the standard; what stands in this one is examples."""
    modules = (*(ROOT / "iscsid").rglob("*.py"), *(ROOT / "tests").rglob("*.py"))
    pages = (ROOT / "man").glob("*.[1-8]")
    return sorted(path for path in (*modules, *pages) if path != Path(__file__))


def cited(text: str) -> Iterator[str]:
    """Yield the section numbers cited in running text, line ends notwithstanding."""
    for match in CITATION.finditer(re.sub(r"[\s#]+", " ", text)):
        yield from filter(None, match.groups())


def given_as_arguments(text: str) -> Iterator[str]:
    """Yield the section numbers that errors and tables are given as strings."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if SECTION_ARGUMENT.fullmatch(node.value):
                yield node.value


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_section_cited_exists(path: Path) -> None:
    known = titles()
    text = path.read_text()
    missing = [number for number in cited(text) if number not in known]
    if path.is_relative_to(ROOT / "iscsid" / "protocol"):
        missing += [number for number in given_as_arguments(text) if number not in known]
    assert missing == []
    assert OTHER_FORMS.findall(text) == []


def test_citations_are_found_in_all_their_forms() -> None:
    text = """
        # see RFC 7143,
        # section 11.13.5, and (RFC 7143, sections 6.2 and 13); RFC 7143, appendix C.
        Or (RFC 7143, appendix A.4).
    """
    assert list(cited(text)) == ["11.13.5", "6.2", "13", "C", "A.4"]
    assert list(given_as_arguments("f('11.13.5', '0.0', section='6.1')")) == ["11.13.5", "6.1"]


def test_the_package_cites_the_standard_at_all() -> None:
    assert sum(1 for path in sources() for _ in cited(path.read_text())) > 20


OBSOLETE = "13.25"


@pytest.mark.parametrize("key", [key for key in KEYS.values() if key.section != OBSOLETE])
def test_a_key_is_what_its_section_is_about(key: Key) -> None:
    assert key.name in titles()[key.section]
