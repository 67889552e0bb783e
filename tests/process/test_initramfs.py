"""The copy of the daemon for an initramfs is whole: it needs no other module, and no source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from iscsid import __version__
from tests.support.patience import PATIENCE
from tests.vm.paths import CHECKOUT

MODULES = """\
import iscsid.daemon, daemon.daemon, sys
for module in sys.modules.values():
    if getattr(module, "__file__", None):
        print(module.__file__)
"""
"""What the daemon imports; built-in modules have no file."""


def test_daemon_runs_from_its_copy_alone(tmp_path: Path) -> None:
    def run(*words: str, **environment: str) -> str:
        command = ["/usr/bin/python3", *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, cwd="/"
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    listed = run("-m", "iscsid.initramfs", str(tmp_path), PYTHONPATH=str(CHECKOUT)).splitlines()
    program, *extensions = listed
    assert Path(program).name.startswith("python3")
    for line in extensions:
        source, target = line.split()
        (tmp_path / target).write_bytes(Path(source).read_bytes())
    assert not list(tmp_path.rglob("*.py"))
    home = {"PYTHONHOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    assert run("-S", "-B", "-m", "iscsid", "--version", **home) == f"iscsid {__version__}\n"
    files = run("-S", "-B", "-c", MODULES, **home).split()
    assert [file for file in files if not file.startswith(str(tmp_path))] == []


def test_no_large_library_comes_with_it(tmp_path: Path) -> None:
    """A module such as _hashlib, without which Python does, would bring one of 5 MB."""
    command = [sys.executable, "-m", "iscsid.initramfs", str(tmp_path)]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert not [name for name in ("_hashlib", "_ssl", "_lzma", "_bz2") if name in done.stdout]
