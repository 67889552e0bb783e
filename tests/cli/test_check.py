"""--check and --show-config, on real files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iscsid.cli.check import known_targets, run_check, run_show_config
from iscsid.protocol.names import IscsiName

NAME = "iqn.2001-04.com.example:me"
SECRETS = "DiscoveryAddress=10.0.0.1\n  Username=alice\n  Password=open-sesame-1\n"


class Files:
    """Both files in a directory, and what the two commands print about them."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "iscsi.conf"
        self.initiatorname = directory / "initiatorname.iscsi"
        self.initiatorname.write_text(f"InitiatorName={NAME}\n")

    def write(self, text: str, mode: int = 0o600) -> None:
        self.config.write_text(text)
        self.config.chmod(mode)

    def check(self) -> tuple[int, list[str]]:
        stdout = io.StringIO()
        status = run_check(str(self.config), str(self.initiatorname), stdout)
        return status, stdout.getvalue().splitlines()

    def show(self, *names: str, as_json: bool = False) -> tuple[int, str]:
        stdout = io.StringIO()
        known = map(IscsiName, names)
        status = run_show_config(str(self.config), known, as_json=as_json, stdout=stdout)
        return status, stdout.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_clean_files_are_reported_as_clean(files: Files) -> None:
    files.write(SECRETS)
    assert files.check() == (
        0,
        [
            f"{files.config}: no errors (DiscoveryAddress: 1, targets with Address: 0)",
            f"{files.initiatorname}: no errors (this initiator is {NAME})",
        ],
    )


def test_notes_are_printed_and_are_no_errors(files: Files) -> None:
    files.write("DiscoveryAddress=192.0.2.1\nSLPMulticast=all\n")
    status, lines = files.check()
    assert status == 0
    assert lines[0].startswith(f"{files.config}:2:1: note: SLPMulticast has no effect")


def test_errors_of_both_files_and_of_the_mode_come_in_one_run(files: Files) -> None:
    files.write(f"{SECRETS}Foo=1\nBar=2\n", 0o644)
    files.initiatorname.write_text("InitiatorName=a/me\n")
    status, lines = files.check()
    assert status == 1
    assert lines[0] == (
        f"{files.config}: the file holds passwords and is readable by group and others "
        f"(mode 0644); expected mode 0600: chmod 600 {files.config}"
    )
    places = [f"{files.config}:4:1:", f"{files.config}:5:1:", f"{files.initiatorname}:1:15:"]
    assert [line.split(" ")[0] for line in lines[1:4]] == places
    assert lines[4:] == ["4 errors"]


def test_errors_and_notes_are_json_for_programs(files: Files) -> None:
    files.write("SLPMulticast=all\nFoo=1\n")
    stdout = io.StringIO()
    arguments = str(files.config), str(files.initiatorname), stdout
    assert run_check(*arguments, as_json=True) == 1
    report = json.loads(stdout.getvalue())
    (error,) = report["errors"]
    assert report["ok"] is False and report["notes"] == []
    assert (error["filename"], error["line"], error["column"]) == (str(files.config), 2, 1)
    assert error["what"] == "unknown keyword 'Foo'"
    files.write("SLPMulticast=all\n")
    stdout.truncate(stdout.seek(0))
    assert run_check(*arguments, as_json=True) == 0
    report = json.loads(stdout.getvalue())
    assert report["ok"] is True and report["errors"] == []
    assert 1 in [note["line"] for note in report["notes"]]


def test_a_file_without_secrets_may_be_readable(files: Files) -> None:
    files.write("DiscoveryAddress=10.0.0.1\n", 0o644)
    assert files.check()[0] == 0


def test_a_missing_initiator_name_brings_the_command_that_makes_it(files: Files) -> None:
    files.write("DiscoveryAddress=192.0.2.1\n")
    files.initiatorname.unlink()
    status, lines = files.check()
    assert status == 1
    assert lines[1:] == [
        f"{files.initiatorname}: an InitiatorName is required; "
        f'expected one line: echo "InitiatorName=$(iscsi-iname)" > {files.initiatorname}',
        "1 error",
    ]


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_a_file_that_cannot_be_read_is_an_error_and_no_traceback(files: Files, kind: str) -> None:
    if kind == "directory":
        files.config.mkdir()
    status, lines = files.check()
    assert status == 1 and lines[0].startswith(f"{files.config}: ")
    assert files.show()[0] == 1


