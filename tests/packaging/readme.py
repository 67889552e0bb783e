"""The commands of the README: what a test runs is what people read. Reads one file."""

from __future__ import annotations

import re

from tests.vm.paths import CHECKOUT

README = CHECKOUT / "README.md"


def commands(heading: str) -> list[str]:
    """Return the indented lines below a heading, up to the next one, in their order."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README.read_text())
    assert found, f"the README has no heading {heading!r}"
    return re.findall(r"(?m)^    (\S.*)$", found[1])
