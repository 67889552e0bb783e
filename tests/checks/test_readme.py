"""The commands of README.md exist, with these options, and so do the files that it names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iscsid.cli import iscsi_iname, iscsi_ls, options

TOP = Path(__file__).parents[2]
TEXT = (TOP / "README.md").read_text()
PARSERS: dict[str, Callable[[list[str]], object]] = {
    "iscsid": options.parse,
    "iscsi-ls": lambda words: iscsi_ls.make_parser().parse(words),
    "iscsi-iname": lambda words: iscsi_iname.make_parser().parse(words),
}
EXAMPLES = {
    "ADDRESS": "192.0.2.10",
    "TARGET": "iqn.2001-04.com.example:disk",
    "FILE": "/etc/iscsi.conf",
}


def commands() -> Iterator[str]:
    """Yield each command line of ours, in blocks and between backticks."""
    programs = "|".join(PARSERS)
    for line in re.findall(r"(?m)^ {4}(?:# )?(\S.*)$|`([^`\n]+)`", TEXT):
        command = (line[0] or line[1]).strip()
        if re.match(rf"(?:{programs})(?: |$)", command):
            yield re.split(r"[>|&;]", command)[0].strip()


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_is_one_that_the_program_takes(command: str) -> None:
    for word, example in EXAMPLES.items():
        command = re.sub(rf"\b{word}\b", example, command)
    program, *words = shlex.split(command)
    PARSERS[program](words)


def test_commands_are_found() -> None:
    found = set(commands())
    assert {"iscsid --check --login", "iscsid --discover ADDRESS", "iscsi-ls"} <= found


def test_the_files_of_this_repository_that_are_named_exist() -> None:
    named = set(re.findall(r"(?<![\w/.])(?:tests|etc|man|iscsid|\.ci)/[\w./-]*\w", TEXT))
    assert len(named) > 5
    assert {name for name in named if not (TOP / name).exists()} == set()


def test_the_lines_shown_at_the_top_are_from_the_recording_in_this_order() -> None:
    """The recording is made by ``sh tests/demo --record=tests/demo.cast``."""
    _, *events = map(json.loads, (TOP / "tests/demo.cast").read_text().splitlines())
    recorded = iter([text.strip() for _, _, text in events])
    shown = [line.strip() for line in re.findall(r"(?m)^    (.*)$", TEXT.partition("\n## ")[0])]
    assert len(shown) > 10
    assert [line for line in shown if line not in recorded] == []


def test_the_messages_of_the_troubleshooting_are_those_of_the_program() -> None:
    section = TEXT.partition("## Troubleshooting")[2].partition("\n## ")[0]
    sources = "".join(path.read_text() for path in sorted((TOP / "iscsid").rglob("*.py")))
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ")]
    shown = [text for row in rows for text in re.findall(r"`([a-z][a-z ]+[a-z])(?: \(|`)", row)]
    assert len(shown) >= 4
    assert [text for text in shown if text not in sources] == []
