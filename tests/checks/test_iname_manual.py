"""man/iscsi-iname.8 against the program, and against two formatters."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from iscsid import __version__
from iscsid.cli.iscsi_iname import DEFAULT_PREFIX, RANDOM_OCTETS, main

PAGE = Path(__file__).parents[2] / "man" / "iscsi-iname.8"
SOURCE = PAGE.read_text()
PLAIN = re.sub(r"\\f[BIPR]", "", SOURCE).replace("\\-", "-")

OPTION = re.compile(r"(?<![\w-])(?:--[a-z]+|-[a-z])\b(?!\w)")


def section(name: str) -> str:
    """Return the text of one section, font changes and escapes taken out."""
    found = re.search(rf'(?ms)^\.SH "?{name}"?\n(.*?)(?=^\.SH|\Z)', PLAIN)
    assert found, f"there is no section {name}"
    return found[1]


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().out


def test_the_page_explains_the_options_of_the_program_and_no_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = set(OPTION.findall(told(["--help"], capsys)))
    explained = {
        option
        for line in re.findall(r"^\.TP\n(.*)$", section("OPTIONS"), re.MULTILINE)
        for option in OPTION.findall(line)
    }
    assert explained == ours
    assert set(OPTION.findall(section("SYNOPSIS"))) <= ours


def test_the_page_tells_the_default_the_digits_and_the_statuses() -> None:
    assert DEFAULT_PREFIX in section("OPTIONS")
    assert RANDOM_OCTETS == 6 and "twelve random hexadecimal" in section("DESCRIPTION")
    assert re.findall(r"^\.TP\n\.B (\d+)$", section("EXIT STATUS"), re.MULTILINE) == ["0", "2"]


def test_the_command_of_the_page_is_the_one_that_help_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = 'echo "InitiatorName=$(iscsi-iname)" > /etc/initiatorname.iscsi'
    assert f"{command}\n" in section("DESCRIPTION")
    assert command in " ".join(told(["--help"], capsys).split())


def test_the_prefix_of_the_example_makes_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    (prefix,) = set(re.findall(r"iqn\.2001-04[\w.-]+", section("OPTIONS")))
    assert main(["-p", prefix]) == 0
    assert capsys.readouterr().out.startswith(f"{prefix}:")


def test_the_page_is_of_this_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert f'"iscsid {__version__}"' in SOURCE
    assert told(["-v"], capsys) == f"iscsi-iname {__version__}\n"


@pytest.mark.parametrize(
    "tool",
    [["mandoc", "-Tlint"], ["groff", "-ww", "-man", "-Tutf8", "-z"]],
    ids=["mandoc", "groff"],
)
def test_the_page_is_set_without_a_warning(tool: list[str]) -> None:
    done = subprocess.run([*tool, str(PAGE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
