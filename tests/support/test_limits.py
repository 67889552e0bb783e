"""The limits of tests hold: a test that hangs is ended and named, one that leaves a process too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE
from tests.support.processes import is_alive
from tests.support.programs import ROOT, environment

TESTS = """
import os, subprocess, time
import pytest
from tests.support.limits import Limits

@pytest.mark.limit(0.3)
def test_whose_clean_up_waits_for_a_process_that_goes_on():
    with subprocess.Popen(["sleep", "1000"]):
        assert False, "the first fault"

def test_that_leaves_a_daemon():
    if (pid := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    os.waitpid(pid, 0)

def test_that_leaves_nothing():
    subprocess.run(["true"])
"""

CONFTEST = """
from tests.support.limits import Limits

def pytest_configure(config):
    config.addinivalue_line("markers", "limit: x")
    config.pluginmanager.register(Limits())
"""


def test_a_test_that_hangs_or_leaves_a_process_fails_and_the_process_ends(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--rootdir=.", "."],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(ROOT), "ISCSID_TEST_PATIENCE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "1 failed, 2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "over the limit" in done.stdout and "the first fault" in done.stdout
    assert "sleep 1000" in done.stdout, "what it waited for"
    assert "the test has ended and left processes behind" in done.stdout
    pids = [int(pid) for pid in re.findall(r"process (\d+), child of", done.stdout)]
    assert len(set(pids)) == 2 and not any(map(is_alive, pids))
    assert done.returncode == 1
