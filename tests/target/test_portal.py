"""The scripted target before an initiator of another project: libiscsi's tools.

So that a scenario that fails blames our login, and not the script.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.programs import started
from tests.target.profile import PROFILES

ROOT = Path(__file__).parents[2]
NAMES = [profile.name for profile in PROFILES]
TARGET = "iqn.2024-01.org.example:scripted"

pytestmark = pytest.mark.skipif(
    not (shutil.which("iscsi-ls") and shutil.which("iscsi-inq")),
    reason="iscsi-ls and iscsi-inq are not installed (Debian package libiscsi-bin)",
)


@contextmanager
def scripted_target(*options: str) -> Iterator[str]:
    """Run a scripted target on a free port; yield its address."""
    command = [sys.executable, "-m", "tests.target", *options]
    with started(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_iscsi_ls_finds_every_target_and_every_lun(name: str) -> None:
    with scripted_target("--profile", name, "--targets", "3") as address:
        listed = run("iscsi-ls", "-s", f"iscsi://{address}")
    assert listed.returncode == 0, listed.stderr
    for number in range(3):
        assert f"Target:{TARGET}{number} Portal:{address},1" in listed.stdout
    assert listed.stdout.count("Lun:0    Type:DIRECT_ACCESS (Size:63M)") == 3
    assert listed.stdout.count("Lun:1    Type:DIRECT_ACCESS (Size:63M)") == 3


@pytest.mark.parametrize("name", NAMES)
def test_iscsi_inq_reads_who_the_disk_is(name: str) -> None:
    with scripted_target("--profile", name) as address:
        standard = run("iscsi-inq", f"iscsi://{address}/{TARGET}0/1")
        serial = run("iscsi-inq", "-e", "1", "-c", "128", f"iscsi://{address}/{TARGET}0/1")
        identity = run("iscsi-inq", "-e", "1", "-c", "131", f"iscsi://{address}/{TARGET}0/1")
    assert "Product:SCRIPTED TARGET" in standard.stdout, standard.stderr
    assert "Unit Serial Number:[SCRIPTED0001]" in serial.stdout, serial.stderr
    assert "Designator:[ISCSID  SCRIPTED0001]" in identity.stdout, identity.stderr


def test_iscsi_ls_reads_a_long_listing_in_each_way_of_cutting_it() -> None:
    for name in NAMES:
        with scripted_target("--profile", name, "--targets", "2000") as address:
            listed = run("iscsi-ls", f"iscsi://{address}")
        assert listed.stdout.count("Target:") == 2000, (name, listed.stderr)


def test_iscsi_inq_logs_in_with_chap() -> None:
    with scripted_target("--account", "alice:secret-alice-123") as address:
        right = run("iscsi-inq", f"iscsi://alice%secret-alice-123@{address}/{TARGET}0/0")
        wrong = run("iscsi-inq", f"iscsi://alice%secret-wrong-123@{address}/{TARGET}0/0")
        none = run("iscsi-inq", f"iscsi://{address}/{TARGET}0/0")
    assert "Product:SCRIPTED TARGET" in right.stdout, right.stderr
    assert "Product" not in wrong.stdout + none.stdout
