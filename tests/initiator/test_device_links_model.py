"""After any sequence of facts the links are those of a plain model, and none was ever wrong.

The model is written down without regard to cost: it keeps what was reported and works out the
links from scratch. The orders are carried out one by one, and checked after each. Each seed is a
sequence of its own, always the same: a property would take ten times as long.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from iscsid.bindings.binding import Binding
from iscsid.facts import Device, DeviceAppeared, DeviceVanished, LinkNotMade
from iscsid.initiator.device_links import DeviceLinks
from iscsid.orders import MakeLink, Order, RemoveLink

SEEDS = range(200)
STEPS = 200
SIDS = (1, 2, 3)
LUNS = (0, 1)
LINKS = ("disk", "part1", "generic")
NODES = ("/dev/sda", "/dev/sdb", "/dev/sdc")
BINDINGS = (Binding(0, 0), Binding(0, 1))
IDENTITIES = ("", "naa.1", "naa.2")
FILTERS = (None, frozenset[int](), frozenset({0}), frozenset({1}), frozenset(LUNS))


@dataclass
class Model:
    devices: dict[str, Device] = field(default_factory=dict)
    sessions: dict[int, tuple[Binding, frozenset[int] | None]] = field(default_factory=dict)
    first: dict[tuple[int, int], str] = field(default_factory=dict)
    last: dict[tuple[int, int], str] = field(default_factory=dict)
    leaving: set[tuple[int, int]] = field(default_factory=set)

    def appeared(self, new: Device) -> None:
        for old in list(self.devices.values()):
            if old.node == new.node or (old.sid, old.lun, old.link) == (new.sid, new.lun, new.link):
                del self.devices[old.path]
        self.devices.pop(new.path, None)
        self.forget_idle(new)
        self.devices[new.path] = new
        if new.wwid:
            self.first.setdefault((new.sid, new.lun), new.wwid)
            self.last[new.sid, new.lun] = new.wwid

    def forget_idle(self, coming: Device | None = None) -> None:
        """A LUN is remembered while its session is known or a device of it is there."""
        kept = {(one.sid, one.lun) for one in self.devices.values()}
        kept |= {(coming.sid, coming.lun)} if coming else set()
        for place in list(self.first):
            if place[0] not in self.sessions and place not in kept:
                del self.first[place], self.last[place]
        self.leaving = {
            place for place in self.leaving if place[0] in self.sessions or place in kept
        }

    def links(self) -> dict[str, str]:
        return {
            f"{self.sessions[one.sid][0]}/lun{one.lun}/{one.link}": one.node
            for one in self.devices.values()
            if one.sid in self.sessions and self.is_allowed(one)
        }

    def is_allowed(self, one: Device) -> bool:
        allowed = self.sessions[one.sid][1]
        place = (one.sid, one.lun)
        is_itself = self.first.get(place) == self.last.get(place)
        may_stay = place not in self.leaving
        return is_itself and may_stay and (allowed is None or one.lun in allowed)


class TreeAgainstModel:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.device_links = DeviceLinks()
        self.model = Model()
        self.directory: dict[str, str] = {}

    def step(self) -> None:
        """Let one of the things happen that can happen."""
        sid, lun = self.random.choice(SIDS), self.random.choice(LUNS)
        match self.random.choice((0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7)):
            case 0:
                self.appear(self.device())
            case 1:
                # One that is there, or one that never was.
                self.vanish(self.random.choice([self.device(), *self.model.devices.values()]))
            case 2:
                self.start(sid, self.random.choice(BINDINGS), self.random.choice(FILTERS))
            case 3:
                self.end(sid)
            case 4:
                self.leave()
            case 5:
                self.left(sid, lun)
            case 6:
                self.hang_up()
            case 7:
                self.fail()

    def device(self) -> Device:
        pick = self.random.choice
        sid, lun, link = pick(SIDS), pick(LUNS), pick(LINKS)
        path = f"/sys/session{sid}/{lun}/{link}/{pick((0, 1))}"
        return Device(
            path=path, sid=sid, lun=lun, link=link, node=pick(NODES), wwid=pick(IDENTITIES)
        )

    def carry_out(self, orders: list[Order]) -> None:
        alive = {one.path: one.node for one in self.model.devices.values()}
        for order in orders:
            if isinstance(order, RemoveLink):
                self.directory.pop(order.path, None)
            elif isinstance(order, MakeLink):
                assert alive[order.device] == order.node, "never a link of a dead device"
                self.directory[order.path] = order.node
            pointed_to = list(self.directory.values())
            assert len(set(pointed_to)) == len(pointed_to), "one node, one name"
        assert self.directory == self.model.links()
        shown = {
            f"{binding}/lun{lun}/{link}": node
            for binding in BINDINGS
            for lun, made in self.device_links.links_of(binding).items()
            for link, node in made.items()
        }
        assert shown == self.directory

    def appear(self, device: Device) -> None:
        self.model.appeared(device)
        self.carry_out(self.device_links.handle(DeviceAppeared(device)))

    def vanish(self, device: Device) -> None:
        self.model.devices.pop(device.path, None)
        self.model.forget_idle()
        self.carry_out(self.device_links.handle(DeviceVanished(device.path)))

    def start(self, sid: int, binding: Binding, allowed: frozenset[int] | None) -> None:
        for other, (taken, _) in list(self.model.sessions.items()):
            if (taken == binding) != (other == sid):
                del self.model.sessions[other]
                self.model.forget_idle()
        self.model.sessions[sid] = (binding, allowed)
        self.carry_out(self.device_links.session_started(sid, binding, allowed))

    def end(self, sid: int) -> None:
        self.model.sessions.pop(sid, None)
        self.model.forget_idle()
        self.carry_out(self.device_links.session_ended(sid))

    def leave(self) -> None:
        """The devices of a LUN are about to be removed; some may stay all the same."""
        places = sorted({(one.sid, one.lun) for one in self.model.devices.values()})
        if places:
            place = self.random.choice(places)
            self.model.leaving.add(place)
            self.carry_out(self.device_links.unit_leaves(*place))

    def left(self, sid: int, lun: int) -> None:
        self.model.leaving.discard((sid, lun))
        self.carry_out(self.device_links.unit_left(sid, lun))

    def hang_up(self) -> None:
        seen = {
            (sid, lun)
            for sid, (binding, _) in self.model.sessions.items()
            for lun in self.device_links.replaced_luns(binding)
        }
        for place in seen:
            self.model.first[place] = self.model.last[place]
        self.carry_out(self.device_links.accept())

    def fail(self) -> None:
        """A link could not be made; the next event of its device makes it try again."""
        if not self.directory:
            return
        path = self.random.choice(sorted(self.directory))
        node = self.directory.pop(path)
        (device,) = (one for one in self.model.devices.values() if one.node == node)
        self.device_links.handle(LinkNotMade(path, "no space"))
        self.appear(device)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_step_the_links_are_those_of_the_model(seed: int) -> None:
    walk = TreeAgainstModel(seed)
    for _ in range(STEPS):
        walk.step()
