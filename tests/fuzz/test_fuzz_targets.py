"""Each fuzz target passes its kept corpus and a short round that is the same every time."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import engine

TARGETS = (
    "pdu_reader",
    "login_text",
    "negotiation",
    "sendtargets",
    "chap_values",
    "configuration",
    "bindings",
    "vpd",
    "kernel_events",
    "channel_messages",
)
RUNS = 3000
"""Executions: seconds, bounded by number so that a slow machine does the same."""


def test_every_target_has_a_corpus_and_is_listed() -> None:
    directory = Path(engine.__file__).parent
    modules = {path.stem for path in directory.glob("*.py")} - {"engine", "test_fuzz_targets"}
    assert modules == set(TARGETS) == {path.stem for path in engine.CORPUS.glob("*.hex")}


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_corpus_passes(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.{name}")
    for octets in engine.kept(name):
        target.test_one_input(octets)


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_round_finds_nothing(name: str, tmp_path: Path) -> None:
    options = [f"-runs={RUNS}", "-seed=1", "-max_len=512", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{name}", *options],
        cwd=engine.TOP,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
