"""Which source counts for a target: no array leads the name of a disk to a disk of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from iscsid import facts
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings, SessionSettings, StaticTarget
from iscsid.errors import Failure, Retry
from iscsid.facts import KernelSession, TimerPurpose
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from tests.support.harness import DISK, OTHER, Harness, kernel_session

ONE, TWO = Portal("192.0.2.1"), Portal("192.0.2.2")
EVIL = Portal("203.0.113.9")
UNREACHABLE = Failure(Retry.SOON, "no route to the host")


@dataclass
class Network:
    """A daemon with two DiscoveryAddresses, and what was asked of the configuration."""

    entities: tuple[str, str] = ("", "")
    static: tuple[StaticTarget, ...] = ()
    first: Portal = ONE
    harness: Harness = field(default_factory=Harness)
    resolved: set[tuple[Portal, Portal | None]] = field(default_factory=set)

    def configuration(self) -> Configuration:
        def resolve(_: IscsiName, portal: Portal, found_at: Portal | None) -> SessionSettings:
            self.resolved.add((portal, found_at))
            return SessionSettings()

        portals = zip((self.first, TWO), self.entities, strict=True)
        return Configuration(
            discoveries=tuple(
                DiscoverySettings(portal=portal, network_entity=entity)
                for portal, entity in portals
            ),
            static_targets=self.static,
            resolver=resolve,
        )

    def begin(self, *found: KernelSession, bindings: str = "") -> Network:
        self.harness.begin(self.configuration(), *found, bindings=bindings)
        return self

    def reload(self) -> Network:
        self.harness.reload(self.configuration())
        return self

    def answer(
        self,
        at: Portal,
        *portals: Portal,
        name: str = DISK,
        also: tuple[DiscoveryRecord, ...] = (),
        peer: Portal | None = None,
    ) -> Network:
        """The discovery at ``at`` reports a target with these portals."""
        jobs = [job for job in self.harness.jobs if isinstance(job, DiscoveryJob)]
        job = next(job.id for job in reversed(jobs) if job.portal == at)
        records = (spelt(name, *portals), *also)
        self.harness.handle(
            *(facts.TargetDiscovered(job, record) for record in records),
            facts.DiscoveryCompleted(job, answered_at=peer),
            facts.WorkerEnded(job),
        )
        return self

    def unreachable(self, at: Portal) -> Network:
        jobs = [job for job in self.harness.jobs if isinstance(job, DiscoveryJob)]
        job = next(job.id for job in reversed(jobs) if job.portal == at)
        self.harness.handle(facts.DiscoveryFailed(job, UNREACHABLE), facts.WorkerEnded(job))
        return self

    def portals(self) -> list[list[Portal]]:
        """Return the portals of every session, in the order of their numbers."""
        sessions = sorted(
            self.harness.initiator.reconciler.sessions, key=lambda each: each.plan.binding
        )
        return [[option.portal for option in each.plan.options] for each in sessions]

    def names(self) -> list[str]:
        return [
            str(job.login.target_name) for job in self.harness.jobs if isinstance(job, LoginJob)
        ]

    def lines(self) -> list[str]:
        lines = self.harness.bindings.splitlines()
        return [" ".join(line.split()) for line in lines if line[:1] != "#"]

    def is_contradiction_logged(self) -> bool:
        return self.harness.has_logged(DISK, "NetworkEntity")


def spelt(name: str, *portals: Portal) -> DiscoveryRecord:
    folded = IscsiName(name.lower())
    addresses = tuple(TargetAddress(portal, 1) for portal in portals)
    return DiscoveryRecord(folded, addresses, "" if name == folded else name)


def test_another_array_adds_no_portal_to_a_target() -> None:
    network = Network().begin().answer(ONE, ONE).answer(TWO, EVIL)
    assert network.portals() == [[ONE]]
    assert network.is_contradiction_logged()
    assert network.harness.has_logged(DISK, str(EVIL), str(TWO), str(ONE))


def test_another_array_that_also_lists_the_true_portal_adds_none() -> None:
    network = Network().begin().answer(ONE, ONE).answer(TWO, ONE, EVIL)
    assert network.portals() == [[ONE]]
    assert network.is_contradiction_logged()


def test_another_array_does_not_take_over_a_running_session_whatever_its_place_in_the_file() -> (
    None
):
    tag = f"iscsid:0:0:80aabbcc0000@{TWO}"
    network = Network().begin(kernel_session(session_tag=tag, portal=TWO))
    network.answer(ONE, EVIL)
    assert network.portals() == [[TWO]], "TWO has yet to answer"
    network.answer(TWO, TWO)
    assert network.portals() == [[TWO]]
    network.reload().answer(ONE, EVIL).answer(TWO, TWO)
    assert network.portals() == [[TWO]]
    assert network.is_contradiction_logged()


def test_a_target_that_the_file_names_with_its_addresses_is_changed_by_no_answer() -> None:
    static = StaticTarget(DISK, (TargetAddress(ONE),))
    network = Network(static=(static,)).begin().answer(TWO, TWO, ONE, EVIL, name=DISK.upper())
    assert network.portals() == [[ONE]]
    assert network.names() == [DISK]


def test_a_target_with_an_address_that_is_gone_there_is_asked_for_nowhere_else() -> None:
    """Although another source reports it, and SIGHUP has confirmed that."""
    static = StaticTarget(DISK, (TargetAddress(ONE),))
    network = Network(static=(static,), first=EVIL)
    network.begin(kernel_session(session_tag="iscsid:0:0:80aabbcc0000", portal=ONE))
    network.answer(TWO, TWO)
    network.harness.handle(facts.ConnectionLost(1, "the target closed the connection"))
    network.harness.wait(TimerPurpose.RETRY_LOGIN)
    network.harness.handle(facts.CmdSnLearned(1, 9))
    gone = Failure(Retry.LATER, "not found (status 0203)")
    network.harness.handle(facts.LoginFailed(network.harness.job, gone))
    network.reload().answer(TWO, TWO).answer(EVIL)
    assert network.portals() == [[ONE]]
    assert {job.portal for job in network.harness.jobs if isinstance(job, LoginJob)} == {ONE}


def gone_from_one(*, in_use: bool, entities: tuple[str, str] = ("", "")) -> Network:
    """A session that ONE has reported is up; then ONE reports it no more, and TWO elsewhere."""
    tag = f"iscsid:0:0:80aabbcc0000@{ONE}"
    network = Network(entities).begin(kernel_session(session_tag=tag, portal=ONE))
    network.answer(ONE, ONE).answer(TWO, TWO)
    network.reload().answer(TWO, TWO)
    assert network.portals()[0][0] == ONE, "ONE has yet to answer"
    network.answer(ONE, ONE, name=OTHER)
    uses = ("/dev/sda is mounted on /data",) if in_use else ()
    network.harness.handle(facts.DiskUsersChecked(1, uses))
    return network


def test_a_session_whose_target_is_gone_does_not_move_to_another_array() -> None:
    network = gone_from_one(in_use=True)
    assert network.portals()[0] == [ONE]
    assert network.harness.has_logged(DISK, "not moved there", str(TWO), "NetworkEntity")
    network.harness.handle(facts.ConnectionLost(1, "the target closed the connection"))
    assert TWO not in {job.portal for job in network.harness.jobs if isinstance(job, LoginJob)}


def test_a_session_whose_target_is_gone_ends_before_another_array_s_begins() -> None:
    network = gone_from_one(in_use=False)
    assert network.portals()[0] == [ONE]
    network.harness.handle(facts.SessionUnbound(1), facts.SessionDestroyed(1))
    assert network.portals()[0] == [TWO]
    assert network.lines()[0] == f"0 0 {DISK}"


def test_a_target_moves_between_addresses_that_belong_together() -> None:
    network = gone_from_one(in_use=True, entities=("array", "array"))
    assert network.portals()[0] == [TWO]


@pytest.mark.parametrize("order", [(ONE, TWO), (TWO, ONE)])
def test_two_controllers_that_list_the_portals_of_both_belong_together(
    order: tuple[Portal, Portal],
) -> None:
    network = Network().begin()
    for at in order:
        network.answer(at, ONE, TWO)
    assert [set(portals) for portals in network.portals()] == [{ONE, TWO}]
    assert not network.is_contradiction_logged()


def test_a_controller_that_is_dead_at_a_start_is_spoken_for_by_the_other() -> None:
    """The session is down and was found at the dead one; it must learn the live portal."""
    seen = kernel_session(state="FAILED", connection_state="failed", portal=ONE)
    network = Network().begin(seen).unreachable(ONE).answer(TWO, ONE, TWO)
    assert network.portals() == [[ONE, TWO]]
    assert not network.is_contradiction_logged()


def test_credentials_of_a_source_go_to_its_own_portals_only() -> None:
    network = Network().begin().answer(ONE, ONE).answer(TWO, EVIL)
    assert network.resolved <= {(ONE, ONE)}
    joined = Network(("array", "array")).begin().answer(ONE, ONE).answer(TWO, TWO)
    assert joined.resolved == {(ONE, ONE), (TWO, TWO)}


# --- the administrator knows better -------------------------------------------------------------


def test_controllers_that_list_their_own_portals_belong_together_if_the_file_joins_them() -> None:
    network = Network(("array", "array")).begin().answer(ONE, ONE).answer(TWO, TWO)
    assert network.portals() == [[ONE, TWO]]
    assert network.lines() == [f"0 0 {DISK}"]
    assert not network.is_contradiction_logged()


def test_two_arrays_with_one_factory_name_are_two_targets_if_the_file_separates_them() -> None:
    network = Network(("red", "green")).begin().answer(ONE, ONE).answer(TWO, TWO)
    assert network.portals() == [[ONE], [TWO]]
    assert network.lines() == [f"0 0 {DISK} =red", f"1 0 {DISK} =green"]
    again = Network(("red", "green")).begin(bindings=network.harness.bindings)
    again.answer(TWO, TWO).answer(ONE, ONE)
    assert again.portals() == [[ONE], [TWO]], "their numbers do not depend on who answers first"


def test_a_word_for_one_of_two_arrays_is_enough() -> None:
    network = Network(("", "green")).begin().unreachable(ONE).answer(TWO, TWO)
    assert network.lines() == [f"0 0 {DISK} =green"]
    network.reload().answer(ONE, ONE)
    assert network.lines() == [f"0 0 {DISK} =green", f"0 1 {DISK}"]


def test_a_number_goes_to_the_array_that_had_it_before_the_file_named_the_arrays() -> None:
    network = Network(("red", "green")).begin(kernel_session(), bindings=f"0 0 {DISK}\n")
    network.answer(TWO, TWO)
    assert network.lines()[1:] == [f"1 0 {DISK} =green"]
    network.answer(ONE, ONE)
    assert set(network.lines()) == {f"0 0 {DISK} =red", f"1 0 {DISK} =green"}


def test_without_a_session_a_number_waits_until_all_arrays_have_been_asked() -> None:
    network = Network(("red", "green")).begin(bindings=f"0 0 {DISK}\n").answer(TWO, TWO)
    assert network.portals() == []
    network.unreachable(ONE)
    assert network.lines() == [f"0 0 {DISK} =green"] and network.portals() == [[TWO]]


# --- names that differ in capitals only ---------------------------------------------------------

CAPITAL = DISK.replace("disk", "Disk")


def test_a_target_goes_on_being_called_as_it_was_before() -> None:
    network = Network().begin().answer(ONE, ONE, name=CAPITAL)
    assert network.names() == [CAPITAL]
    assert network.lines() == [f"0 0 {CAPITAL}"]
    after_a_reboot = Network().begin(bindings=network.harness.bindings)
    after_a_reboot.answer(ONE, ONE, name=DISK)
    assert after_a_reboot.names() == [CAPITAL]
    assert after_a_reboot.harness.has_logged(CAPITAL, DISK, "one name to iSCSI")
    assert after_a_reboot.lines() == [f"0 0 {CAPITAL}"] or not after_a_reboot.lines()


def test_small_letters_are_a_spelling_too() -> None:
    network = Network().begin().answer(ONE, ONE, name=DISK)
    after_a_reboot = Network().begin(bindings=network.harness.bindings)
    after_a_reboot.answer(ONE, ONE, name=CAPITAL)
    assert after_a_reboot.names() == [DISK]


def test_a_file_of_an_earlier_version_learns_the_spelling() -> None:
    network = Network().begin(bindings=f"0 3 {DISK}\n").answer(ONE, ONE, name=CAPITAL)
    assert network.names() == [CAPITAL] and network.lines() == [f"0 3 {CAPITAL}"]


def test_a_running_session_keeps_its_spelling() -> None:
    down = kernel_session(name=CAPITAL, state="FAILED", connection_state="failed")
    network = Network().begin(down).answer(ONE, ONE, name=DISK)
    network.harness.wait(TimerPurpose.RETRY_LOGIN)
    network.harness.handle(facts.CmdSnLearned(1, 9))
    assert network.names() == [CAPITAL]


@pytest.mark.parametrize("used", [DISK, CAPITAL])
def test_of_two_spellings_in_one_answer_the_one_used_before_keeps_its_portals(used: str) -> None:
    bindings = Network().begin().answer(ONE, ONE, name=used).harness.bindings
    network = Network().begin(bindings=bindings)
    network.answer(ONE, TWO, name=DISK, also=(spelt(CAPITAL, EVIL), spelt(OTHER, ONE)))
    assert network.harness.has_logged("error", DISK, CAPITAL, "one name to iSCSI")
    assert used in network.names()
    assert network.portals()[0] == [TWO if used == DISK else EVIL]


# --- host names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [ONE, TWO])
def test_two_controllers_that_spell_a_name_differently_lead_to_one_session(first: Portal) -> None:
    names = {ONE: CAPITAL, TWO: DISK}
    network = Network().begin()
    for at in (first, TWO if first == ONE else ONE):
        network.answer(at, ONE, TWO, name=names[at])
    assert [set(portals) for portals in network.portals()] == [{ONE, TWO}]
    assert set(network.names()) == {names[first]}
    assert len(network.lines()) == 1


def test_of_two_kernel_sessions_whose_names_differ_in_capitals_the_second_is_left_alone() -> None:
    network = Network().begin(
        kernel_session(session_tag=f"iscsid:0:0:80aabbcc0000@{ONE}", portal=ONE),
        kernel_session(2, name=CAPITAL, session_tag=f"iscsid:0:1:80aabbcc0001@{TWO}", portal=TWO),
    )
    assert network.portals() == [[ONE]]
    assert network.harness.has_logged("error", CAPITAL, "session 2 is left alone")
    network.answer(ONE, ONE).answer(TWO, TWO, name=CAPITAL)
    assert not network.names()


def test_the_portal_that_just_answered_is_tried_first_behind_a_host_name_too() -> None:
    """A host name in the file has an address: the one where discovery has just been answered."""
    name = Portal("san.example.org")
    network = Network(first=name).begin().answer(name, ONE, EVIL, peer=EVIL)
    assert network.portals() == [[EVIL, ONE]]