def test_show_config_prints_values_and_origins(files: Files) -> None:
    files.write(SECRETS)
    status, text = files.show("iqn.2001-04.com.example:known")
    assert status == 0
    assert f"DiscoveryAddress 10.0.0.1:3260  [{files.config}:1]\n" in text
    assert f"alice                     {files.config}:2\n" in text
    assert "TargetName iqn.2001-04.com.example:known  [default]\n" in text
    assert "open-sesame" not in text


def test_show_config_prints_json(files: Files) -> None:
    files.write(SECRETS)
    status, text = files.show(as_json=True)
    assert status == 0 and "open-sesame" not in text
    assert json.loads(text)["sections"][0]["subject"] == "10.0.0.1:3260"


def test_show_config_with_errors_prints_the_errors(files: Files) -> None:
    files.write("Foo=1\n")
    assert files.show() == (
        1,
        f"{files.config}:1:1: unknown keyword 'Foo'; expected a keyword of iscsi.conf(5)\n",
    )


def test_a_terminal_that_is_not_utf_8_gets_escapes(files: Files) -> None:
    files.write("DiscoveryAddress=10.0.0.1\n Username=grün\n Password=open-sesame-1\n")
    octets = io.BytesIO()
    with io.TextIOWrapper(octets, encoding="ascii") as stdout:
        assert run_show_config(os.fspath(files.config), as_json=False, stdout=stdout) == 0
        stdout.flush()
        assert rb"gr\xfcn" in octets.getvalue()


def test_show_config_knows_the_targets_of_the_bindings_file(files: Files, tmp_path: Path) -> None:
    bindings, stderr = tmp_path / "bindings", io.StringIO()
    bindings.write_text("0 0 iqn.2001-04.com.example:a\n1 0 iqn.2001-04.com.example:a 10.0.0.1\n")
    assert known_targets(str(bindings), stderr) == (IscsiName("iqn.2001-04.com.example:a"),)
    assert known_targets(str(tmp_path / "none"), stderr) == ()
    assert stderr.getvalue() == ""


def test_a_bindings_file_that_cannot_be_read_costs_a_note_and_nothing_else(tmp_path: Path) -> None:
    stderr = io.StringIO()
    assert known_targets(str(tmp_path), stderr) == ()
    assert stderr.getvalue().startswith(f"iscsid: note: {tmp_path} cannot be read: ")


def test_the_program_shows_what_the_bindings_file_knows(files: Files, tmp_path: Path) -> None:
    files.write(SECRETS)
    bindings = tmp_path / "bindings"
    bindings.write_text("0 0 iqn.2001-04.com.example:known\n")
    command = [sys.executable, "-m", "iscsid", "--show-config"]
    done = subprocess.run(
        [*command, "-f", str(files.config), "-b", str(bindings)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "TargetName iqn.2001-04.com.example:known  [default]\n" in done.stdout


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_all_bindings_there_can_be_are_shown_in_bounded_memory(
    files: Files, tmp_path: Path, options: list[str]
) -> None:
    files.write(SECRETS)
    bindings = tmp_path / "bindings"
    lines = (f"{n >> 8} {n & 255} iqn.2001-04.com.example:disk{n}\n" for n in range(65536))
    bindings.write_text("".join(lines))
    # getrusage(2) would count what this process had when it forked.
    script = """if True:
        import pathlib, re, sys
        from iscsid.__main__ import main
        assert main() == 0
        status = pathlib.Path("/proc/self/status").read_text()
        print(re.search(r"VmHWM:\\s*(\\d+)", status)[1], file=sys.stderr)
    """
    command = [sys.executable, "-c", script, "--show-config", *options]
    done = subprocess.run(
        [*command, "-f", str(files.config), "-b", str(bindings)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count(":disk")) == (0, 65536), done.stderr
    assert int(done.stderr) < 150 * 1024, "kilobytes"
