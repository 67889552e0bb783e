"""A reporter without a daemon: it keeps facts and lines, and makes connections in this process."""

from __future__ import annotations

import socket

from iscsid.config.settings import SocketOptions
from iscsid.facts import Fact
from iscsid.orders import Level
from iscsid.protocol.names import Portal, is_numeric
from iscsid.workers.connections import begin_connection
from iscsid.workers.messages import Connecting
from iscsid.workers.reporter import Attempt, ParentMessage, is_logged
from iscsid.workers.resolver import HostResolved, resolve
from tests.support.jobs import resolve_job

BY_ROUTES = SocketOptions()


class RecordingReporter:
    def __init__(
        self,
        level: Level = Level.DEBUG,
        window: int = 0,
        options: SocketOptions = BY_ROUTES,
    ) -> None:
        self.facts: list[Fact] = []
        self.lines: list[str] = []
        self._level = level
        self._window = window
        self._options = options
        self._resolved: HostResolved | None = None

    def report(self, fact: Fact | HostResolved) -> None:
        if isinstance(fact, HostResolved):
            self._resolved = fact
        else:
            self.facts.append(fact)

    def progress(self, what: str) -> None:
        self.log(Level.DEBUG, what)

    def wants(self, level: Level) -> bool:
        return is_logged(level, self._level)

    def log(self, level: Level, text: str) -> None:
        if self.wants(level):
            self.lines.append(text)

    def fileno(self) -> int:
        raise RuntimeError("there is no daemon")

    def poll_parent(self) -> ParentMessage:
        return ParentMessage.NOTHING

    def connect(self, portal: Portal, index: int, seconds: float | None) -> Attempt:
        portals: tuple[Portal, ...] = (portal,)
        if not is_numeric(portal):
            resolve(resolve_job(portal), self)
            assert self._resolved is not None
            if self._resolved.error:
                code, unreadable = self._resolved.error, self._resolved.unreadable
                return Attempt(Connecting("", 0, 0, code, unreadable), None)
            portals = self._resolved.portals
        try:
            connection = begin_connection(portals[index], self._window, self._options)
        except OSError as error:
            answer = Connecting(portals[index].host, len(portals), error=error.errno or 0)
            return Attempt(answer, None)
        with connection:
            theirs = socket.socket(fileno=socket.dup(connection.fileno()))
        return Attempt(Connecting(portals[index].host, len(portals)), theirs)
