"""What the files said: the configuration, the bindings, the links. Pure."""

from __future__ import annotations

from iscsid import facts
from iscsid.bindings.allocation import Bindings
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.device_links import DeviceFact
from iscsid.initiator.numbers_in_use import settle_numbers
from iscsid.initiator.reconciler import Handlers, Reconciler
from iscsid.initiator.session import Identity
from iscsid.protocol.names import IscsiName

SAVE_AGAIN = 60.0
"""Seconds before the bindings file is written again after a failure."""
SAVE = Timer(TimerPurpose.SAVE_BINDINGS)


class FileFacts:
    """Facts from the files and the tree of links."""

    def __init__(self, inventory: Reconciler, *, login_timeout: float, bindings_file: str) -> None:
        self._inventory = inventory
        self._outbox = inventory.outbox
        self._login_timeout = login_timeout
        self._bindings_file = bindings_file
        self.handlers: Handlers = {
            facts.ConfigurationRead: self._configuration_read,
            facts.ConfigurationRefused: self._configuration_refused,
            facts.BindingsRead: self._bindings_read,
            facts.BindingsNotRead: self._bindings_not_read,
            facts.BindingsSaved: self._bindings_saved,
            facts.BindingsNotSaved: self._bindings_not_saved,
            facts.DeviceAppeared: self._tree_changed,
            facts.DeviceVanished: self._tree_changed,
            facts.DevicesEnumerated: self._tree_changed,
            facts.LinksFound: self._links_found,
            facts.LinkNotMade: self._link_not_made,
            facts.LinkNotRemoved: self._link_not_removed,
        }

    def _configuration_read(self, fact: facts.ConfigurationRead) -> None:
        inventory = self._inventory
        identity = Identity(fact.initiator_name, fact.initiator_alias, self._login_timeout)
        if inventory.has_begun and identity.initiator_name != inventory.identity.initiator_name:
            self._outbox.warn("", "the InitiatorName changed: running sessions keep the old one")
        inventory.identity = identity
        affected = inventory.targets.configure(fact.configuration, identity, self._outbox)
        for note in fact.configuration.notes:
            self._outbox.warn("", str(note))
        if inventory.has_begun:
            self._begin_again(affected | {s.path.target_name for s in inventory.sessions})

    def _begin_again(self, affected: set[IscsiName]) -> None:
        """Do what SIGHUP promises: discover, log in and probe anew."""
        for discovery in self._inventory.targets.discoveries.values():
            discovery.ask(prune=True)
        self._inventory.reconcile(affected)
        self._outbox.order(*self._inventory.device_links.accept())
        for session in self._inventory.sessions:
            session.attempt_now()
            session.scan()

    def _configuration_refused(self, fact: facts.ConfigurationRefused) -> None:
        for diagnostic in fact.diagnostics:
            self._outbox.error("", diagnostic)
        self._outbox.error("", "the configuration has errors: the running one stays in force")

    def _bindings_read(self, fact: facts.BindingsRead) -> None:
        inventory = self._inventory
        inventory.bindings = Bindings.parse(fact.text, self._bindings_file)
        for remark in fact.remarks:
            self._outbox.warn("", remark)
        for diagnostic in inventory.bindings.diagnostics:
            self._outbox.warn("", str(diagnostic))
        inventory.reconcile(settle_numbers(inventory.bindings, inventory.sessions, self._outbox))

    def _bindings_not_read(self, fact: facts.BindingsNotRead) -> None:
        self._outbox.error("", f"the bindings stay as they were: {fact.reason}")

    def _bindings_saved(self, _: facts.BindingsSaved) -> None:
        self._inventory.bindings.saved()
        self._outbox.cancel_timer(SAVE)

    def _bindings_not_saved(self, fact: facts.BindingsNotSaved) -> None:
        self._outbox.error("", f"the bindings are not saved, going on without: {fact.reason}")
        self._outbox.set_timer(SAVE, SAVE_AGAIN)

    def _tree_changed(self, fact: DeviceFact) -> None:
        self._outbox.order(*self._inventory.device_links.handle(fact))

    def _links_found(self, fact: facts.LinksFound) -> None:
        for remark in fact.remarks:
            self._outbox.warn("", remark)
        self._tree_changed(fact)

    def _link_not_made(self, fact: facts.LinkNotMade) -> None:
        self._outbox.error("", f"no link {fact.path}: {fact.reason}")
        self._tree_changed(fact)

    def _link_not_removed(self, fact: facts.LinkNotRemoved) -> None:
        self._outbox.error("", f"the link {fact.path} stays: {fact.reason}")
