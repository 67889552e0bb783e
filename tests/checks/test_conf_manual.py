"""man/iscsi.conf.5 against the table the parser reads by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iscsid.config import foreign_keywords
from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.grammar import PLACES, Keyword, Scope
from iscsid.config.keywords import KEYWORDS
from iscsid.protocol.names import IscsiName, Portal

PAGE = Path(__file__).parents[2] / "man" / "iscsi.conf.5"
SOURCE = PAGE.read_text()

ITEM = re.compile(
    r"^\.TP\n((?:\.BI \w+=.*\n(?:\.TQ\n)?)+)((?:(?!\.TP|\.SS|\.SH).*\n)*)", re.MULTILINE
)


def items() -> dict[tuple[str, ...], str]:
    """Return the page's text about each keyword, by the keyword's name there."""
    keywords = SOURCE[SOURCE.index(".SH KEYWORDS") : SOURCE.index(".SS No longer in use")]
    return {
        tuple(re.findall(r"^\.BI (\w+)=", names, re.MULTILINE)): text.replace("\\-", "-")
        for names, text in ITEM.findall(keywords)
    }


ITEMS = items()
SETTINGS = [row for row in KEYWORDS if row.opens is None]

each_setting = pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)


def test_the_page_knows_every_keyword_and_alias_of_the_table_and_no_others() -> None:
    assert {frozenset(names) for names in ITEMS} == {frozenset(row.names) for row in KEYWORDS}


def test_the_page_names_the_keywords_of_old() -> None:
    section = SOURCE[SOURCE.index(".SS No longer in use") : SOURCE.index(".SH ERRORS")]
    named = re.findall(r"^\.BR? ([A-Z][A-Za-z,]+?)(?: ,)?$", section, re.MULTILINE)
    assert sorted(named) == sorted(foreign_keywords.WITHOUT_EFFECT)


@each_setting
def test_the_page_has_the_default(row: Keyword) -> None:
    text = next(text for names, text in ITEMS.items() if row.name in names)
    assert re.findall(r"^Default: (.*)$", text, re.MULTILINE) == (
        [row.default] if row.default else []
    )


@each_setting
def test_the_page_names_where_a_keyword_may_stand_and_what_is_an_extension(row: Keyword) -> None:
    text = next(text for names, text in ITEMS.items() if row.name in names)
    places = {scope: "global" if scope is Scope.GLOBAL else PLACES[scope] for scope in Scope}
    classic = ", ".join(places[scope] for scope in row.scope if scope not in row.extension)
    if row.is_extension:
        places_shown = ", ".join(places[scope] for scope in row.scope) + "; extension"
    elif row.extension:
        places_shown = (
            f"{classic}; extension: {', '.join(places[scope] for scope in row.extension)}"
        )
    else:
        places_shown = classic
    assert text.startswith(f"({places_shown})\n")


def test_the_examples_are_right_and_do_what_their_text_promises() -> None:
    section = SOURCE[SOURCE.index(".SH EXAMPLES") : SOURCE.index(".SH FILES")]
    examples = re.findall(
        r"^\.EX\n(.*?)^\.EE", section.replace("\\-", "-"), re.MULTILINE | re.DOTALL
    )
    discoveries, subnet, static = (parse_configuration(text, "example") for text in examples)
    users = [each.authentication.outgoing for each in discoveries.discoveries]
    assert [user.username for user in users if user] == ["backup", "archive"]
    assert [each.timeouts.login for each in discoveries.discoveries] == [20, 15]
    names = [IscsiName(f"iqn.2001-04.com.example:{name}") for name in ("storage.disk1", "x")]
    seconds = [
        subnet.session_settings(name, Portal(host), None).timeouts.login
        for name in names
        for host in ("192.0.2.1", "198.51.100.1")
    ]
    assert seconds == [20, 30, 20, 25]
    (target,) = static.static_targets
    settings = static.session_settings(target.target_name, target.addresses[0].portal, None)
    assert settings.luns == frozenset({0, 4}) and settings.conn_fail_timeout == 30


def test_the_complaints_shown_are_those_that_are_made() -> None:
    shown = re.findall(r"^/etc/iscsi.conf:(\d+):(\d+): (.*?)(?: \.\.\.)?$", SOURCE, re.MULTILINE)
    text = "\n" * 6 + "    LoginTimout=5\n\n    LoginTimeout=5x\n"
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(text, "/etc/iscsi.conf")
    assert len(shown) == len(caught.value.lines)
    for (line, column, start), made in zip(shown, caught.value.lines, strict=True):
        assert made.startswith(f"/etc/iscsi.conf:{line}:{column}: {start}")
