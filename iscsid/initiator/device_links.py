"""Which links there must be: devices and sessions in, ``MakeLink`` and ``RemoveLink`` out.

A name always means one logical unit. Therefore links are removed before others are made; a device
node that a new device has is first taken from the link that had it; and a logical unit that turns
out to be another one than before has no link until the administrator accepts it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from iscsid.bindings.binding import Binding
from iscsid.facts import (
    Device,
    DeviceAppeared,
    DevicesEnumerated,
    DeviceVanished,
    LinkNotMade,
    LinkNotRemoved,
    LinksFound,
)
from iscsid.initiator.link_table import LinkTable
from iscsid.orders import AnnounceDevice, Level, Log, MakeLink, Order, RemoveLink
from iscsid.protocol.scsi import is_permitted
from iscsid.protocol.vpd import changed_identity

DeviceFact = (
    DeviceAppeared | DeviceVanished | DevicesEnumerated | LinksFound | LinkNotMade | LinkNotRemoved
)


@dataclass(slots=True)
class _Session:
    binding: Binding
    luns: frozenset[int] | None
    log_prefix: str


@dataclass(slots=True)
class Names:
    """The name of a logical unit when it was first seen, and when it was seen last."""

    first: str = ""
    last: str = ""


@dataclass(slots=True)
class _Unit:
    """One LUN of one session, for as long as the session or a device of it is there."""

    devices: dict[str, Device] = field(default_factory=dict)
    """By the name of the link."""
    wwids: Names = field(default_factory=Names)
    serials: Names = field(default_factory=Names)
    """What udev calls the unit while its WWID is not known: never to be compared with a WWID."""
    is_reported: bool = False
    accepts_next: bool = False
    """A person has accepted the identity that it turns out to have, unseen so far."""
    is_leaving: bool = False
    """Its devices are about to be removed: their names may be another's at any moment."""

    def note(self, device: Device) -> None:
        """Take the identity from one of the unit's devices."""
        if device.wwid:
            self._note(self.wwids, device.wwid)
        elif device.serial:
            self._note(self.serials, device.serial)

    def _note(self, names: Names, name: str) -> None:
        if self.accepts_next and name != names.first:
            names.first, self.accepts_next = name, False
        names.first = names.first or name
        names.last = name

    def accept(self) -> None:
        """Take the unit that is there now for the right one."""
        for names in (self.wwids, self.serials):
            names.first = names.last
        self.is_reported = False

    @property
    def names(self) -> Names:
        """Those that count: a serial only until a WWID is known."""
        return self.wwids if self.wwids.first else self.serials

    @property
    def is_replaced(self) -> bool:
        return self.names.first != self.names.last


