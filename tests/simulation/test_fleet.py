"""Many hosts lose one array and get it back: no storm of attempts, and every session is up again.

``python -m tests.simulation.test_fleet --hosts 1000 --rate 200`` prints the figures. The array
accepts so many logins a second, one after another; what would wait for too long is not answered.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean, median

import pytest

from iscsid.initiator.retry import ATTEMPTS_PER_SECOND
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.protocol.names import Portal
from tests.simulation.hosts import Clock, Host

PORTAL = Portal("192.0.2.1")
CONNECT_TIMEOUT = 15.0
SEGMENTS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between TCP's attempts to connect."""
REFUSED = 0.001
"""Seconds: an address that answers, without the array's service, refuses at once."""


@dataclass
class Array:
    """``rate``: logins a second. ``is_silent``: while it is away, its address does not answer."""

    clock: Clock
    rate: float
    is_silent: bool
    is_away: bool = False
    attempts: Counter[int] = field(default_factory=Counter)
    """By tenth of a second."""
    unanswered: int = 0
    """Attempts that came while too many others were waiting."""
    _free_at: float = 0.0

    def attempt(self, job: LoginJob | DiscoveryJob, end: Callable[[bool], None]) -> None:
        now = self.clock.now
        self.attempts[int(now * 10)] += 1
        shorter = job.connect_timeout if isinstance(job, LoginJob) else 0
        self._send_segment(now + (shorter or CONNECT_TIMEOUT), SEGMENTS, end)

    def _send_segment(
        self, limit: float, pauses: tuple[float, ...], end: Callable[[bool], None]
    ) -> None:
        """Send a SYN; unless it is answered, the next one follows after the first of ``pauses``."""
        now = self.clock.now
        wait = max(self._free_at, now) + 1 / self.rate - now
        if self.is_away and not self.is_silent:
            self.clock.at(now + REFUSED, lambda: end(False))
        elif not self.is_away and now + wait <= limit:
            self._free_at = now + wait
            self.clock.at(now + wait, lambda: end(not self.is_away))
        elif now + pauses[0] < limit:
            self.clock.at(now + pauses[0], lambda: self._send_segment(limit, pauses[1:], end))
        else:
            self.unanswered += not self.is_away
            self.clock.at(limit, lambda: end(False))


class Fleet:
    """``hosts`` hosts, each with as many sessions as in ``sessions``, at one array."""

    def __init__(self, hosts: int, sessions: int, *, rate: float, is_silent: bool = False) -> None:
        self.clock = Clock()
        self.array = Array(self.clock, rate, is_silent)
        portals = dict.fromkeys(range(1, sessions + 1), PORTAL)
        self.hosts = []
        for number in range(hosts):
            self.hosts.append(Host(self.clock, self.array, portals, name=f"host{number}"))
            # They were not started in one moment.
            self.clock.run(100 / hosts)
        self.sessions = hosts * sessions
        self.clock.run(200)
        assert not any(host.up for host in self.hosts), "no session has to be logged in"

    def lose_array(self, seconds: float) -> None:
        """Take the array away for so long; what is counted begins with its loss."""
        self.array.is_away = True
        self.array.attempts.clear()
        for host in self.hosts:
            host.lose_all()
        self.clock.run(seconds)
        self.array.is_away = False
        self.returned_at = self.clock.now

    def run_until_all_are_up(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end and len(self.seconds_until_up()) < self.sessions:
            self.clock.run(1)

    def seconds_until_up(self) -> list[float]:
        """Return, for each session that is up, the seconds since the array's return; sorted."""
        return sorted(at - self.returned_at for host in self.hosts for at in host.up.values())

    def attempts_after_return(self) -> int:
        return sum(n for at, n in self.array.attempts.items() if at >= self.returned_at * 10)

    def attempts_while_away(self) -> list[int]:
        """Return the attempts in each tenth of a second, of the last half of the outage."""
        end = int(self.returned_at * 10)
        begin = (end + min(self.array.attempts)) // 2
        return [self.array.attempts[at] for at in range(begin, end)]


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "silent"])
@pytest.mark.parametrize("rate", [20, 1000])
def test_hosts_that_lose_an_array_make_no_storm_and_all_come_back(
    rate: float, is_silent: bool
) -> None:
    fleet = Fleet(20, 8, rate=rate, is_silent=is_silent)
    fleet.lose_array(120)
    fleet.run_until_all_are_up(60)
    assert len(fleet.seconds_until_up()) == fleet.sessions
    attempts = fleet.attempts_while_away()
    assert mean(attempts) * 10 <= len(fleet.hosts) * ATTEMPTS_PER_SECOND
    assert fleet.seconds_until_up()[0] <= 2 + 1 / rate
    # Little more than one login for each session: what is accepted is not thrown away.
    assert fleet.attempts_after_return() <= 1.5 * fleet.sessions


def test_hosts_do_not_try_in_lockstep() -> None:
    """They lost the array in the same moment, and each has a session with the same number."""
    fleet = Fleet(40, 1, rate=1000)
    fleet.lose_array(120)
    assert max(fleet.attempts_while_away()) < len(fleet.hosts) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--rate", type=float, default=200.0, help="logins a second that it accepts")
    parser.add_argument("--outage", type=float, default=120.0, help="seconds")
    parser.add_argument("--silent", action="store_true", help="while away, it refuses nothing")
    asked = parser.parse_args()
    fleet = Fleet(asked.hosts, asked.sessions, rate=asked.rate, is_silent=asked.silent)
    fleet.lose_array(asked.outage)
    fleet.run_until_all_are_up(3600)
    up = fleet.seconds_until_up()
    print(f"{len(up)} of {fleet.sessions} sessions are up again")
    attempts = fleet.attempts_while_away()
    print(f"while it was away: {mean(attempts) * 10:.0f} attempts a second, ", end="")
    print(f"at most {max(attempts)} in a tenth of a second")
    print(f"when it was back: {fleet.attempts_after_return()} attempts, ", end="")
    print(f"{fleet.array.unanswered} of them not answered")
    print(f"seconds until up: first {up[0]:.1f}, half {median(up):.1f}, last {up[-1]:.1f}", end="")
    print(f" (at {asked.rate:g} a second all need {fleet.sessions / asked.rate:.1f})")


if __name__ == "__main__":
    main()
