"""Targets, bindings, sessions and links, kept in step with one another.

``Initiator`` decides when; here it is worked out which sessions begin, change or end. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import Entry
from iscsid.errors import InvalidName
from iscsid.facts import KernelSession, SessionsFound, SessionStarted
from iscsid.initiator.adoption import (
    LeftAlone,
    UselessSessions,
    has_been_scanned,
    state_at_start,
    sync_with_sysfs,
    why_useless,
)
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.numbers_in_use import report_displaced, report_kept
from iscsid.initiator.offers import LoginIdentity
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import PlannedSession, PortalOption, plan_sessions, portals_of
from iscsid.initiator.portal_backoff import PortalBackoff
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import LEAVING
from iscsid.initiator.session_tag import SessionTag, is_of_later_version, parse_session_tag
from iscsid.initiator.sessions import Sessions
from iscsid.initiator.targets import Targets
from iscsid.orders import AdoptSession, DestroySession, SaveBindings
from iscsid.protocol.names import IscsiName, Portal, parse_iscsi_name


class Reconciler:
    """All that the daemon knows, and the rules that hold between the parts of it."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.identity = LoginIdentity(IscsiName(""))
        self.targets = Targets(self.reconcile_orphans)
        self.bindings = Bindings()
        self.sessions = Sessions()
        self.left_alone = LeftAlone()
        self._removals = UselessSessions()
        self._postponed: set[IscsiName] = set()
        """Targets that wait for the answers of other network entities."""
        self.device_links = DeviceLinks()
        self.portal_backoff = PortalBackoff(outbox)
        self._longest_outage: int | None = None
        self.has_begun = False
        """Whether the kernel's sessions have been adopted: nothing is started before."""

    # --- which sessions are wanted --------------------------------------------------------------

    def reconcile(self, names: Iterable[IscsiName]) -> None:
        """Bring the sessions with these targets in step with what is known of them.

        Not while the daemon is ending: no session is wanted then.
        """
        if not self.outbox.is_ending:
            # Sessions end before others begin: a number may go from one to another.
            new = [plan for name in sorted(names) for plan in self._reconcile(name)]
            for plan in new:
                self._begin(plan)
        self.save_bindings()

    def reconcile_orphans(self) -> None:
        """Decide on sessions found at no address that the file still has.

        An earlier daemon made them, or a file that has changed: no discovery will mention them.
        """
        discoveries = self.targets.discoveries
        orphans = (s for s in self.sessions if s.plan.found_at not in discoveries)
        postponed, self._postponed = self._postponed, set()
        self.reconcile({s.plan.target_name for s in orphans} | postponed)

    def save_bindings(self) -> None:
        if self.bindings.changed:
            bindings = self.bindings
            self.outbox.order(SaveBindings(bindings.format(), keep_copy=bindings.damaged))

    def _reconcile(self, name: IscsiName) -> list[PlannedSession]:
        """Change or end the sessions with one target; return those that are still to begin."""
        plans = self._plans(name)
        for session in self.sessions.of(name):
            plan = plans.pop(session.plan.binding, None)
            if plan is not None and session.sid is not None:
                plan = self._unless_elsewhere(session, plan)
            wanted = plan or session.plan
            if session.sid is not None and wanted.initiator_name != session.plan.initiator_name:
                what = "the InitiatorName changed: the running session keeps the old one"
                self.outbox.warn(session.log_prefix, what)
            session.identify_as(self.identity.named(wanted.initiator_name))
            if plan is not None:
                session.wanted(plan)
                self._link(session)
            elif not self.targets.is_undecided(session.plan):
                session.unwanted()
        return list(plans.values())

    def _unless_elsewhere(self, session: Session, plan: PlannedSession) -> PlannedSession | None:
        """Return a plan that the session can go on with: its disks are not those of another array.

        When the session is gone, another one begins with the plan.
        """
        if not self.targets.is_elsewhere(session.plan, plan):
            return plan
        self.outbox.failed(
            session.log_prefix,
            f"discovery at {session.plan.found_at} does not report the target any more, and "
            f"discovery at {plan.found_at} only other portals, {portals_of(plan)}: the session is "
            "not moved there, as they may belong to another target of the same name; if they do "
            "not, set the same NetworkEntity below both addresses",
        )
        return None

    def _begin(self, plan: PlannedSession) -> None:
        if sid := self.left_alone.sid_of(plan.target_name):
            self.outbox.failed(
                plan.target_name, f"no login while session {sid}, which is left alone, is there"
            )
            return
        session = self._new_session(plan)
        if self.sessions.add(session):
            session.attempt_now()
            return
        other = self.sessions.get(plan.binding)
        # It has begun already if its number became free just now; otherwise it begins when the
        # number is free: both are done by _session_gone.
        if other is not None and other.plan.target_name != plan.target_name:
            self.outbox.error(
                plan.target_name,
                f"{plan.binding} is still in use by the session with {other.plan.target_name}",
            )

    def _new_session(self, plan: PlannedSession) -> Session:
        session = Session(
            plan,
            self.identity.named(plan.initiator_name),
            self.outbox,
            self.device_links,
            self.portal_backoff,
            self._session_gone,
        )
        if self._longest_outage is not None:
            session.limit_outage(self._longest_outage)
        return session

    def limit_outages(self, seconds: int) -> None:
        """Let I/O fail if a session is down for so long: of those there are, and those to come."""
        self._longest_outage = seconds
        for session in self.sessions:
            session.limit_outage(seconds)

    def _plans(self, name: IscsiName) -> dict[Binding, PlannedSession]:
        """Return the plans of the sessions that are wanted with targets of this name."""
        running = [s.plan for s in self.sessions.of(name) if s.sid is not None]
        spelling = self.bindings.spelling(name)
        targets, notes = self.targets.known(name, running, spelling)
        for note in notes:
            self.outbox.failed(name, note)
        plans: dict[Binding, PlannedSession] = {}
        for target in targets:
            inherits = True
            if target.entity:
                answer = self.targets.inherits(name, target.entity, running)
                if answer is None:
                    self._postponed.add(name)
                    continue
                inherits = answer
            found, errors = plan_sessions(
                name, target, self.targets.configuration, self.bindings, inherits=inherits
            )
            for error in errors:
                self.outbox.failed(name, str(error))
            plans |= {plan.binding: self._spelt(plan, spelling) for plan in found}
        return plans

    def _spelt(self, plan: PlannedSession, known: str) -> PlannedSession:
        """Return a plan with the spelling that the target's name had before, if it had one.

        A target whose name differs in capitals only is another one, and must not get the number.
        """
        name, spelling = plan.target_name, plan.name_to_send
        if not known:
            self.bindings.spell(name, spelling)
            return plan
        if known != spelling:
            self.outbox.failed(
                name,
                f"{spelling} and {known} are one name to iSCSI: the target goes on being called "
                f"{known}; if it has been renamed, correct its line in the bindings file",
            )
        return replace(plan, spelling="" if known == name else known)

    def _session_gone(self, session: Session) -> None:
        """Forget a finished session; begin anew if its target has become wanted meanwhile.

        So does another target that has got the number of this one.
        """
        self.sessions.remove(session)
        next_name = self.bindings.name_of(session.plan.binding)
        self.reconcile({session.plan.target_name, *([next_name] if next_name else [])})

    # --- portals that answer --------------------------------------------------------------------

    def portal_answered(self, portal: Portal) -> None:
        """A login or a discovery got through to a portal: end the pauses of those that wait."""
        self.outbox.portal_answered(portal)
        self._end_pauses(self.portal_backoff.answered(portal))

    def portal_holdoff_over(self, portal: Portal) -> None:
        self._end_pauses(self.portal_backoff.holdoff_over(portal))

    def _end_pauses(self, bindings: Iterable[Binding]) -> None:
        for session in self._known(bindings):
            session.portal_answered()

    def network_has_changed(self) -> None:
        """End the pauses of all sessions that pause because an attempt has failed."""
        for session in self._known(self.portal_backoff.everyone()):
            session.end_pause()

    def _known(self, bindings: Iterable[Binding]) -> Iterable[Session]:
        found = (self.sessions.get(binding) for binding in bindings)
        return (session for session in found if session is not None)

    # --- what the kernel has --------------------------------------------------------------------

    def started(self, fact: SessionStarted) -> None:
        """The kernel runs a session: its devices may be linked from now on."""
        session = self.sessions.get(fact.binding)
        if session is None:
            return
        self.sessions.learn_sid(session, fact.sid)
        session.started(fact)
        self._link(session)
        self.portal_answered(session.portal)

    def adopt(self, found: Iterable[KernelSession]) -> None:
        """Take over iscsid's own sessions, and log which ones are not."""
        displaced: list[Entry] = []
        for seen in found:
            session_tag = parse_session_tag(seen.session_tag)
            if why := why_useless(seen):
                self._remove(seen, why)
            elif session_tag is not None:
                displaced += self._adopt(seen, session_tag)
            elif is_of_later_version(seen.session_tag):
                why = f"its tag is of a later version of iscsid ({seen.session_tag})"
                self._leave_alone(seen, why)
            else:
                self.outbox.info(seen.target_name, f"session {seen.sid} belongs to another program")
        report_displaced(self.bindings, displaced, self.outbox)
        self.save_bindings()

    def _remove(self, seen: KernelSession, why: str) -> None:
        attempt = self._removals.next_attempt(seen.sid, self.outbox.now)
        if attempt is None:
            return
        if attempt == 1:
            self.outbox.warn(seen.target_name, f"removing session {seen.sid}, {why}")
        else:
            self.outbox.failed(f"session {seen.sid}", f"the kernel has not removed it yet, {why}")
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
                f"({other.plan.target_name}, {other.plan.binding})",
            )
            return []
        number = (name, session_tag.binding, session_tag.path)
        if self.bindings.disagrees(*number):
            report_kept(name, session_tag.binding, self.outbox)
        self.bindings.spell(name, seen.target_name)
        displaced = self.bindings.hold(*number)
        settings = self.targets.configuration.session_settings(name, portal, session_tag.found_at)
        option = PortalOption(portal, seen.portal_group_tag, settings)
        spelling = "" if seen.target_name == name else seen.target_name
        session = self._new_session(
            PlannedSession(
                session_tag.binding,
                name,
                session_tag.found_at,
                (option,),
                session_tag.path,
                spelling,
            )
        )
        self.outbox.order(AdoptSession(seen.sid))
        is_scanned = has_been_scanned(seen)
        state = state_at_start(seen, session_tag)
        session.adopt(seen, session_tag.isid, state, is_scanned=is_scanned)
        self.sessions.add(session)
        self._link(session)
        return displaced

    def _leave_alone(self, seen: KernelSession, why: str) -> None:
        self.outbox.error(seen.target_name, f"session {seen.sid} is left alone: {why}")
        if name := _normalised(seen.target_name):
            self.left_alone.add(seen.sid, name)

    def _conflicting(self, name: IscsiName, session_tag: SessionTag) -> Session | None:
        """Return the session that has the number of this tag already, or is the same path."""
        if session := self.sessions.get(session_tag.binding):
            return session
        sessions = self.sessions.of(name)
        return next((s for s in sessions if s.plan.path_name == session_tag.path), None)

    def sync_with_sysfs(self, found: SessionsFound) -> None:
        """Compare the sessions with sysfs, except those that changed since the look was ordered.

        What should have been removed and is there still is removed now.
        """
        seen = {session.sid: session for session in found.sessions}
        for session in self.sessions:
            if session.sid is None or session.sid in found.unread:
                continue
            if session.changed_at_turn < found.turn:
                sync_with_sysfs(session, seen.get(session.sid))
        self._removals.forget_missing({*seen, *found.unread})
        for sid, left in seen.items():
            if self.sessions.with_sid(sid) is None and (why := why_useless(left)):
                self._remove(left, why)
        self.reconcile(self.left_alone.remove_missing((*seen, *found.unread)))

    def _link(self, session: Session) -> None:
        """Let the links follow a session that the kernel has, unless it gives up its disks."""
        if session.sid is not None and session.state not in LEAVING:
            orders = self.device_links.session_started(
                session.sid, session.plan.binding, session.settings.luns, session.log_prefix
            )
            self.outbox.order(*orders)


def _normalised(target_name: str) -> IscsiName | None:
    try:
        return parse_iscsi_name(target_name)
    except InvalidName:
        return None
