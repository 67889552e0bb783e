"""A session that comes back finds its disks, or leaves them alone: with real targets and I/O."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.devices.sysfs import ScsiDevice, Sysfs
from iscsid.protocol.names import IscsiName, parse_portal
from iscsid.protocol.parameters import Digest
from iscsid.protocol.vpd import best, designators
from tests.loopback import inquiry
from tests.loopback.driver import log_in
from tests.support.patience import wait_until
from tests.vm import disks, resets, sessions
from tests.vm.conftest import Target, needs_lio
from tests.vm.daemon import Daemon
from tests.vm.lio import Lio
from tests.vm.tgtd import Tgtd
from tests.vm.workload import writing

DISKS = "iqn.2003-02.org.example:disks"
RED, BLUE = "aaaaaaaa-1111-4111-8111-aaaaaaaaaaaa", "bbbbbbbb-2222-4222-8222-bbbbbbbbbbbb"
SERIALS = {"red": RED[-12:] + RED[:8], "blue": BLUE[-12:] + BLUE[:8]}
"""As tgtd has room for them."""
UUIDS = {"red": RED, "blue": BLUE}
EXCHANGED = "another logical unit than before answers here"


class Store:
    """Two disks, red and blue, behind one target."""

    def __init__(self, target: Target, directory: Path) -> None:
        self._target = target
        self._is_stopped = False
        self.files = {name: disks.make_file(directory / name, 16) for name in UUIDS}

    def open(self, luns: dict[int, str], *, digests: str = "CRC32C,None") -> None:
        if self._is_stopped:
            self._target, self._is_stopped = Tgtd(), False
        parameters = {"HeaderDigest": digests, "DataDigest": digests}
        self._target.add_target(DISKS, {}, parameters=parameters)
        for lun, name in luns.items():
            self.add(lun, name)

    def add(self, lun: int, name: str, *, serial_of: str = "") -> None:
        serials = UUIDS if isinstance(self._target, Lio) else SERIALS
        serial = serials[serial_of or name]
        self._target.add_lun(DISKS, lun, self.files[name], serial=serial)

    def close(self) -> None:
        """Break every connection; afterwards there is no such target, or none at all."""
        if isinstance(self._target, Lio):
            self._target.remove_target(DISKS)
        else:
            # tgtd does not remove what is being written to.
            self._target.stop()
            self._is_stopped = True

    def end(self) -> None:
        if isinstance(self._target, Tgtd):
            self._target.stop()


@pytest.fixture
def store(target: Target, tmp_path: Path) -> Iterator[Store]:
    found = Store(target, tmp_path)
    yield found
    found.end()


def cut_connections() -> None:
    """Reset every connection to the target."""
    assert resets.reset(theirs=3260)


def unit(lun: int) -> ScsiDevice:
    (found,) = (each for each in Sysfs().devices(sessions.session_of(DISKS)) if each.lun == lun)
    return found


def run_daemon(daemon: Daemon, target: Target, *luns: int, lines: tuple[str, ...] = ()) -> None:
    daemon.configure(f"DiscoveryAddress={target.address}", *lines)
    daemon.start("-d", "-d")
    daemon.wait_for_links(*(daemon.link(0, 0, lun) for lun in luns))


def shown_difference() -> tuple[str, str]:
    """Return what distinguishes LUN 1 from LUN 2, and LUN 2 from LUN 1."""
    first, second = (designators(unit(lun).identity_page()) for lun in (1, 2))
    return best(first - second), best(second - first)


def assert_stands_still(record: Path) -> None:
    """Nothing more is acknowledged while the disk is blocked; else it would be many blocks."""
    before = record.read_bytes()
    time.sleep(2)
    assert record.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "digest"),
    [("tgtd", "always"), pytest.param("lio", "never", marks=needs_lio)],
    indirect=["target"],
)
def test_the_same_disks_are_written_on(
    target: Target, store: Store, daemon: Daemon, tmp_path: Path, digest: str
) -> None:
    store.open({1: "red", 2: "blue"})
    settings = (f"HeaderDigest={digest}", f"DataDigest={digest}")
    run_daemon(daemon, target, 1, 2, lines=settings)
    disk = daemon.link(0, 0, 1)
    with writing([disk], tmp_path / "record") as workload:
        for _ in range(3):
            workload.wait_for_progress()
            cut_connections()
            workload.wait_for_progress()
    asked = 3 if isinstance(target, Tgtd) else 2  # tgtd's controller at LUN 0 has a page, too
    assert len(daemon.lines_about(f"{asked} LUNs are what they were")) == 3, daemon.log()
    assert not daemon.lines_about(EXCHANGED)


def test_nothing_is_written_to_another_disk_with_the_same_number(
    target: Target, store: Store, daemon: Daemon, tmp_path: Path
) -> None:
    store.open({1: "red", 2: "blue"})
    run_daemon(daemon, target, 1, 2)
    red, blue = shown_difference()
    record = tmp_path / "record"
    if isinstance(target, Lio):
        assert red == (unit(1).path / "wwid").read_text().strip()
    with writing([daemon.link(0, 0, 1)], record) as workload:
        workload.wait_for_progress()
        store.close()
        store.open({1: "blue", 2: "red"})
        # An attempt may come before both disks are there again; one of the next finds them.
        daemon.wait_for_line(
            f"LUN 1: {EXCHANGED}: it was '{red}' and is '{blue}'",
            f"LUN 2: {EXCHANGED}: it was '{blue}' and is '{red}'",
        )
        assert_stands_still(record)
        assert (unit(1).path / "state").read_text().strip() in ("blocked", "transport-offline")
        assert not any(store.files["blue"].read_bytes()), "the wrong disk was written to"
        store.close()
        store.open({1: "red", 2: "blue"})
        daemon.send(signal.SIGHUP)
        workload.wait_for_progress()
    assert not any(store.files["blue"].read_bytes()), "the wrong disk was written to"


def test_sighup_accepts_a_disk_that_came_back_with_another_serial(
    target: Target, store: Store, daemon: Daemon, tmp_path: Path
) -> None:
    """ "If the new identity is right ..., send SIGHUP: the next login accepts the identities that
    the log has shown, and no others." """
    store.open({1: "red"})
    run_daemon(daemon, target, 1)
    before = best(designators(unit(1).identity_page()))
    with writing([daemon.link(0, 0, 1)], tmp_path / "record") as workload:
        workload.wait_for_progress()
        store.close()
        store.open({})
        store.add(1, "red", serial_of="blue")
        daemon.wait_for_line(f"LUN 1: {EXCHANGED}", "accept it with SIGHUP")
        assert_stands_still(tmp_path / "record")
        daemon.send(signal.SIGHUP)
        workload.wait_for_progress()
        assert daemon.wait_for_line("SIGHUP accepts the identity that LUN 1 has now")
        # The scan after the recovery reads the new identity; the links stay.
        wait_until(
            lambda: best(designators(unit(1).identity_page())) != before,
            lambda: "the kernel keeps the old identity",
        )
        disks.run("udevadm", "settle", "--timeout=60")
        workload.wait_for_progress()
    assert daemon.link(0, 0, 1).exists()
    assert not daemon.lines_about("links are removed")