class DeviceLinks:
    """The links under the base directory, as they are and as they should be.

    A device is there from ``DeviceAppeared`` to ``DeviceVanished``, or until another one appears
    with its node or its place in the tree: then it is gone, and the event of that was missed.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}
        self._sids: dict[Binding, int] = {}
        self._units: dict[int, dict[int, _Unit]] = {}
        self._devices: dict[str, Device] = {}
        self._node_holders: dict[str, Device] = {}
        self._links = LinkTable()
        self._asked: dict[str, str] = {}
        """The names that udev was asked to announce, by the device's path: without the rule of
        iscsid it announces none, however often it is asked."""
        self.not_made: set[str] = set()
        """Links that could not be made since they were all ordered last."""

    # --- sessions and their devices -------------------------------------------------------------

    def session_started(
        self, sid: int, binding: Binding, luns: frozenset[int] | None = None, log_prefix: str = ""
    ) -> list[Order]:
        """Link the session's devices, those that are there and those to come.

        ``luns`` are the LUNs that may have links, ``None`` is all. Called again for a session
        that is known it changes what is different.
        """
        orders: list[Order] = []
        if self._sids.get(binding, sid) != sid:
            orders += self.session_ended(self._sids[binding])
        if sid in self._sessions and self._sessions[sid].binding != binding:
            orders += self.session_ended(sid)
        self._sids[binding] = sid
        self._sessions[sid] = _Session(binding, luns, log_prefix)
        return orders + self._relink((sid, lun) for lun in self._units.get(sid, ()))

    def session_ended(self, sid: int) -> list[Order]:
        """Remove every link of a session that is gone, or is about to give up its devices."""
        session = self._sessions.pop(sid, None)
        if session is None:
            return []
        del self._sids[session.binding]
        orders: list[Order] = []
        for lun, unit in list(self._units.get(sid, {}).items()):
            orders += self._links.clear(_directory(session.binding, lun))
            self._drop_if_idle(sid, lun, unit)
        return orders

    def unit_leaves(self, sid: int, lun: int) -> list[Order]:
        """Remove the links of a logical unit whose devices are about to be removed."""
        return self._set_leaving(sid, lun, is_leaving=True)

    def unit_left(self, sid: int, lun: int) -> list[Order]:
        """Devices of this logical unit are not removed any more: those that are there stay."""
        return self._set_leaving(sid, lun, is_leaving=False)

    def _set_leaving(self, sid: int, lun: int, *, is_leaving: bool) -> list[Order]:
        unit = self._units.get(sid, {}).get(lun)
        if unit is None:
            return []
        unit.is_leaving = is_leaving
        return self._relink([(sid, lun)])

    def handle(self, fact: DeviceFact) -> list[Order]:
        """Take note of what was found out about devices and links."""
        match fact:
            case DeviceAppeared(device):
                return self._appeared(device)
            case DeviceVanished(path):
                self._asked.pop(path, None)
                gone = self._devices.get(path)
                return [] if gone is None else self._relink([self._forget(gone)])
            case LinksFound(links):
                self._links.found(links)
                return []
            case DevicesEnumerated():
                return self._links.sweep()
            case LinkNotMade(path):
                self._links.not_made(path)
                self.not_made.add(path)
                return []
            case LinkNotRemoved(path):
                self._links.not_removed(path)
                return []

    def accept(self) -> list[Order]:
        """Do what SIGHUP asks for: link what could not be linked so far.

        A logical unit that was replaced is accepted if its replacement has been logged already; one
        that the scan after this SIGHUP finds waits for the next SIGHUP.
        """
        for sid in self._sessions:
            for unit in self._units.get(sid, {}).values():
                if unit.is_reported:
                    unit.accept()
        return self._links.sweep() + self.relink()

    def relink(self) -> list[Order]:
        """Make all links what they should be: those that could not be made are ordered again.

        udev is asked once more about these: it may have looked before they were there.
        """
        asked = self._asked.items()
        self._asked = {path: name for path, name in asked if name not in self.not_made}
        self.not_made.clear()
        return self._relink((sid, lun) for sid, units in self._units.items() for lun in units)

    def has_link(self, path: str) -> bool:
        """Whether a link is there, as far as is known."""
        directory, _, name = path.rpartition("/")
        return name in self._links.links_in(directory)

    def accept_next(self, sid: int, luns: Iterable[int]) -> None:
        """Accept the next identity of these logical units of a session that is coming back.

        SIGHUP has accepted what the login found; the devices show it only after the next scan.
        """
        units = self._units.get(sid, {})
        for lun in luns:
            if lun in units:
                units[lun].accepts_next = True

    # --- what is linked -------------------------------------------------------------------------

    def links_of(self, binding: Binding) -> dict[int, dict[str, str]]:
        """Return the nodes of a session's links, by LUN and name of the link."""
        return {
            lun: self._links.links_in(_directory(binding, lun)) for lun in self._luns_of(binding)
        }

    def replaced_luns(self, binding: Binding) -> list[int]:
        """Return the LUNs that have no links because they are not what they were."""
        return [lun for lun, unit in self._luns_of(binding).items() if unit.is_reported]

    def _luns_of(self, binding: Binding) -> dict[int, _Unit]:
        sid = self._sids.get(binding, -1)
        return dict(sorted(self._units.get(sid, {}).items()))

    # --- devices --------------------------------------------------------------------------------

    def _appeared(self, device: Device) -> list[Order]:
        unit = self._units.get(device.sid, {}).get(device.lun) or _Unit()
        rivals = (
            self._devices.get(device.path),
            self._node_holders.get(device.node),
            unit.devices.get(device.link),
        )
        touched = {self._forget(rival): None for rival in dict.fromkeys(rivals) if rival}
        for rival in rivals:
            if rival is not None and rival.path != device.path:
                self._asked.pop(rival.path, None)
        self._units.setdefault(device.sid, {})[device.lun] = unit
        self._devices[device.path] = self._node_holders[device.node] = device
        unit.devices[device.link] = device
        unit.note(device)
        return self._relink({**touched, (device.sid, device.lun): None})

    def _forget(self, device: Device) -> tuple[int, int]:
        """Forget a device; return the session and LUN whose links may change."""
        unit = self._units[device.sid][device.lun]
        del self._devices[device.path]
        del self._node_holders[device.node]
        del unit.devices[device.link]
        self._drop_if_idle(device.sid, device.lun, unit)
        return device.sid, device.lun

    def _drop_if_idle(self, sid: int, lun: int, unit: _Unit) -> None:
        if unit.devices or sid in self._sessions:
            return
        del self._units[sid][lun]
        if not self._units[sid]:
            del self._units[sid]

    # --- links ----------------------------------------------------------------------------------

    def _relink(self, units: Iterable[tuple[int, int]]) -> list[Order]:
        """Make the links of these LUNs what they should be."""
        orders: list[Order] = []
        for sid, lun in units:
            session, unit = self._sessions.get(sid), self._units.get(sid, {}).get(lun)
            if session is None or unit is None:
                continue
            directory = _directory(session.binding, lun)
            if unit.is_leaving or not is_permitted(lun, session.luns):
                orders += self._links.clear(directory)
            elif unit.is_replaced:
                orders += self._links.clear(directory)
                orders += self._report(session, directory, unit)
            else:
                orders += self._links.settle(directory, unit.devices)
            orders += self._announce(directory, unit)
            unit.is_reported = unit.is_reported and unit.is_replaced
        return sorted(orders, key=_rank)

    def _announce(self, directory: str, unit: _Unit) -> Iterator[Order]:
        """Let udev look again at what it has announced by another name than it has now.

        Each look costs udev as much as a new disk. None is needed if the link was there when udev
        looked first, and it cannot help before that.
        """
        links = self._links.links_in(directory)
        for device in sorted(unit.devices.values(), key=lambda device: device.path):
            if device.announced is None or not _can_be_mounted(device):
                continue
            name = f"{directory}/{device.link}" if device.link in links else ""
            if device.announced == name:
                self._asked.pop(device.path, None)
            elif self._asked.get(device.path) != name:
                self._asked[device.path] = name
                yield AnnounceDevice(device.path)

    def _report(self, session: _Session, directory: str, unit: _Unit) -> list[Order]:
        if unit.is_reported:
            return []
        unit.is_reported = True
        what = changed_identity(unit.names.first, unit.names.last)
        text = (
            f"{directory}: {what}; its links are removed. If the exchange is meant, send SIGHUP to "
            "accept it"
        )
        return [Log(Level.ERROR, session.log_prefix, text)]


def _directory(binding: Binding, lun: int) -> str:
    return f"{binding}/lun{lun}"


def _can_be_mounted(device: Device) -> bool:
    return device.link in ("disk", "cd") or device.link.startswith("part")


def _rank(order: Order) -> int:
    """Order the orders: links go before others are made, and udev looks when all is in place."""
    return [Log, RemoveLink, MakeLink, AnnounceDevice].index(type(order))
