"""Two paths to every target, or two sessions, and bindings that get lost: each keeps its number."""

from __future__ import annotations

import pytest

from iscsid import facts
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings, MultipathPolicy, SessionSettings
from iscsid.initiator.session_tag import SessionTag, parse_session_tag
from iscsid.protocol.names import IscsiName, Portal
from tests.simulation.test_killed import repair, run_and_kill
from tests.simulation.world import HOST, World, target

TARGETS = {target(number) for number in range(3)}


class TwoPaths(World):
    """A world in which every target can be reached through every portal."""

    wanted_of_each = SessionSettings(multipath=MultipathPolicy.PORTAL)

    def begin(self) -> None:
        for array in self.all:
            array.targets = set(TARGETS)
        super().begin()

    def configuration(self) -> facts.ConfigurationRead:
        def resolve(_name: IscsiName, _portal: Portal, _at: Portal | None) -> SessionSettings:
            return self.wanted_of_each

        # Each portal reports itself alone: the file has them belong together.
        discoveries = tuple(
            DiscoverySettings(portal=portal, network_entity="array") for portal in self.configured
        )
        return facts.ConfigurationRead(Configuration(discoveries, (), resolve), HOST)

    def lose_lines(self) -> None:
        """A person removes lines from the bindings file, all of them perhaps."""
        kept = [line for line in self.bindings.splitlines() if self.random.random() < 0.5]
        self.bindings = "".join(f"{line}\n" for line in kept)

    def markers(self, name: IscsiName) -> list[SessionTag]:
        """Return the tags of the kernel's sessions with a target."""
        found = self.kernel.sessions.values()
        texts = [
            each.description.session_tag for each in found if each.description.target_name == name
        ]
        return [
            session_tag for session_tag in map(parse_session_tag, texts) if session_tag is not None
        ]


@pytest.mark.parametrize("seed", range(150))
def test_each_path_has_one_session_and_one_number_whatever_becomes_of_the_file(seed: int) -> None:
    world = TwoPaths(seed, failure_rate=0.05)
    for _ in range(6):
        run_and_kill(world)
        if world.random.random() < 0.5:
            world.lose_lines()
    repair(world)
    assert world.up() == dict.fromkeys(TARGETS, 2), "\n".join(world.log[-60:])
    numbers = set()
    for name in TARGETS:
        markers = world.markers(name)
        assert {session_tag.path for session_tag in markers} == {
            str(array.portal) for array in world.all
        }
        assert len({session_tag.binding.target for session_tag in markers}) == 1, markers
        numbers |= {session_tag.binding for session_tag in markers}
    assert len(numbers) == 2 * len(TARGETS)
    lines = [line.split() for line in world.bindings.splitlines() if not line.startswith("#")]
    assert len(lines) == len(numbers)


def test_adopted_paths_are_not_logged_in_to_again() -> None:
    """All lines are gone; the sessions alone know whose numbers they have."""
    world = TwoPaths(1)
    world.run(120)
    before = {name: world.markers(name) for name in TARGETS}
    assert all(len(markers) == 2 for markers in before.values())
    world.handle(facts.TerminateReceived())
    world.bindings = ""
    attempts = len(world.attempts)
    world.begin()
    world.run(600)
    assert {name: world.markers(name) for name in TARGETS} == before
    assert len(world.attempts) == attempts


class TwoSessions(TwoPaths):
    """A world in which every target has two sessions that use its portals in turn."""

    wanted_of_each = SessionSettings(sessions=2)


@pytest.mark.parametrize("seed", range(50))
def test_two_sessions_have_two_numbers_whatever_becomes_of_the_file(seed: int) -> None:
    world = TwoSessions(seed, failure_rate=0.05)
    for _ in range(6):
        run_and_kill(world)
        if world.random.random() < 0.5:
            world.lose_lines()
    repair(world)
    assert world.up() == dict.fromkeys(TARGETS, 2), "\n".join(world.log[-60:])
    for name in TARGETS:
        markers = world.markers(name)
        assert {session_tag.path for session_tag in markers} == {"", ";2"}
        assert len({session_tag.isid for session_tag in markers}) == 2
        assert len({session_tag.binding.target for session_tag in markers}) == 1, markers
