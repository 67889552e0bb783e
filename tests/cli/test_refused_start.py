"""What is wrong with the files refuses the start, before the kernel is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.daemon import Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the daemon")


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


def test_a_syntax_error_is_one_line_that_names_its_place(daemon: Daemon) -> None:
    daemon.configure("DiscoveryAddress=127.0.0.1", "DicsoveryAddress=127.0.0.1")
    done = daemon.run("-n")
    assert done.returncode > 0
    (line,) = done.stderr.splitlines()
    assert f"{daemon.configuration}:2" in line and "DicsoveryAddress" in line, line


def test_a_syntax_error_refuses_the_start_before_the_shell_goes_on(daemon: Daemon) -> None:
    daemon.configure("DiscoveryAddress=127.0.0.1", "Nonsense")
    done = daemon.run()
    assert done.returncode > 0
    assert f"{daemon.configuration}:2" in done.stderr, done.stderr
    assert not daemon.pidfile.exists()


def test_a_missing_initiator_name_is_one_line_with_its_cure(daemon: Daemon) -> None:
    daemon.configure("DiscoveryAddress=127.0.0.1")
    daemon.initiatorname.unlink()
    done = daemon.run("-n")
    assert done.returncode > 0
    (line,) = done.stderr.splitlines()
    assert str(daemon.initiatorname) in line and "iscsi-iname" in line, line


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda file: file.symlink_to("/etc/passwd"), "symbolic link"),
        (lambda file: file.write_text("precious words\n"), "not overwritten"),
    ],
    ids=["symlink", "other file"],
)
def test_what_is_no_pid_file_is_one_line_and_stays_as_it_is(
    daemon: Daemon, trouble: Callable[[Path], object], words: str
) -> None:
    daemon.configure()
    trouble(daemon.pidfile)
    before = daemon.pidfile.read_text()
    done = daemon.run()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("iscsid: ") and str(daemon.pidfile) in line and words in line, line
    assert daemon.pidfile.read_text() == before
