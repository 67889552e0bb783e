"""Fuzz target: the configuration file.

``python -m tests.fuzz.configuration -max_total_time=60``. The oracle: a configuration that answers,
or diagnostics that each name a line; and a configuration that is written and read again is the
same.
"""

from __future__ import annotations

from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.protocol.names import IscsiName, Portal
from tests.fuzz import engine
from tests.support.config_writing import render

TARGET = IscsiName("iqn.2001-04.com.example:disk")


def test_one_input(data: bytes) -> None:
    """Parse ``data``; any exception but ``ConfigurationErrors`` is a finding."""
    try:
        configuration = parse_configuration(data, "fuzz")
    except ConfigurationErrors as errors:
        assert errors.diagnostics
        assert all(diagnostic.line >= 1 <= diagnostic.column for diagnostic in errors.diagnostics)
        assert all(line.isprintable() for line in errors.lines)
        return
    for discovery in (None, *configuration.discoveries):
        found_at = discovery.portal if discovery else None
        configuration.session_settings(TARGET, Portal("10.0.0.1"), found_at)
    again = parse_configuration(render(configuration.contents), "again")
    assert again == configuration


if __name__ == "__main__":
    engine.run(__file__)
