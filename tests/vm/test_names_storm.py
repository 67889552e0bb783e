"""A name leads to its own disk, however often sessions end and begin and device names are reused.

How often: ``ISCSID_TEST_STORM`` is the number of logouts, ``ISCSID_TEST_RESTARTS`` that of starts.
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
LOGOUTS = int(os.environ.get("ISCSID_TEST_STORM", "16"))
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

    def blow(self, wanted: list[str], unwanted: list[str], *, is_rough: bool) -> None:
        """Log out of two targets and in to two; a rough one loses a session without a logout."""
        configure(self._daemon, self._tgtd, wanted)
        self._daemon.send(signal.SIGHUP)
        if is_rough:
            sessions.destroy(min(sessions.session_ids()))
        self._daemon.wait_for_sessions(*wanted)
        self._daemon.wait_for_links(*(self.links[name] for name in wanted))
        self._daemon.wait_for_no_links(*(self.links[name] for name in unwanted))
        for name in wanted:
            assert signature(self.links[name]) == name
            self._owners.setdefault(str(self.links[name].readlink()), set()).add(name)

    def lose(self, sid: int) -> None:
        """End a session that is wanted, behind the daemon's back: it comes back."""
        name, others = sessions.attribute(sid, "targetname"), set(sessions.target_names())
        sessions.destroy(sid)
        self._daemon.wait_for_sessions(*others)
        self._daemon.wait_for_links(self.links[name])

    @property
    def reused(self) -> dict[str, int]:
        """Return how many targets each device name has belonged to, if it was several."""
        return {node: len(names) for node, names in self._owners.items() if len(names) > 1}


@pytest.mark.limit(600)
def test_no_link_ever_leads_to_another_targets_disk_in_a_storm_of_logouts_and_logins(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path, watches: list[LinkWatch]
) -> None:
    """The manual page: "It never leads to another target's device, not even for a moment." """
    export(tgtd, tmp_path, NAMES)
    configure(daemon, tgtd, NAMES)
    daemon.start()
    storm = Storm(tgtd, daemon, numbers := daemon.wait_for_bindings(*NAMES))
    daemon.wait_for_links(*storm.links.values())
    owners = {str(link.relative_to(daemon.tree)): name for name, link in storm.links.items()}
    watches.append(LinkWatch(daemon.tree, owners))
    rounds = LOGOUTS // len(HALVES[0])
    for turn in range(rounds):
        storm.blow(HALVES[turn % 2], HALVES[1 - turn % 2], is_rough=turn % 4 == 3)
    storm.lose(min(sessions.session_ids()))
    followed = watches[0].stop()
    gone, up = len(daemon.lines_about("session is gone")), len(daemon.lines_about("session is up"))
    print(f"{gone} sessions ended, {up} came up, links were followed {followed} times")
    print(f"reused: {storm.reused}")
    assert gone + rounds // 4 >= LOGOUTS and followed > LOGOUTS
    assert daemon.read_bindings() == numbers
    assert storm.reused, "device names were never reused: the storm has proved nothing"


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
