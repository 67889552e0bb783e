"""Disturbances of every kind, mixed at random, and what must hold after them.

``python -m tests.simulation.mixed --seeds 5000`` runs so many seeds and prints figures; each seed
always gives the same course of events. A modest number is among the tests (``test_mixed``).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from iscsid import facts
from iscsid.bindings.binding import Binding
from iscsid.config.settings import DigestPolicy, SessionSettings
from iscsid.errors import Retry
from iscsid.facts import UnitChange
from iscsid.initiator.offers import kernel_timeouts, login_settings
from iscsid.initiator.session_fsm import State
from iscsid.jobs import DiscoveryJob
from iscsid.protocol.names import IscsiName
from tests.simulation.simulated_kernel import Running
from tests.simulation.world import HOST, IN_STEPS, KILLED, World, target

NAMES = (HOST, IscsiName("iqn.2024-01.org.example:corrected"))
STEPS = 30
FAILURE_RATE = 0.08
SETTLES = 900.0
"""Seconds after the last change until everything must be as it should be."""
STEP_LIMIT = 15.0
"""Seconds for one step of a logout: ``LOGOUT_STEP_LIMIT`` of the session."""
STEPS_OF_A_LOGOUT = 4
"""Logging out to log in again, unbinding, logging out, being destroyed."""


@dataclass
class Figures:
    """What happened, over all seeds."""

    disturbances: Counter[str] = field(default_factory=Counter)
    facts: int = 0
    seconds: float = 0.0
    """Of the simulated clock."""
    interrupts: int = 0
    longest_end: float = 0.0
    """The most seconds from a SIGINT to the end of the daemon."""
    kills: int = 0


class Mixed(World):
    """A world in which anything may happen at any moment."""

    def __init__(self, seed: int, figures: Figures | None = None) -> None:
        super().__init__(
            seed, failure_rate=FAILURE_RATE, keeps_discovery=bool(seed % 2), targets_each=3
        )
        self.check_takes = 2.0 * (seed % 3)
        self.refusals = (Retry.LATER, Retry.NEVER)
        self.figures = figures or Figures()
        self.started_at: dict[int, float] = {}
        self.next_target = 100

    # --- disturbances ---------------------------------------------------------------------------

    def disturb(self) -> None:
        """Let something happen; whatever it is, a signal may come with it."""
        self.run(self.random.choice((0.0, 0.1, self.random.uniform(0, 40))))
        if self.left is not None:
            self.restart()
            return
        what = self.random.choice(DISTURBANCES)
        self.figures.disturbances[what.__name__.strip("_")] += 1
        what(self)

    def _some(self) -> Running | None:
        return self.random.choice([*self.kernel.sessions.values()] or [None])

    def _signal(self, *new: facts.Fact) -> None:
        """Signals come now, or with the next fact, whatever that is."""
        if self.random.random() < 0.5:
            self.signals += new
        else:
            for fact in new:
                self.handle(fact)

    def _connection_breaks(self) -> None:
        if running := self._some():
            self.break_connection(running.sid)

    def _connection_breaks_unseen(self) -> None:
        if running := self._some():
            self.break_connection(running.sid, is_reported=False)
            self.handle(facts.EventsLost())

    def _array_fails(self) -> None:
        array = self.random.choice(self.all)
        array.is_healthy = False
        for running in list(self.kernel.sessions.values()):
            if running.description.target_name in array.targets:
                self.break_connection(running.sid)
        for job in [*self.running.values()]:
            if (
                isinstance(job, DiscoveryJob)
                and job.portal == array.portal
                and self.keeps_discovery
            ):
                self.later(0.1, facts.WorkerEnded(job.id))

    def _arrays_recover(self) -> None:
        for array in self.all:
            array.is_healthy = True

    def _target_requests_logout(self) -> None:
        if running := self._some():
            self.ask_for_logout(running.sid)

    def _session_vanishes(self) -> None:
        if running := self._some():
            del self.kernel.sessions[running.sid]
            self.handle(facts.SessionDestroyed(running.sid))

    def _session_is_stopped_for_good(self) -> None:
        if running := self._some():
            self.stop_for_good(running.sid)

    def _luns_change(self) -> None:
        if running := self._some():
            self.handle(facts.UnitAttentionReported(running.sid, 0, UnitChange.LUNS))

    def _disks_are_used(self) -> None:
        for running in self.kernel.sessions.values():
            session = self.initiator.reconciler.sessions.with_sid(running.sid)
            # Nothing can be mounted from one that is down; of those that are about to leave no
            # check is so late that nothing can happen after it.
            if running.is_up and session is not None and session.is_wanted:
                running.in_use = self.random.random() < 0.3
                running.checked_unused = running.checked_unused and not running.in_use

    def _disks_are_unused(self) -> None:
        for running in self.kernel.sessions.values():
            if running.in_use:
                running.in_use, running.unused_since = False, self.now

    def _target_comes(self) -> None:
        self.random.choice(self.all).targets.add(target(self.next_target))
        self.next_target += 1

    def _target_goes(self) -> None:
        array = self.random.choice(self.all)
        if array.targets:
            array.targets.remove(self.random.choice(sorted(array.targets)))

    def _addresses_change(self) -> None:
        self.configured = [array.portal for array in self.all if self.random.random() < 0.7]

    def _settings_change(self) -> None:
        self.settings = replace(
            SessionSettings(),
            header_digest=self.random.choice([*DigestPolicy]),
            conn_fail_timeout=self.random.choice((0, 60, 120)),
        )

    def _name_changes(self) -> None:
        self.initiator_name = self.random.choice(NAMES)
        self.initiator_alias = self.random.choice(("", "alias"))

    def _sighup(self) -> None:
        self._signal(facts.HangupReceived())

    def _network_changes(self) -> None:
        self._signal(facts.NetworkChanged())

    def _sigterm(self) -> None:
        self.handle(facts.TerminateReceived())

    def _sigpwr(self) -> None:
        """The machine is to go down, and mostly does so: a shutdown can be called off."""
        self._signal(facts.PowerDownReceived())

    def _is_killed(self) -> None:
        self.orders_left = self.random.randrange(1, 30)
        self.fatal = self.random.choice((*IN_STEPS, None))

    def _sigint(self) -> None:
        """Interrupt the daemon, perhaps together with other signals, and wait for its end."""
        companions: list[facts.Fact] = [facts.InterruptReceived()]
        if self.random.random() < 0.3:
            companions.insert(0, facts.HangupReceived())
        if self.random.random() < 0.3:
            companions.append(facts.NetworkChanged())
        if self.random.random() < 0.2:
            companions.insert(0, facts.PowerDownReceived())
        self._signal(*companions)
        self.run(0.001)
        if self.signals:
            self.handle(self.signals.pop(0))
        self.orders_left, self.fatal = 0, None
        refusals = self.kernel.refusals
        began = self.now
        while self.left is None:
            self.run(self.random.uniform(0, 20))
            what = self.random.choice(WHILE_ENDING)
            if self.left is None and what is not None:
                what(self)
            # The last check of the disks may find some unused: these need as many steps again.
            steps = 2 * STEPS_OF_A_LOGOUT + self.kernel.refusals - refusals
            is_over = self.left is not None or self.now - began < STEP_LIMIT * steps
            assert is_over, "the daemon does not leave"
        self.figures.interrupts += 1
        self.figures.longest_end = max(self.figures.longest_end, self.now - began)
        self.restart()

    def _second_sigint(self) -> None:
        self.handle(facts.InterruptReceived())
        assert self.left == 3, "a second SIGINT does not end the daemon"

    # --- the end --------------------------------------------------------------------------------

    def restart(self) -> None:
        """Start the daemon again after it has ended or was killed."""
        self.figures.kills += self.left == KILLED
        self.orders_left, self.fatal = 0, None
        self.begin()

    def settle(self) -> None:
        """Repair everything, end with SIGHUP, and wait."""
        self.orders_left, self.fatal = 0, None
        self.kernel.failure_rate = self.failure_rate = 0
        self._arrays_recover()
        self._disks_are_unused()
        self.signals = [each for each in self.signals if each != facts.PowerDownReceived()]
        if self.powered_down_at is not None and self.left is None:
            # Only a daemon that starts again has the timeouts of the file again.
            self.handle(facts.TerminateReceived())
        if self.left is not None:
            self.restart()
        if self.random.random() < 0.5:
            self._settings_change()
        # The last SIGHUP comes together with some fact: the start of a session, for instance.
        self.signals.append(facts.HangupReceived())
        self.run(self.random.uniform(0, 5))
        if self.signals:
            self.handle(self.signals.pop(0))
        self.settled_at = self.now
        self.run(SETTLES)

    def check(self) -> None:
        """Whether everything is as the last configuration wants it, and nothing else is left."""
        assert self.left is None
        assert self.up() == dict.fromkeys(self.wanted(), 1), "not what is wanted"
        assert len(self.kernel.sessions) == len(self.wanted()), "a session is left in the kernel"
        for running in self.kernel.sessions.values():
            assert running.settings == login_settings(self.settings), "old settings"
            assert running.description.timeouts == kernel_timeouts(self.settings), "old timeouts"
            assert running.is_scanned, "disks are missing"
            if running.created_at > self.settled_at:
                assert running.description.initiator_name == self.initiator_name, "the old name"
        reconciler = self.initiator.reconciler
        sessions = list(reconciler.sessions)
        assert {session.plan.target_name for session in sessions} == self.wanted()
        assert all(session.state is State.UP for session in sessions)
        assert not self.sockets, "a socket was never taken"
        known = {session.plan.binding for session in sessions}
        stale = [
            timer
            for timer in self.timers
            if isinstance(timer.subject, Binding) and timer.subject not in known
        ]
        assert stale == [], "timers of sessions that are gone"
        assert reconciler.portal_backoff.everyone() == [], "a session pauses although it is up"


Disturbance = Callable[[Mixed], None]

DISTURBANCES: tuple[Disturbance, ...] = (
    Mixed._connection_breaks,
    Mixed._connection_breaks,
    Mixed._connection_breaks_unseen,
    Mixed._array_fails,
    Mixed._arrays_recover,
    Mixed._target_requests_logout,
    Mixed._session_vanishes,
    Mixed._session_is_stopped_for_good,
    Mixed._luns_change,
    Mixed._disks_are_used,
    Mixed._disks_are_unused,
    Mixed._target_comes,
    Mixed._target_goes,
    Mixed._addresses_change,
    Mixed._settings_change,
    Mixed._settings_change,
    Mixed._name_changes,
    Mixed._sighup,
    Mixed._sighup,
    Mixed._sighup,
    Mixed._network_changes,
    Mixed._sigpwr,
    Mixed._sigterm,
    Mixed._is_killed,
    Mixed._sigint,
)

WHILE_ENDING: tuple[Disturbance | None, ...] = (
    None,
    None,
    None,
    Mixed._connection_breaks,
    Mixed._connection_breaks_unseen,
    Mixed._array_fails,
    Mixed._arrays_recover,
    Mixed._target_requests_logout,
    Mixed._session_vanishes,
    Mixed._luns_change,
    Mixed._disks_are_unused,
    Mixed._sighup,
    Mixed._network_changes,
    Mixed._sigpwr,
    Mixed._second_sigint,
)


def run_seed(seed: int, figures: Figures | None = None) -> Mixed:
    """Run one course of events; raises ``AssertionError`` if something does not hold."""
    world = Mixed(seed, figures)
    began = world.now
    try:
        for _ in range(STEPS):
            world.disturb()
        world.settle()
        world.check()
    except Exception as error:
        error.add_note("\n".join(world.log[-80:]))
        raise
    finally:
        world.figures.facts += world.facts_handled
        world.figures.seconds += world.now - began
    return world


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    figures, failed, began = Figures(), [], time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        try:
            run_seed(seed, figures)
        except Exception as error:  # what must not be raised is a finding, too
            failed.append(seed)
            print(f"seed {seed}: {error!r:.100}")
    seconds = time.monotonic() - began
    print(f"{options.seeds} seeds in {seconds:.0f} s, {len(failed)} of them failed")
    print(f"{figures.seconds / 3600:.0f} simulated hours, {figures.facts} facts")
    print(f"{figures.interrupts} interrupts, {figures.kills} kills")
    print(f"the longest end after SIGINT took {figures.longest_end:.0f} s")
    for name, count in sorted(figures.disturbances.items()):
        print(f"{count:8} {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
