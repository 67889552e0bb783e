"""What the owner owns: targets, bindings, sessions and links, kept in step with one another.

Pure. ``owner`` decides when; here it is worked out which sessions begin, change or end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import Entry
from iscsid.errors import BindingsFull, InvalidName
from iscsid.facts import KernelSession, SessionsFound, SessionStarted
from iscsid.initiator.adoption import (
    LeftAlone,
    has_been_scanned,
    state_at_start,
    sync_with_sysfs,
    why_useless,
)
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.numbers_in_use import report_displaced, report_kept
from iscsid.initiator.offers import kernel_timeouts
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import KnownTarget, PlannedSession, PortalOption, plan_sessions
from iscsid.initiator.portal_backoff import PortalBackoff
from iscsid.initiator.session import Identity, Session
from iscsid.initiator.session_fsm import Event, State
from iscsid.initiator.session_tag import SessionTag, is_of_later_version, parse_session_tag
from iscsid.initiator.sessions import Sessions
from iscsid.initiator.targets import Targets
from iscsid.orders import AdoptSession, ApplyTimeouts, DestroySession, SaveBindings
from iscsid.protocol.names import IscsiName, Portal, parse_iscsi_name

Handlers = dict[type, Callable[[Any], None]]
"""Which method is told which kind of fact."""


class Reconciler:
    """The daemon's knowledge, and the rules that hold between its parts."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.identity = Identity(IscsiName(""))
        self.targets = Targets()
        self.bindings = Bindings()
        self.sessions = Sessions()
        self.left_alone = LeftAlone()
        self.device_links = DeviceLinks()
        self.portal_backoff = PortalBackoff(outbox)
        self.has_begun = False
        """Whether the kernel's sessions have been adopted: nothing is started before."""
        self.is_ending = False
        """Whether all sessions are being logged out (SIGINT)."""

    # --- which sessions are wanted --------------------------------------------------------------

    def reconcile(self, names: Iterable[IscsiName]) -> None:
        """Bring the sessions with these targets in step with what is known of them."""
        # Sessions end before others begin: a number may go from one to another.
        new = [path for name in sorted(names) for path in self._reconcile(name)]
        for path in new:
            self._begin(path)
        self.save_bindings()

    def reconcile_orphans(self) -> None:
        """Decide on sessions found at no address that the file still has.

        An earlier daemon made them, or a file that has changed; nobody else will ask about them.
        """
        discoveries = self.targets.discoveries
        orphans = (s for s in self.sessions if s.path.found_at not in discoveries)
        self.reconcile({s.path.target_name for s in orphans})

    def save_bindings(self) -> None:
        if self.bindings.changed:
            bindings = self.bindings
            self.outbox.order(SaveBindings(bindings.format(), keep_copy=bindings.damaged))

    def _reconcile(self, name: IscsiName) -> list[PlannedSession]:
        """Change or end the sessions with one target; return those that are still to begin."""
        source = self.targets.source(name)
        paths = self._paths(name, source) if source else {}
        for session in self.sessions.of(name):
            path = paths.pop(session.path.binding, None)
            if path is not None:
                session.wanted(path)
                if session.sid is not None:
                    self._link(session, session.sid)
            elif not self.targets.is_undecided(session.path):
                session.unwanted()
                self.sessions.drop_if_gone(session)
        return list(paths.values())

    def _begin(self, path: PlannedSession) -> None:
        if sid := self.left_alone.sid_of(path.target_name):
            self.outbox.failed(
                path.target_name, f"no login while session {sid}, which is left alone, is there"
            )
            return
        session = self._new_session(path)
        if self.sessions.add(session):
            session.attempt_now()
        else:
            # It begins when the number is free: see _begin_anew_if_gone.
            owner = self.sessions.get(path.binding)
            self.outbox.error(
                path.target_name,
                f"{path.binding} is still in use by the session with "
                f"{owner.path.target_name if owner else 'another target'}",
            )

    def _new_session(self, path: PlannedSession) -> Session:
        return Session(path, self.identity, self.outbox, self.device_links, self.portal_backoff)

    def _paths(self, name: IscsiName, source: KnownTarget) -> dict[Binding, PlannedSession]:
        configuration = self.targets.configuration
        try:
            paths = plan_sessions(name, source, configuration, self.bindings)
        except BindingsFull as error:
            self.outbox.error(name, str(error))
            return {}
        return {path.binding: path for path in paths}

    def fire(self, session: Session, event: Event) -> None:
        """Let a session have an event that may be its last; if it is still wanted, begin anew."""
        session.fire(event)
        self._begin_anew_if_gone(session)

    def _begin_anew_if_gone(self, session: Session) -> None:
        gone = self.sessions.drop_if_gone(session)
        if gone and session.is_wanted and not self.is_ending:
            self.reconcile({session.path.target_name})
        next_name = self.bindings.name_of(session.path.binding)
        if gone and next_name and next_name != session.path.target_name and not self.is_ending:
            self.reconcile({next_name})

    # --- what the kernel has --------------------------------------------------------------------

    def started(self, fact: SessionStarted) -> None:
        """The kernel runs a session: its devices may be linked from now on."""
        session = self.sessions.get(fact.binding)
        if session is None:
            return
        self.sessions.learn_sid(session, fact.sid)
        self._link(session, fact.sid)
        session.started(fact)
        self.portal_answered(session.attempts.option.portal)

    def portal_answered(self, portal: Portal) -> None:
        """Somebody got through to a portal: end the pauses of those who wait for it."""
        self._call(self.portal_backoff.answered(portal))

    def portal_holdoff_over(self, portal: Portal) -> None:
        """The rest after such a call is over."""
        self._call(self.portal_backoff.holdoff_over(portal))

    def _call(self, bindings: Iterable[Binding]) -> None:
        """Let sessions try that need no longer queue behind those of dead portals."""
        for session in self._known(bindings):
            session.attempts.has_failed = False
            session.end_pause()

    def network_has_changed(self) -> None:
        """End the pauses of all who pause because an attempt has failed."""
        for session in self._known(self.portal_backoff.everyone()):
            session.end_pause()

    def _known(self, bindings: Iterable[Binding]) -> Iterable[Session]:
        found = (self.sessions.get(binding) for binding in bindings)
        return (session for session in found if session is not None)

    def adopt(self, found: Iterable[KernelSession]) -> None:
        """Take over the sessions that are ours, and say which are not."""
        displaced: list[Entry] = []
        for seen in found:
            session_tag = parse_session_tag(seen.session_tag)
            if why := why_useless(seen):
                self._remove(seen, why)
            elif is_of_later_version(seen.session_tag):
                why = f"its tag is of a later version of iscsid ({seen.session_tag})"
                self._leave_alone(seen, why)
            elif session_tag is None:
                self.outbox.info(seen.target_name, f"session {seen.sid} belongs to another program")
            else:
                displaced += self._adopt(seen, session_tag)
        report_displaced(self.bindings, displaced, self.outbox)
        self.save_bindings()

    def _remove(self, seen: KernelSession, why: str) -> None:
        self.outbox.warn(seen.target_name, f"removing session {seen.sid}, {why}")
        self.outbox.order(DestroySession(seen.sid))

    def _adopt(self, seen: KernelSession, session_tag: SessionTag) -> list[Entry]:
        """Take over one session; return the lines of the bindings file that had to go for it."""
        name = _normalised(seen.target_name)
        portal = seen.persistent_portal
        if not (name and portal):
            what = "portal" if name else "target's name"
            self._leave_alone(seen, f"its {what} cannot be read")
            return []
        if other := self._conflicting(name, session_tag):
            self._leave_alone(
                seen,
                f"{session_tag.binding} in its tag conflicts with session {other.sid} "
                f"({other.path.target_name}, {other.path.binding})",
            )
            return []
        number = (name, session_tag.binding, session_tag.path)
        if self.bindings.disagrees(*number):
            report_kept(name, session_tag.binding, self.outbox)
        displaced = self.bindings.hold(*number)
        settings = self.targets.configuration.session_settings(name, portal, session_tag.found_at)
        option = PortalOption(portal, seen.portal_group_tag, settings)
        spelling = "" if seen.target_name == name else seen.target_name
        path = PlannedSession(
            session_tag.binding, name, session_tag.found_at, (option,), session_tag.path, spelling
        )
        session = self._new_session(path)
        session.isid = session_tag.isid
        if seen.initiator_name:
            # The target knows this name and this ISID; with another name it is another session.
            initiator_name = IscsiName(seen.initiator_name)
            session.identity = replace(session.identity, initiator_name=initiator_name)
        session.adopt(seen.sid, seen.host_no, state_at_start(seen))
        self.sessions.add(session)
        # What it was started with is what the file said then.
        timeouts = ApplyTimeouts(seen.sid, kernel_timeouts(settings))
        self.outbox.order(AdoptSession(seen.sid), timeouts)
        self._link(session, seen.sid)
        self.outbox.info(session.log_prefix, f"adopted, {session.state.value} ({path.binding})")
        if not has_been_scanned(seen):
            session.scan()
        elif session.state is State.UP:
            session.scans.has_finished = True
        return displaced

    def _leave_alone(self, seen: KernelSession, why: str) -> None:
        self.outbox.error(seen.target_name, f"session {seen.sid} is left alone: {why}")
        if name := _normalised(seen.target_name):
            self.left_alone.add(seen.sid, name)

    def _conflicting(self, name: IscsiName, session_tag: SessionTag) -> Session | None:
        """Return the session that has the number of this tag already, or is the same path."""
        if session := self.sessions.get(session_tag.binding):
            return session
        return next((s for s in self.sessions.of(name) if s.path.name == session_tag.path), None)

    def sync_with_sysfs(self, found: SessionsFound, ordered_at_turn: int) -> None:
        """Compare the sessions with sysfs, except those that changed since it was read.

        What should have been removed and is there still is removed now.
        """
        seen = {session.sid: session for session in found.sessions}
        for session in self.sessions:
            if session.sid is None or session.sid in found.unread:
                continue
            if session.changed_at_turn < ordered_at_turn:
                sync_with_sysfs(session, seen.get(session.sid))
                self._begin_anew_if_gone(session)
        for sid, left in seen.items():
            if self.sessions.with_sid(sid) is None and (why := why_useless(left)):
                self._remove(left, why)
        if not self.is_ending:
            self.reconcile(self.left_alone.remove_missing((*seen, *found.unread)))

    def _link(self, session: Session, sid: int) -> None:
        luns = session.settings.luns
        orders = self.device_links.session_started(
            sid, session.path.binding, luns, session.log_prefix
        )
        self.outbox.order(*orders)


def _normalised(target_name: str) -> IscsiName | None:
    try:
        return parse_iscsi_name(target_name)
    except InvalidName:
        return None