def test_a_disk_that_is_missing_is_waited_for(
    target: Target, store: Store, daemon: Daemon, tmp_path: Path
) -> None:
    store.open({1: "red", 2: "blue"})
    run_daemon(daemon, target, 1, 2)
    with writing([daemon.link(0, 0, 1)], tmp_path / "record") as workload:
        workload.wait_for_progress()
        store.close()
        store.open({1: "red"})
        daemon.wait_for_line("LUN 2: no logical unit answers here any more")
        store.add(2, "blue")
        workload.wait_for_progress()


@pytest.mark.parametrize("digest", list(Digest))
def test_questions_are_answered_on_the_raw_connection(
    target: Target, store: Store, digest: Digest
) -> None:
    store.open({1: "red", 2: "blue"})
    plan = inquiry.make(IscsiName(DISKS), [digest], [digest])
    portal = parse_portal(target.address)
    with log_in(portal, plan) as session:
        for expected in (1, 2):
            assert inquiry.ask(session, 1).exp_cmd_sn == inquiry.CMD_SN + expected
        session.ping()
    known = inquiry.pages(portal, plan, 1, 2)
    with inquiry.identified(portal, plan, known) as (session, failure):
        assert failure is None
        inquiry.goes_on(session)
    store.close()
    store.open({1: "blue"})
    with inquiry.identified(portal, plan, known) as (session, failure):
        assert failure is not None
        assert f"LUN 1: {EXCHANGED}" in failure.what and "LUN 2: no logical" in failure.what
        session.log_out()
