"""Access as targets grant it: to the exact name, and by a password for sessions alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import disks, sessions
from tests.vm.conftest import Target
from tests.vm.daemon import Daemon
from tests.vm.lio import Account
from tests.vm.tgtd import Tgtd

HOST = "iqn.2003-02.org.Example:MACHINE"
EXACT = "iqn.2003-02.org.example:exact"
FOLDED = "iqn.2003-02.org.example:folded"
ACCOUNT = Account("alice", "secret-of-alice", "vault", "secret-of-vault")
CHAP = (
    "OutgoingUsername=alice",
    "OutgoingPassword=secret-of-alice",
    "IncomingUsername=vault",
    "IncomingPassword=secret-of-vault",
)


def test_the_initiator_name_is_sent_as_it_is_written(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """It compares octets; LIO folds the name that it gets. One target knows it as it is, the other
    in small letters."""
    for name, initiator in ((EXACT, HOST), (FOLDED, HOST.lower())):
        files = {1: disks.make_file(tmp_path / name[-5:], 8)}
        tgtd.add_target(name, files, open_to_all=False, initiator=initiator)
    daemon.initiatorname.write_text(f"InitiatorName={HOST}\n")
    daemon.configure(
        *(f"TargetName={name}\n    Address={tgtd.address}" for name in (EXACT, FOLDED))
    )
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1))
    daemon.wait_for_line(FOLDED, "(status 02")
    assert sessions.target_names() == [EXACT]
    (sid,) = sessions.session_ids()
    assert sessions.attribute(sid, "initiatorname") == HOST


@pytest.mark.parametrize("is_global", [True, False])
def test_sessions_prove_themselves_where_discovery_is_open(
    target: Target, daemon: Daemon, tmp_path: Path, is_global: bool
) -> None:
    """As NAS boxes are set up: one place in the file, for all targets of the address."""
    for name in (EXACT, FOLDED):
        files = {1: disks.make_file(tmp_path / name[-5:], 8)}
        target.add_target(name, files, account=ACCOUNT)
    lines = (*CHAP, "DiscoveryCHAP=no")
    address = f"DiscoveryAddress={target.address}"
    below = (address, *(f"    {line}" for line in lines))
    daemon.configure(*((*lines, address) if is_global else below))
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1), daemon.link(0, 1, 1))
    assert sessions.target_names() == sorted((EXACT, FOLDED))
