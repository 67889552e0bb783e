"""One target that fails harms no other, and each failure is one line that names what and where."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm import disks
from tests.vm.conftest import Target
from tests.vm.daemon import Daemon
from tests.vm.lio import Account
from tests.vm.tgtd import Tgtd

GOOD = "iqn.2003-02.org.example:good"
BAD = "iqn.2003-02.org.example:bad"


@contextmanager
def silent_portal() -> Iterator[str]:
    """A portal that accepts connections and never sends an octet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def unused_portal() -> str:
    """An address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_an_address_where_nobody_listens(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    wrong = unused_portal()
    tgtd.add_target(GOOD, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure(f"DiscoveryAddress={wrong}", f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1))
    assert "refused" in daemon.wait_for_line(wrong).lower()
    assert len(daemon.lines_about(wrong)) == 1, daemon.log()


def test_a_name_that_does_not_resolve(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    tgtd.add_target(GOOD, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure("DiscoveryAddress=nowhere.invalid", f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1))
    daemon.wait_for_line("nowhere.invalid")
    assert len(daemon.lines_about("nowhere.invalid")) == 1, daemon.log()


def test_a_target_that_refuses(target: Target, daemon: Daemon, tmp_path: Path) -> None:
    target.add_target(GOOD, {1: disks.make_file(tmp_path / "good", 16)})
    account = Account("alice", "secret-of-alice")
    target.add_target(BAD, {1: disks.make_file(tmp_path / "bad", 16)}, account=account)
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    line = daemon.wait_for_line(BAD, target.address)
    assert "authenticat" in line.lower(), line
    assert "secret-of-alice" not in daemon.log()
    daemon.wait_for_sessions(GOOD)
    daemon.wait_for_links(daemon.link(*daemon.read_bindings()[GOOD], 1))
    assert len(daemon.lines_about(BAD)) == 1, daemon.log()


def test_a_portal_that_says_nothing(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    tgtd.add_target(GOOD, {1: disks.make_file(tmp_path / "disk", 16)})
    with silent_portal() as silent:
        daemon.configure(f"DiscoveryAddress={silent}", f"DiscoveryAddress={tgtd.address}")
        daemon.start("--login-timeout", "10")
        daemon.wait_for_links(daemon.link(0, 0, 1))
        assert not daemon.lines_about(silent), "the good target had to wait for the silent one"
        line = daemon.wait_for_line(silent)
        assert "no answer within" in line, line


def test_a_syntax_error_refuses_the_start_and_names_its_place(daemon: Daemon) -> None:
    daemon.configure("DiscoveryAddress=127.0.0.1", "DicsoveryAddress=127.0.0.1")
    done = daemon.run("-n")
    assert done.returncode > 0
    (line,) = done.stderr.splitlines()
    assert f"{daemon.configuration}:2" in line and "DicsoveryAddress" in line, line


def test_a_syntax_error_refuses_the_start_before_the_shell_is_left(daemon: Daemon) -> None:
    daemon.configure("DiscoveryAddress=127.0.0.1", "Nonsense")
    done = daemon.run()
    assert done.returncode > 0
    assert f"{daemon.configuration}:2" in done.stderr, done.stderr
    assert not daemon.pidfile.exists()


def test_a_missing_initiator_name_is_said_with_its_cure(daemon: Daemon) -> None:
    daemon.configure("DiscoveryAddress=127.0.0.1")
    daemon.initiatorname.unlink()
    done = daemon.run("-n")
    assert done.returncode > 0
    (line,) = done.stderr.splitlines()
    assert str(daemon.initiatorname) in line and "iscsi-iname" in line, line
