"""Several paths to one disk, joined by multipathd: one dies and comes back, the daemon restarts.

Quotations are from the manual page iscsi.conf(5).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.vm import disks, faults, sessions
from tests.vm.conftest import needs_lio
from tests.vm.daemon import Daemon
from tests.vm.lio import Lio
from tests.vm.multipathd import Multipathd
from tests.vm.recovery import SETTINGS
from tests.vm.tgtd import Tgtd
from tests.vm.workload import writing

TARGET = "iqn.2003-02.org.example:paths"
PORTALS = (f"127.0.0.1:{faults.PORT}", f"127.0.0.2:{faults.SECOND_PORT}")
GROUPS = ("1", "2")
SERIALS = {"portal": "c0ffee0000000001", "portalgroup": "c0ffee00-1111-4111-8111-c0ffee000001"}
"""Of the disk, as tgtd and LIO want it: paths with one serial number lead to one disk."""


@contextmanager
def exported(policy: str, file: Path) -> Iterator[None]:
    """Export one disk through two portals; of LIO, each is a portal group of its own."""
    exporter = Tgtd(*PORTALS) if policy == "portal" else Lio(PORTALS[:1], PORTALS[1:])
    try:
        exporter.add_target(TARGET, {})
        exporter.add_lun(TARGET, 1, file, serial=SERIALS[policy])
        yield
    finally:
        exporter.stop()


@contextmanager
def joined(directory: Path) -> Iterator[Multipathd]:
    multipathd = Multipathd(directory)
    try:
        yield multipathd
    finally:
        multipathd.stop()


def lines(daemon: Daemon) -> list[list[str]]:
    """Return the words of each line of the bindings file that binds something."""
    text = daemon.bindings.read_text()
    return sorted(line.split() for line in text.splitlines() if not line.startswith("#"))


def local_ports() -> dict[int, str]:
    return {sid: faults.local_port(sid) for sid in sessions.session_ids()}


def restart_without_lines(daemon: Daemon) -> None:
    """Stop the daemon, remove what it knew of the target with an editor, and start it again."""
    before, ports = lines(daemon), local_ports()
    assert daemon.stop(signal.SIGTERM) == 0
    daemon.bindings.write_text("# end of bindings\n")
    daemon.start()
    for bus in (0, 1):
        daemon.wait_for_line(TARGET, f"adopted, up (bus{bus}/target0)")
    wait_until(lambda: lines(daemon) == before, daemon.bindings.read_text)
    assert local_ports() == ports, "the connections are others"


def end_the_target(daemon: Daemon, wanted: tuple[str, ...], holder: str) -> None:
    """Take the target out of the file and back: its sessions stay, because they are in use."""
    ports = local_ports()
    daemon.configure()
    daemon.send(signal.SIGHUP)
    for portal in PORTALS:
        daemon.wait_for_line(f"{TARGET} via {portal}", "its disks are in use", f"held by {holder}")
    daemon.configure(*wanted)
    daemon.send(signal.SIGHUP)
    daemon.wait_for_line(f"discovery at {PORTALS[0]}: 1 target")
    assert local_ports() == ports


@pytest.mark.parametrize(
    ("policy", "names"),
    [("portal", PORTALS), pytest.param("portalgroup", GROUPS, marks=needs_lio)],
)
def test_io_goes_on_over_the_other_path(
    policy: str, names: tuple[str, str], daemon: Daemon, tmp_path: Path
) -> None:
    """ "portal (or yes): one session per portal. portalgroup: one session per portal group ...
    Several sessions make several devices per disk, to be joined by multipathd(8)." """
    settings = (f"Multipath={policy}", "ConnFailTimeout=5", *SETTINGS)
    # tgtd reports the one portal that it is asked through.
    addresses = PORTALS if policy == "portal" else PORTALS[:1]
    # Each answer names one portal: that both are of one array, the file has to declare.
    entries = (f"DiscoveryAddress={address}\n    NetworkEntity=array" for address in addresses)
    wanted = (*settings, *entries)
    with exported(policy, disks.make_file(tmp_path / "image", 8)):
        daemon.configure(*wanted)
        daemon.start()
        links = [daemon.link(bus, 0, 1) for bus in (0, 1)]
        daemon.wait_for_links(*links)
        assert {(bus, id_) for bus, id_, *_ in lines(daemon)} == {("0", "0"), ("1", "0")}
        assert {tuple(words) for _, _, *words in lines(daemon)} == {(TARGET, n) for n in names}
        with joined(tmp_path) as multipathd:
            multipathd.wait_for_paths(active=2)
            assert set(multipathd.paths()) == {str(link.resolve()) for link in links}
            disk = multipathd.map
            print(multipathd.topology())
            with writing([disk], tmp_path / "record") as workload:
                with faults.silence(faults.SECOND_PORT):
                    multipathd.wait_for_paths(active=1, failed=1)
                    workload.wait_for_progress()
                multipathd.wait_for_paths(active=2)
                restart_without_lines(daemon)
                end_the_target(daemon, wanted, disk.name)
                workload.wait_for_progress()
                multipathd.wait_for_paths(active=2)
                assert not workload.errors()
        assert daemon.stop(signal.SIGINT) == 0
        assert not sessions.session_ids()
