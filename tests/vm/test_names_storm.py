"""A name leads to its own disk, however often sessions end and begin and device names are reused.

At no moment does it lead to another while iscsid itself ends the sessions. When another program
ends one, the kernel may give a device's name away before iscsid knows, so that only the outcome
counts. How often: ``ISCSID_TEST_STORM`` is the number of logouts, ``ISCSID_TEST_RESTARTS`` that of
starts.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import disks, sessions
from tests.vm.daemon import Daemon, Numbers, show_tree
from tests.vm.link_watch import SIGNATURE, LinkWatch, sign
from tests.vm.tgtd import Tgtd

NAMES = [f"iqn.2003-02.org.example:storm{number}" for number in range(4)]
HALVES = NAMES[:2], NAMES[2:]
LOGOUTS = int(os.environ.get("ISCSID_TEST_STORM", "12"))
ROUNDS = LOGOUTS // len(HALVES[0])
RESTARTS = int(os.environ.get("ISCSID_TEST_RESTARTS", "2"))


def export(tgtd: Tgtd, directory: Path, names: list[str]) -> None:
    """Export a disk for each name; its first octets are the name."""
    for name in names:
        file = directory / name.rpartition(":")[2]
        if not file.exists():
            sign(disks.make_file(file, 8), name)
        tgtd.add_target(name, {1: file})


def configure(daemon: Daemon, tgtd: Tgtd, names: list[str]) -> None:
    """Want sessions with these targets and no others."""
    daemon.configure(*(f"TargetName={name}\n    Address={tgtd.address}" for name in names))


def signature(link: Path) -> str:
    """Return whose disk it is, by its first octets."""
    return disks.read_start(link, SIGNATURE).rstrip(b"\0").decode()


@pytest.fixture
def watches() -> Iterator[list[LinkWatch]]:
    """Watches that are ended after the test, whatever became of it."""
    started: list[LinkWatch] = []
    yield started
    for watch in started:
        watch.kill()


class Storm:
    """Four targets of which only two at a time are wanted, and the disks each has had."""

    def __init__(self, tgtd: Tgtd, daemon: Daemon, numbers: dict[str, Numbers]) -> None:
        self._tgtd, self._daemon = tgtd, daemon
        self.links = {name: daemon.link(*numbers[name], 1) for name in NAMES}
        self._owners: dict[str, set[str]] = {}
        self.turns = 0

    def blow(self, *, is_rough: bool = False) -> None:
        """Log out of two targets and in to two; a rough one loses a session without a logout."""
        wanted, unwanted = HALVES[self.turns % 2], HALVES[1 - self.turns % 2]
        self.turns += 1
        configure(self._daemon, self._tgtd, wanted)
        self._daemon.send(signal.SIGHUP)
        if is_rough:
            sessions.destroy(min(sessions.session_ids()))
        self._wait_for_disks(wanted)
        self._daemon.wait_for_no_links(*(self.links[name] for name in unwanted))

    def lose(self, sid: int) -> None:
        """End a session that is wanted, behind the daemon's back: it comes back."""
        wanted = sessions.target_names()
        sessions.destroy(sid)
        self._wait_for_disks(wanted)

    def _wait_for_disks(self, wanted: list[str]) -> None:
        """Wait for these sessions and no others; each name must lead to its own disk then."""
        self._daemon.wait_for_sessions(*wanted)
        self._daemon.wait_for_links(*(self.links[name] for name in wanted))
        for name in wanted:
            assert signature(self.links[name]) == name
            self._owners.setdefault(str(self.links[name].readlink()), set()).add(name)

    @property
    def reused(self) -> dict[str, int]:
        """Return how many targets each device name has belonged to, if it was several."""
        return {node: len(names) for node, names in self._owners.items() if len(names) > 1}


@pytest.mark.limit(600)
def test_no_link_ever_leads_to_another_targets_disk_in_a_storm_of_logouts_and_logins(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path, watches: list[LinkWatch]
) -> None:
    export(tgtd, tmp_path, NAMES)
    configure(daemon, tgtd, NAMES)
    daemon.start()
    storm = Storm(tgtd, daemon, numbers := daemon.wait_for_bindings(*NAMES))
    daemon.wait_for_links(*storm.links.values())
    owners = {str(link.relative_to(daemon.tree)): name for name, link in storm.links.items()}
    watches.append(LinkWatch(daemon.tree, owners))
    # Which names are free for a disk depends on what is faster, the logouts or the logins.
    while storm.turns < ROUNDS or (not storm.reused and storm.turns < 4 * ROUNDS):
        storm.blow()
    followed = watches[0].stop()
    print(f"{storm.turns} rounds, links were followed {followed} times, reused: {storm.reused}")
    assert storm.reused, "device names were never reused: the storm has proved nothing"
    assert followed > LOGOUTS
    for _ in range(2):
        storm.blow(is_rough=True)
    storm.lose(min(sessions.session_ids()))
    assert daemon.read_bindings() == numbers


@pytest.mark.limit(600)
def test_names_are_the_same_over_restarts_with_the_targets_in_any_order(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    order = random.Random(1)
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    numbers: dict[str, Numbers] = {}
    nodes: set[tuple[str, ...]] = set()
    for restart in range(1 + RESTARTS):
        export(tgtd, tmp_path, order.sample(NAMES, len(NAMES)))
        daemon.start()
        found = daemon.wait_for_bindings(*NAMES)
        numbers = numbers or found
        assert found == numbers, f"at restart {restart}"
        links = [daemon.link(*numbers[name], 1) for name in NAMES]
        daemon.wait_for_links(*links)
        assert [signature(link) for link in links] == NAMES, f"at restart {restart}"
        nodes.add(tuple(str(link.readlink()) for link in links))
        assert daemon.stop(signal.SIGINT) == 0
        assert not list(show_tree(daemon.tree)), daemon.log()
        for name in NAMES:
            tgtd.remove_target(name)
    print(f"{RESTARTS} restarts; the four disks had {len(nodes)} different sets of device names")
    if RESTARTS >= 20:
        assert len(nodes) > 1, "the device names never changed: the restarts have proved nothing"
