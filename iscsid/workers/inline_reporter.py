"""Writes down what a job says that runs in the daemon's own process, without a fork (--once)."""

from __future__ import annotations

import socket

from iscsid.facts import Fact
from iscsid.jobs import Job
from iscsid.orders import Level
from iscsid.workers.messages import Report
from iscsid.workers.reporter import ParentMessage, is_logged
from iscsid.workers.worker import WriteLine


class InlineReporter:
    """A ``Reporter`` that keeps the facts, and hands lines for the log on at once."""

    def __init__(self, job: Job, write_line: WriteLine, level: Level) -> None:
        self.facts: list[Fact] = []
        self.connection: socket.socket | None = None
        self._job = job
        self._write_line = write_line
        self._level = level

    def report(self, fact: Report, connection: socket.socket | None = None) -> None:
        self.facts.append(fact)
        if connection is not None:
            self.connection = connection.dup()

    def progress(self, what: str) -> None:
        self.log(Level.DEBUG, what)

    def wants(self, level: Level) -> bool:
        return is_logged(level, self._level)

    def log(self, level: Level, text: str) -> None:
        if self.wants(level):
            self._write_line(self._job, level, text)

    def fileno(self) -> int:
        raise RuntimeError("nobody speaks to a job that runs in the daemon's own process")

    def poll_parent(self) -> ParentMessage:
        return ParentMessage.NOTHING
