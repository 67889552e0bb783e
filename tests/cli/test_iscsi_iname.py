"""iscsi-iname: names that are valid, new, and of the prefix asked for."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from iscsid.cli.iscsi_iname import DEFAULT_PREFIX, main, make_name
from iscsid.config.initiatorname import parse_initiator_name
from iscsid.errors import InvalidName


@pytest.mark.parametrize(
    "prefix, name",
    [
        ("iqn.1987-05.com.cisco:01", "iqn.1987-05.com.cisco:01.000102030405"),
        ("iqn.2001-04.com.example", "iqn.2001-04.com.example:000102030405"),
        ("iqn.2001-04.com.Example:Hosts", "iqn.2001-04.com.example:hosts.000102030405"),
    ],
)
def test_a_name_is_the_prefix_and_all_digits(prefix: str, name: str) -> None:
    assert make_name(prefix, bytes(range(6))) == name


@pytest.mark.parametrize("prefix", ["", "disk", "iqn.2001-13.com.example", "iqn.2001-04.a_b/c"])
def test_a_prefix_that_makes_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidName):
        make_name(prefix, bytes(6))


def test_each_run_prints_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    names = set()
    for _ in range(20):
        assert main([]) == 0
        names.add(capsys.readouterr().out)
    assert len(names) == 20
    assert all(
        re.fullmatch(re.escape(DEFAULT_PREFIX) + r"\.[0-9a-f]{12}\n", each) for each in names
    )


def test_what_it_prints_is_a_file_s_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-p", "iqn.2001-04.com.example"]) == 0
    name = capsys.readouterr().out
    assert parse_initiator_name(f"InitiatorName={name}", "f").name == name.strip()


def test_a_wrong_prefix_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prefix", "disk"]) == 2
    assert capsys.readouterr().err.startswith("iscsi-iname: --prefix: 'disk:")


def test_it_runs_as_a_program_and_helps() -> None:
    command = [sys.executable, "-m", "iscsid.cli.iscsi_iname"]
    done = subprocess.run([*command, "-h"], capture_output=True, text=True, check=True)
    assert 'echo "InitiatorName=$(iscsi-iname)" > /etc/initiatorname.iscsi' in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("iqn.") and not done.stderr
