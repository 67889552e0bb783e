"""man/iscsi-ls.1 against the program, and against two formatters."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iscsid.cli import iscsi_ls
from iscsid.initiator.session_fsm import State
from iscsid.process.status_files import DEVICES, STATUS, directory_for
from iscsid.status.model import to_json
from tests.support import statuses

PAGE = Path(__file__).parents[2] / "man" / "iscsi-ls.1"
PLAIN = re.sub(r"\\f[BIPR]", "", PAGE.read_text()).replace("\\-", "-")
OPTION = re.compile(r"(?<![\w-])(?:--[a-z]+|-[a-zA-Z])\b(?!\w)")


def section(name: str) -> str:
    """Return the text of one section."""
    found = re.search(rf'(?ms)^\.SH "?{name}"?\n(.*?)(?=^\.SH|\Z)', PLAIN)
    assert found, f"there is no section {name}"
    return found[1]


def bold(text: str) -> set[str]:
    """Return the words that are set in bold, of lines that have them alone or in turn."""
    words: set[str] = set()
    for macro, line in re.findall(r"^\.(BR|B) (.*)$", text, re.MULTILINE):
        parts = re.findall(r'"([^"]*)"|(\S+)', line)
        fields = [quoted or plain for quoted, plain in parts]
        words |= set(fields[::2] if macro == "BR" else [" ".join(fields)])
    return words


def test_the_page_explains_the_options_of_the_program_and_no_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        iscsi_ls.main(["--help"])
    ours = set(OPTION.findall(capsys.readouterr().out)) - {"-lc"}
    heads = re.findall(r"^\.TP\n(.*)$", section("OPTIONS"), re.MULTILINE)
    assert {option for head in heads for option in OPTION.findall(head)} == ours


def test_the_page_names_every_field_of_the_status_file() -> None:
    def fields(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(fields, value))
        if not isinstance(value, dict):
            return set()
        inner = {key: each for key, each in value.items() if key not in ("negotiated", "links")}
        return set(value) | set().union(*map(fields, inner.values()))

    text = section("STATUS FILE")
    explained, states = text.split("The state of a session is")
    assert bold(explained) == fields(json.loads(to_json(statuses.STATUS)))
    assert bold(states) <= {state.value for state in State}


def test_the_page_names_the_files_where_they_are() -> None:
    pidfile = iscsi_ls._parse([]).pidfile
    named = set(re.findall(r"^\.I (\S+)$", section("FILES"), re.MULTILINE))
    directory = directory_for(pidfile).replace("/var/run", "/run")
    assert {pidfile, f"{directory}/{STATUS}", f"{directory}/{DEVICES}"} <= named


@pytest.mark.parametrize(
    "tool", [["mandoc", "-Tlint"], ["groff", "-ww", "-man", "-Tutf8"]], ids=["mandoc", "groff"]
)
def test_the_page_is_formatted_without_a_complaint(tool: list[str]) -> None:
    done = subprocess.run([*tool, str(PAGE)], capture_output=True, text=True, check=False)
    diagnostics = done.stdout + done.stderr if tool[0] == "mandoc" else done.stderr
    assert (done.returncode, diagnostics) == (0, "")
