"""What the tests of recovery share: targets that go down, a daemon, and disks under writes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.patience import wait_until
from tests.vm import disks, sessions
from tests.vm.daemon import Daemon
from tests.vm.faults import Stopwatch, Storage
from tests.vm.workload import Workload, writing

SETTINGS = (
    "ActiveTimeout=4",
    "IdleTimeout=4",
    "PingTimeout=4",
    "LoginTimeout=5",
    "LoginRetryInterval=2",
)
"""A fault is noticed soon, and the pauses between attempts stay short: tests have little time."""


Identity = tuple[int, str, str]
"""What must not change: a session's number, its host, and the device that a link leads to."""


def target_name(number: int) -> str:
    return f"iqn.2003-02.org.example:target{number}"


class Scenario:
    """``count`` targets of one disk each, and a daemon that has a session with each of them."""

    def __init__(
        self,
        kind: str,
        directory: Path,
        *,
        settings: tuple[str, ...] = SETTINGS,
        count: int = 1,
        portals: tuple[str, ...] = (),
        daemon: Daemon | None = None,
    ) -> None:
        names = [target_name(number) for number in range(count)]
        files = {name: disks.make_file(directory / name, 4) for name in names}
        self.names = names
        watch = Stopwatch()
        self.storage = Storage(kind, files, *portals)
        watch.lap(f"{kind} with {count} targets is there")
        self.daemon = daemon or Daemon(directory)
        self._settings = settings
        self._records = (directory / f"record{number}" for number in itertools.count())
        self.links: list[Path] = []
        self._before: list[Identity] = []

    def begin(self) -> None:
        """Start the daemon, and wait for all the disks."""
        self.configure()
        watch = Stopwatch()
        self.daemon.start()
        self.daemon.wait_for_sessions(*self.names)
        numbers = self.daemon.wait_for_bindings(*self.names)
        self.links = [self.daemon.link(*numbers[name], 1) for name in self.names]
        self.daemon.wait_for_links(*self.links)
        watch.lap(f"a daemon has started, and {len(self.names)} disks are there")
        self._before = self._identity()

    def configure(self, *, wants_targets: bool = True) -> None:
        """Ask at every portal: tgtd, asked at one, does not name its others."""
        portals = self.storage.portals if wants_targets else ()
        # The file has to declare that these portals are of one target.
        entries = (f"DiscoveryAddress={each}\n    NetworkEntity=target" for each in portals)
        self.daemon.configure(*self._settings, *entries)

    @property
    def sid(self) -> int:
        return sessions.session_of(self.names[0])

    def wait_for_state(self, state: str) -> None:
        """Wait until the first session is LOGGED_IN, FAILED or FREE."""
        sid = self.sid

        def current() -> str:
            return sessions.attribute(sid, "state")

        wait_until(lambda: current() == state, lambda: f"session {sid} is {current()}")

    def assert_nothing_has_moved(self) -> None:
        """Find the same sessions, hosts, device nodes and links as at the start."""
        assert self._identity() == self._before, self.daemon.log()

    def _identity(self) -> list[Identity]:
        hosts = {
            sid: (sessions.SESSIONS / f"session{sid}").resolve().parts
            for sid in sessions.session_ids()
        }
        named = {sessions.attribute(sid, "targetname"): sid for sid in hosts}
        return [
            (
                named[name],
                next(part for part in hosts[named[name]] if part.startswith("host")),
                str(link.resolve()),
            )
            for name, link in zip(self.names, self.links, strict=True)
        ]

    @contextmanager
    def writing(self, *, depth: int = 3, bears_errors: bool = False) -> Iterator[Workload]:
        """Write to all disks, through their links, while the block runs; then verify it all."""
        record = next(self._records)
        try:
            with writing(self.links, record, depth=depth, bears_errors=bears_errors) as workload:
                yield workload
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- the log\n{self.daemon.log()}") from error

    def close(self) -> None:
        """Remove everything. A session that is down would delay its own removal."""
        self.storage.come_up()
        with suppress(AssertionError):
            wait_until(lambda: states() <= {"LOGGED_IN"}, lambda: "a session stays down")
        self.daemon.end()
        sessions.destroy_all()
        self.storage.stop()


def states() -> set[str]:
    """Return the states that the kernel's sessions are in."""
    return {sessions.attribute(sid, "state") for sid in sessions.session_ids()}


@contextmanager
def running(scenario: Scenario) -> Iterator[Scenario]:
    """Begin, and clean up when the block ends."""
    try:
        scenario.begin()
        yield scenario
    finally:
        scenario.close()
