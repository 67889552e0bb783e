"""What follows from facts about files: the configuration, the bindings, the links. Pure."""

from __future__ import annotations

from typing import assert_never

from iscsid import facts
from iscsid.bindings.allocation import Bindings
from iscsid.facts import FileFact, Timer, TimerPurpose
from iscsid.initiator.device_links import DeviceFact
from iscsid.initiator.numbers_in_use import settle_numbers
from iscsid.initiator.offers import LoginIdentity
from iscsid.initiator.reconciler import Reconciler
from iscsid.protocol.names import IscsiName

SAVE_AGAIN = 60.0
"""Seconds before the bindings file is written again after a failure."""
SAVE = Timer(TimerPurpose.SAVE_BINDINGS)
LINKS_AGAIN = 60.0
"""Seconds before links are made that could not be."""
LINKS = Timer(TimerPurpose.MAKE_LINKS)


class OnFiles:
    """Handles facts about the files and the tree of links."""

    def __init__(self, reconciler: Reconciler, *, login_timeout: float, bindings_file: str) -> None:
        self._reconciler = reconciler
        self._outbox = reconciler.outbox
        self._login_timeout = login_timeout
        self._bindings_file = bindings_file
        self._not_saved = ""
        """Why the bindings could not be saved the last time; each reason is logged once."""
        self._not_made: dict[str, str] = {}
        """Why links could not be made, by path; each reason is logged once."""

    def handle(self, fact: FileFact) -> None:
        match fact:
            case facts.ConfigurationRead():
                self._configuration_read(fact)
            case facts.ConfigurationRefused():
                self._configuration_refused(fact)
            case facts.BindingsRead():
                self._bindings_read(fact)
            case facts.BindingsNotRead(reason):
                self._outbox.error("", f"the bindings stay as they were: {reason}")
                if self._reconciler.bindings.changed:
                    self._outbox.set_timer(SAVE, SAVE_AGAIN)
            case facts.BindingsSaved():
                self._bindings_saved()
            case facts.BindingsNotSaved(reason):
                self._bindings_not_saved(reason)
            case facts.LinksFound():
                for remark in fact.remarks:
                    self._outbox.warn("", remark)
                self._devices_changed(fact)
            case facts.LinkNotMade():
                self._link_not_made(fact)
            case facts.LinkNotRemoved(path, reason):
                self._outbox.error("", f"the link {path} stays: {reason}")
                self._devices_changed(fact)
            case facts.DeviceAppeared() | facts.DeviceVanished() | facts.DevicesEnumerated():
                self._devices_changed(fact)
            case _:
                assert_never(fact)

    def _configuration_read(self, fact: facts.ConfigurationRead) -> None:
        reconciler = self._reconciler
        identity = LoginIdentity(fact.initiator_name, fact.initiator_alias, self._login_timeout)
        if reconciler.has_begun and identity.initiator_name != reconciler.identity.initiator_name:
            self._outbox.warn("", "the InitiatorName changed: running sessions keep the old one")
        reconciler.identity = identity
        affected = reconciler.targets.configure(fact.configuration, identity, self._outbox)
        for note in fact.configuration.notes:
            self._outbox.warn("", str(note))
        for remark in fact.remarks:
            self._outbox.warn("", remark)
        if reconciler.has_begun:
            self._begin_again(affected | {s.plan.target_name for s in reconciler.sessions})

    def _begin_again(self, affected: set[IscsiName]) -> None:
        """Do what SIGHUP promises: discover, log in and scan anew."""
        for discovery in self._reconciler.targets.discoveries.values():
            discovery.ask(prune=True)
        self._reconciler.reconcile(affected)
        for session in self._reconciler.sessions:
            session.begin_again()

    def _configuration_refused(self, fact: facts.ConfigurationRefused) -> None:
        for diagnostic in fact.diagnostics:
            self._outbox.error("", diagnostic)
        self._outbox.error("", "the configuration has errors: the running one stays in force")

    def _bindings_read(self, fact: facts.BindingsRead) -> None:
        reconciler = self._reconciler
        reconciler.bindings = Bindings.parse(fact.text, self._bindings_file)
        for remark in fact.remarks:
            self._outbox.warn("", remark)
        for diagnostic in reconciler.bindings.diagnostics:
            self._outbox.warn("", str(diagnostic))
        reconciler.reconcile(settle_numbers(reconciler.bindings, reconciler.sessions, self._outbox))

    def _bindings_saved(self) -> None:
        self._reconciler.bindings.saved()
        self._outbox.cancel_timer(SAVE)
        if self._not_saved:
            self._outbox.info("", f"the bindings are saved again: {self._bindings_file}")
        self._not_saved = ""

    def _bindings_not_saved(self, reason: str) -> None:
        if reason != self._not_saved:
            self._outbox.error("", f"the bindings are not saved, going on without: {reason}")
        self._not_saved = reason
        self._outbox.set_timer(SAVE, SAVE_AGAIN)

    def make_links(self) -> None:
        """Order the links again that could not be made; log which of them are there by now."""
        device_links = self._reconciler.device_links
        made = self._not_made.keys() - device_links.not_made
        for path in sorted(made):
            del self._not_made[path]
            if device_links.has_link(path):
                self._outbox.info("", f"the link {path} is made, which could not be before")
        if self._not_made:
            self._outbox.order(*device_links.relink())
            self._outbox.set_timer(LINKS, LINKS_AGAIN)

    def _link_not_made(self, fact: facts.LinkNotMade) -> None:
        if self._not_made.get(fact.path) != fact.reason:
            self._outbox.error("", f"no link {fact.path}: {fact.reason}")
        if not self._not_made:
            self._outbox.set_timer(LINKS, LINKS_AGAIN)
        self._not_made[fact.path] = fact.reason
        self._devices_changed(fact)

    def _devices_changed(self, fact: DeviceFact) -> None:
        self._outbox.order(*self._reconciler.device_links.handle(fact))
