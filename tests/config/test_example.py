"""etc/iscsi.conf.example: the parser itself reads it, as it stands and with all of it in use."""

from __future__ import annotations

import re
from pathlib import Path

from iscsid.config.configuration import parse_configuration
from iscsid.config.keywords import BY_NAME, DEFAULTS, KEYWORDS
from iscsid.config.lexer import lex

EXAMPLE = (Path(__file__).parents[2] / "etc" / "iscsi.conf.example").read_text()

SETTING = re.compile(r"^#((?: {4})?[A-Za-z0-9]+=)", re.MULTILINE)
"""A setting that is commented out: an explanation has a blank behind its "#", but not four."""

IN_USE = SETTING.sub(r"\1", EXAMPLE)


def test_as_it_stands_it_changes_nothing() -> None:
    assert parse_configuration(EXAMPLE, "example") == parse_configuration("", "empty")


def test_with_every_line_in_use_it_is_right() -> None:
    configuration = parse_configuration(IN_USE, "example")
    assert configuration.notes == ()
    assert len(configuration.discoveries) == 3 and len(configuration.static_targets) == 1


def test_it_shows_every_keyword_of_the_table() -> None:
    shown = {BY_NAME[line.keyword.lower()].name for line in lex(IN_USE, "example")}
    assert shown == {row.name for row in KEYWORDS}


def test_the_globals_it_shows_are_the_defaults() -> None:
    contents = parse_configuration(IN_USE, "example").contents
    commented = {"chap_algorithms", "outgoing_username", "outgoing_password"}
    commented |= {"incoming_username", "incoming_password"}
    commented |= {"discovery_username", "discovery_password"}
    commented |= {"discovery_incoming_username", "discovery_incoming_password"}
    changed = {field for field, each in contents.globals.items() if each != DEFAULTS[field]}
    assert changed == commented


def test_its_lines_are_no_longer_than_a_terminal_shows() -> None:
    assert max(map(len, EXAMPLE.splitlines())) <= 100
