"""Bindings that people edit, arrays that report one another's targets, outages, restarts: a session
is never forgotten, and a name never leads to the disk of another target or another array."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from iscsid import facts, orders
from iscsid.facts import Device, Fact
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.jobs import DiscoveryJob, Job
from iscsid.orders import Order
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from tests.simulation.world import World

STEPS = 40


@dataclass
class Meddled(World):
    """Every session has a disk; each array may have disks under the names of another's targets."""

    also_reports: dict[Portal, set[IscsiName]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    met_at: dict[int, Portal] = field(default_factory=dict)
    """The portal of each session in the kernel, for ever."""

    def carry_out(self, order: Order) -> list[Fact]:
        found = super().carry_out(order)
        match order:
            case orders.MakeLink(path, node):
                self.links[path] = node
            case orders.RemoveLink(path):
                self.links.pop(path, None)
        for sid in self.kernel.sessions.keys() & self.met_at.keys():
            portal = self.kernel.sessions[sid].description.portal
            assert portal == self.met_at[sid], f"session {sid} went on at another array"
        self.met_at = {
            sid: running.description.portal for sid, running in self.kernel.sessions.items()
        }
        return found

    def _outcome(self, job: Job) -> list[Fact]:
        array = None if not isinstance(job, DiscoveryJob) else self._array(job.portal)
        for each in self.all:
            each.targets |= self.also_reports.get(each.portal, set())
        found = super()._outcome(job)
        if isinstance(job, DiscoveryJob) and array is not None and array.is_healthy:
            # At times an answer names the portals of all arrays, too.
            every = tuple(TargetAddress(each.portal, 1) for each in self.all)
            if self.random.random() < 0.1:
                name = self.random.choice(sorted(array.targets))
                found.insert(0, facts.TargetDiscovered(job.id, DiscoveryRecord(name, every)))
        return found

    def show_disks(self) -> None:
        """Let udev report what there is: the disks of sessions that are up or down."""
        for sid, running in list(self.kernel.sessions.items()):
            if running.is_scanned:
                device = Device(path=f"/d{sid}", sid=sid, lun=1, link="disk", node=f"/dev/sd{sid}")
                self.handle(facts.DeviceAppeared(device))

    def edit_bindings(self) -> None:
        """A person exchanges two names, restores an old copy, or removes a line."""
        lines = self.bindings.splitlines()
        numbered = [at for at, line in enumerate(lines) if line and not line.startswith("#")]
        if len(numbered) < 2:
            return
        one, two = self.random.sample(numbered, 2)
        if self.random.random() < 0.5:
            first, second = lines[one].split("\t"), lines[two].split("\t")
            first[2], second[2] = second[2], first[2]
            lines[one], lines[two] = "\t".join(first), "\t".join(second)
        else:
            del lines[one]
        self.bindings = "".join(f"{line}\n" for line in lines)

    def check(self) -> None:
        known = self.initiator.reconciler.sessions
        owners = {}
        for sid, running in self.kernel.sessions.items():
            tag = parse_session_tag(running.description.session_tag)
            if running.has_life and tag is not None:
                session = known.with_sid(sid)
                assert session is not None, f"session {sid} has been forgotten"
                assert session.plan.binding == tag.binding
                owners[f"/dev/sd{sid}"] = tag.binding
        for path, node in self.links.items():
            if node in owners:
                assert path.startswith(f"{owners[node]}/"), f"{path} leads to {owners[node]}"


@pytest.mark.parametrize("seed", range(200))
def test_whatever_people_and_arrays_do_a_name_leads_to_its_own_disk(seed: int) -> None:
    world = Meddled(seed, failure_rate=0.05, keeps_discovery=bool(seed % 2), coincidence=0)
    names = sorted(set().union(*(array.targets for array in world.all)))
    for _ in range(STEPS):
        world.run(world.random.uniform(0, 20))
        array = world.random.choice(world.all)
        deed = world.random.choice(["edit", "hup", "save", "report", "outage", "repair", "break"])
        sids = list(world.kernel.sessions)
        if deed == "edit":
            world.edit_bindings()
        elif deed == "hup":
            world.handle(facts.HangupReceived())
        elif deed == "save":
            world.handle(facts.BindingsRead(world.bindings))
        elif deed == "report":
            world.also_reports.setdefault(array.portal, set()).add(world.random.choice(names))
        elif deed == "outage":
            array.is_healthy = False
            for sid in sids:
                if world.kernel.sessions[sid].description.portal == array.portal:
                    world.break_connection(sid)
        elif deed == "repair":
            array.is_healthy = True
        elif sids:
            world.break_connection(world.random.choice(sids))
        world.show_disks()
        world.check()
        if world.random.random() < 0.1:
            world.handle(facts.TerminateReceived())
            world.begin()
            world.links.clear()
            world.check()
