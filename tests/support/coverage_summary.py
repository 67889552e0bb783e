"""How much of the package the tests have run through, by branch, printed at the end of a session.

Measures nothing where pytest was not started by ``coverage run``.
"""

from __future__ import annotations

import io

from coverage import Coverage

PURE = ("protocol", "config", "initiator")
"""Packages that can be tested completely: they touch nothing."""


def summary() -> str:
    """Return the pure packages' files that are not wholly covered, and their total."""
    coverage = Coverage.current()
    if coverage is None:
        return ""
    coverage.stop()
    table = io.StringIO()
    coverage.report(
        include=[f"iscsid/{package}/*" for package in PURE],
        skip_covered=True,
        show_missing=True,
        file=table,
    )
    return table.getvalue().rstrip()
