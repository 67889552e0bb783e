"""The completion files are those that the parsers make, and bash completes with them."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from iscsid.cli.completion import completions
from tests.support.patience import PATIENCE

ETC = Path(__file__).parents[2] / "etc"


@pytest.mark.parametrize(("name", "text"), completions().items(), ids=completions())
def test_the_file_is_up_to_date(name: str, text: str) -> None:
    """If it is not: .cache/venv/bin/python -m iscsid.cli.completion etc"""
    assert (ETC / name).read_text() == text


def complete(directory: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    function = f"_{words[0].replace('-', '_')}"
    script = (
        "compopt() { :; }\n"  # it works only while bash completes a real line
        f"source {ETC}/bash-completion/{words[0]}\n"
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        f'{function}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def test_options_files_and_directories_are_completed(tmp_path: Path) -> None:
    (tmp_path / "mine.conf").touch()
    (tmp_path / "mydir").mkdir()
    assert complete(tmp_path, "iscsid", "--ch") == ["--check"]
    assert complete(tmp_path, "iscsi-ls", "--t") == ["--tree"]
    assert complete(tmp_path, "iscsi-iname", "--p") == ["--prefix"]
    assert complete(tmp_path, "iscsid", "-f", "m") == ["mine.conf", "mydir"]
    assert complete(tmp_path, "iscsid", "--config", "=", "m") == ["mine.conf", "mydir"]
    assert complete(tmp_path, "iscsid", "-l", "m") == ["mydir"]
    assert complete(tmp_path, "iscsid", "-t", "") == []
