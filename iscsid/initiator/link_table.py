"""The links that are there, as far as is known, and the orders that change them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from iscsid.facts import Device
from iscsid.orders import MakeLink, Order, RemoveLink

_NOWHERE = ""
"""The node of a link that could not be made or removed: what is there is not known."""


class LinkTable:
    """Link paths (``bus0/target3/lun5/disk``) and the nodes they point to.

    Invariant: no two links that ``settle`` has made point to one node.
    """

    def __init__(self) -> None:
        self._directories: dict[str, dict[str, str]] = {}
        """Nodes by the name of the link, by the directory of the LUN."""
        self._pointing: dict[str, set[tuple[str, str]]] = {}
        """Directory and name of each link that points to a node."""
        self._unclaimed: set[tuple[str, str]] = set()
        """Links that may be there although nothing has asked for them."""

    def found(self, links: Iterable[tuple[str, str]]) -> None:
        """Take note of links that an earlier daemon has left."""
        for path, node in links:
            directory, _, name = path.rpartition("/")
            self._set(directory, name, node)
            self._unclaimed.add((directory, name))

    def links_in(self, directory: str) -> dict[str, str]:
        """Return name and node of each link in a LUN's directory."""
        links = self._directories.get(directory, {})
        return {name: node for name, node in sorted(links.items()) if node != _NOWHERE}

    def settle(self, directory: str, devices: Mapping[str, Device]) -> list[Order]:
        """Order what makes the links in ``directory`` point to these devices.

        Other links there go, except those found at the start whose device may yet be reported.
        """
        present = self._directories.get(directory, {})
        found = {name for name in devices if (directory, name) in self._unclaimed}
        self._unclaimed.difference_update((directory, name) for name in devices)
        gone = [(directory, name) for name in present if name not in devices]
        gone = [link for link in gone if link not in self._unclaimed]
        # One that was found at the start is ordered although it is there: with the order it is
        # checked that the device is there, too.
        fresh = {n: it for n, it in devices.items() if n in found or present.get(n) != it.node}
        for name, device in fresh.items():
            rivals = self._pointing.get(device.node, set())
            gone += sorted(rivals - {(directory, name)})
        orders: list[Order] = [self._remove(*link) for link in gone]
        for name, device in fresh.items():
            self._set(directory, name, device.node)
            orders.append(MakeLink(f"{directory}/{name}", device.node, device.path))
        return orders

    def clear(self, directory: str) -> list[Order]:
        """Order the end of every link in a LUN's directory."""
        return [
            self._remove(directory, name) for name in list(self._directories.get(directory, ()))
        ]

    def sweep(self) -> list[Order]:
        """Order the end of every link that is there although nothing has asked for it."""
        return [self._remove(*link) for link in sorted(self._unclaimed)]

    def not_made(self, path: str) -> None:
        """Take note that a link may not be there, so that it is made at the next occasion."""
        directory, _, name = path.rpartition("/")
        if name in self._directories.get(directory, ()):
            self._set(directory, name, _NOWHERE)

    def not_removed(self, path: str) -> None:
        """Take note that a link may still be there, so that ``sweep`` finds it."""
        directory, _, name = path.rpartition("/")
        if name not in self._directories.get(directory, ()):
            self._set(directory, name, _NOWHERE)
            self._unclaimed.add((directory, name))

    def _set(self, directory: str, name: str, node: str) -> None:
        self._drop(directory, name)
        self._directories.setdefault(directory, {})[name] = node
        self._pointing.setdefault(node, set()).add((directory, name))

    def _remove(self, directory: str, name: str) -> RemoveLink:
        self._drop(directory, name)
        return RemoveLink(f"{directory}/{name}")

    def _drop(self, directory: str, name: str) -> None:
        self._unclaimed.discard((directory, name))
        links = self._directories.get(directory, {})
        node = links.pop(name, None)
        if node is None:
            return
        if not links:
            del self._directories[directory]
        self._pointing[node].discard((directory, name))
        if not self._pointing[node]:
            del self._pointing[node]
