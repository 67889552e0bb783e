"""Fuzz target F-7: the configuration file, byte by byte.

With atheris installed: ``python tests/fuzz/fuzz_configuration.py [libFuzzer options] [corpus]``.
The oracle: a configuration that answers, or complaints that each name a line; and what comes out
says the same when it is written and read again.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from iscsid.config.configuration import parse_configuration  # noqa: E402
from iscsid.config.diagnostics import ConfigurationErrors  # noqa: E402
from iscsid.protocol.names import IscsiName, Portal  # noqa: E402
from tests.support.config_writing import render  # noqa: E402

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


def main() -> None:
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
