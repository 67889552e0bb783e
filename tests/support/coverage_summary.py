"""How much of the package the tests have run through, by branch, said at the end of a session.

Measures nothing where pytest was not started by ``coverage run``.
"""

from __future__ import annotations

import io

from coverage import Coverage

PURE = ("protocol", "config", "initiator")
"""The rooms that can be tested to the last branch: they touch nothing."""


def summary() -> str:
    """Return the pure rooms' files that are not wholly covered, and their total."""
    coverage = Coverage.current()
    if coverage is None:
        return ""
    coverage.stop()
    table = io.StringIO()
    coverage.report(
        include=[f"iscsid/{room}/*" for room in PURE],
        skip_covered=True,
        show_missing=True,
        file=table,
    )
    return table.getvalue().rstrip()
