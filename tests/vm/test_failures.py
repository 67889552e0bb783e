"""One target that fails harms no other, and each failure is one line that names what and where."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm import disks
from tests.vm.conftest import Target, with_lio
from tests.vm.daemon import Daemon
from tests.vm.lio import Account

GOOD = "iqn.2003-02.org.example:good"
BAD = "iqn.2003-02.org.example:bad"
UNKNOWN = "nowhere.invalid"


@contextmanager
def silent_portal() -> Iterator[str]:
    """A portal that accepts connections and never sends an octet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def unused_portal() -> str:
    """An address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@with_lio
def test_what_fails_is_reported_once_and_holds_nothing_up(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    """A silent portal, one on which nothing listens, a name that is not known, and a target that
    refuses the login; and a target that works."""
    target.add_target(GOOD, {1: disks.make_file(tmp_path / "good", 16)})
    account = Account("alice", "secret-of-alice")
    target.add_target(BAD, {1: disks.make_file(tmp_path / "bad", 16)}, account=account)
    unused = unused_portal()
    with silent_portal() as silent:
        portals = (silent, unused, UNKNOWN, target.address)
        daemon.configure(*(f"DiscoveryAddress={portal}" for portal in portals))
        daemon.start("--login-timeout", "10")
        daemon.wait_for_sessions(GOOD)
        daemon.wait_for_links(daemon.link(*daemon.wait_for_bindings(GOOD)[GOOD], 1))
        assert not daemon.lines_about(silent), "the good target had to wait for the silent one"
        assert "no answer within" in daemon.wait_for_line(silent)
    assert "refused" in daemon.wait_for_line(unused).lower()
    # LIO closes the connection without an answer, so that CHAP is only a guess.
    refusal = daemon.wait_for_line(BAD, target.address)
    assert "CHAP" in refusal and "OutgoingPassword" in refusal
    daemon.wait_for_line(UNKNOWN)
    assert "secret-of-alice" not in daemon.log()
    for what in (silent, unused, UNKNOWN, BAD):
        assert len(daemon.lines_about(what)) == 1, daemon.log()
