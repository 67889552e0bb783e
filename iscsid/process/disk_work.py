"""Work that may wait for a disk, done by workers, so that the daemon's own process never waits.

A disk of a session that is down answers only when the daemon has logged in again: a daemon that
waits for it waits for ever. So the check of disk users, the reading of the configuration and the
writing of the bindings are jobs. This module turns the initiator's orders into jobs and their
results into facts. Orders that come while a job of their kind runs wait for its end, and are then
one job: the last text of the bindings, one check of all sessions. A job that overstays is
abandoned, and nothing of its kind is started before it has ended.

Pure but for the job's start, which is handed in; the times are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import assert_never

from iscsid.facts import (
    NOT_CHECKED,
    BindingsNotSaved,
    BindingsRead,
    BindingsSaved,
    BindingsWritten,
    ConfigurationRefused,
    DiskJobFact,
    DisksChecked,
    DiskUsersChecked,
    Fact,
    FilesRead,
    LunUsers,
    LunUsersChecked,
    WorkerEnded,
)
from iscsid.jobs import (
    CheckDisksJob,
    DiskJob,
    FileStamp,
    JobId,
    ReadFilesJob,
    SaveBindingsJob,
)
from iscsid.orders import CheckDiskUsers, CheckLunUsers, ReadConfiguration, SaveBindings
from iscsid.process.config_files import ConfigurationFiles, parse_files

SECONDS = 30.0
"""For one job. A disk under load may take seconds for a write; one that takes longer is away."""
NO_ANSWER = f"no answer within {SECONDS:.0f} seconds"
_CHECK, _FILES = "check", "files"
_STILL_WAITS = "an earlier attempt still waits for its disk"

Start = Callable[[DiskJob], Iterable[Fact]]
Stop = Callable[[JobId], None]
Check = CheckDiskUsers | CheckLunUsers


@dataclass(slots=True)
class _Running:
    """A job that has not ended; ``due`` is when it is abandoned."""

    job: DiskJob
    due: float
    checks: list[Check] = field(default_factory=list)
    has_answered: bool = False


class DiskWork:
    """Jobs that may wait for a disk; at most one that checks disks and one that uses files.

    ``start`` starts a job and returns what is known of it at once, ``stop`` abandons one.
    """

    def __init__(
        self,
        start: Start,
        stop: Stop,
        files: ConfigurationFiles,
        bindings_file: str,
        stamp: FileStamp | None = None,
    ) -> None:
        self._start, self._stop = start, stop
        self._files = files
        self._bindings_file = bindings_file
        self.stamp = stamp
        """Of the bindings file as it was read or written last."""
        # Negative: the initiator numbers its own jobs from 1 on.
        self._ids = count(-1, -1)
        self._checks: list[Check] = []
        self._save: SaveBindings | None = None
        self._wants_reading = False
        self._running: dict[str, _Running] = {}
        """By place: one job that checks disks, and one that uses files."""
        self._stuck: dict[JobId, type[DiskJob]] = {}
        """Jobs that were abandoned, and have not ended."""

    def order(self, order: Check | SaveBindings | ReadConfiguration) -> None:
        """Note what is to be done; ``begin`` starts it."""
        match order:
            case CheckDiskUsers() | CheckLunUsers():
                self._checks.append(order)
            case SaveBindings():
                self._save = order
            case ReadConfiguration():
                self._wants_reading = True

    @property
    def is_saving(self) -> bool:
        """Whether bindings are not on the disk yet, and may soon be."""
        return self._save is not None or self._is_running(SaveBindingsJob)

    @property
    def is_reading(self) -> bool:
        """Whether the configuration is being read, or is to be."""
        return self._wants_reading or self._is_running(ReadFilesJob)

    def deadline(self) -> float | None:
        """Return when ``abandon`` must be called next, on the monotonic clock."""
        return min((running.due for running in self._running.values()), default=None)

    def begin(self, now: float) -> list[Fact]:
        """Start the jobs that can be started; return what comes of it at once."""
        facts: list[Fact] = []
        if self._checks and _CHECK not in self._running:
            checks, self._checks = self._checks, []
            sids = tuple(dict.fromkeys(check.sid for check in checks))
            facts += self._run(_CHECK, CheckDisksJob(id=self._next_id(), sids=sids), now, checks)
        # The newest bindings are on the disk before they are read again.
        if self._save is not None and _FILES not in self._running:
            facts += self._run(_FILES, self._save_job(self._save), now)
        if self._wants_reading and _FILES not in self._running:
            self._wants_reading = False
            facts += self._run(_FILES, self._read_job(), now)
        return facts

    def translate(self, fact: Fact, now: float) -> list[Fact]:
        """Return the facts for the initiator that follow from ``fact``; others are unchanged."""
        if isinstance(fact, WorkerEnded) and fact.job_id < 0:
            return [*self._ended(fact), *self.begin(now)]
        if not isinstance(fact, DiskJobFact):
            return [fact]
        running = self._by_id(fact.job_id)
        if running is None:
            return []  # it was abandoned, and its failure reported
        running.has_answered = True
        match fact:
            case DisksChecked():
                # If it was asked again meanwhile, only a later look is an answer.
                current = [check for check in running.checks if check not in self._checks]
                return _answers(current, fact.luns)
            case FilesRead():
                return self._files_read(fact)
            case BindingsWritten():
                return self._bindings_written(fact)
            case _:
                assert_never(fact)

    def abandon(self, now: float) -> list[Fact]:
        """Give up the jobs whose time is over."""
        facts: list[Fact] = []
        for place, running in list(self._running.items()):
            if running.due <= now:
                self._stuck[running.job.id] = type(running.job)
                self._stop(running.job.id)
                facts += self._free(place, NO_ANSWER)
        return [*facts, *self.begin(now)]

    # --- results --------------------------------------------------------------------------------

    def _files_read(self, fact: FilesRead) -> list[Fact]:
        configuration = parse_files(fact.config, fact.initiatorname)
        if isinstance(configuration, ConfigurationRefused):
            return [configuration]
        self._bindings_read(fact.bindings, fact.stamp)
        # In this order: the numbers are known before the targets that want some.
        return [fact.bindings, configuration]

    def _bindings_written(self, fact: BindingsWritten) -> list[Fact]:
        self._bindings_read(fact.result, fact.stamp)
        if isinstance(fact.result, BindingsSaved) and self._save is not None:
            # The damaged file has its copy now. What is saved is not the newest text: its result
            # is the one that counts.
            self._save = replace(self._save, keep_copy=False)
            return []
        return [fact.result]

    def _bindings_read(self, fact: Fact, stamp: FileStamp | None) -> None:
        self.stamp = stamp
        if isinstance(fact, BindingsRead):
            # A text that was made without knowledge of this must not replace it.
            self._save = None

    # --- jobs -----------------------------------------------------------------------------------

    def _save_job(self, order: SaveBindings) -> SaveBindingsJob:
        self._save = None
        return SaveBindingsJob(
            id=self._next_id(),
            path=self._bindings_file,
            text=order.text,
            keep_copy=order.keep_copy,
            stamp=self.stamp,
        )

    def _read_job(self) -> ReadFilesJob:
        return ReadFilesJob(
            id=self._next_id(),
            config=self._files.config,
            initiatorname=self._files.initiatorname,
            bindings=self._bindings_file,
        )

    def _next_id(self) -> JobId:
        return JobId(next(self._ids))

    def _is_running(self, kind: type[DiskJob]) -> bool:
        running = self._running.get(_FILES)
        return running is not None and isinstance(running.job, kind) and not running.has_answered

    def _by_id(self, job_id: JobId) -> _Running | None:
        return next((each for each in self._running.values() if each.job.id == job_id), None)

    def _run(
        self, place: str, job: DiskJob, now: float, checks: Sequence[Check] = ()
    ) -> list[Fact]:
        self._running[place] = _Running(job, now + SECONDS, list(checks))
        if type(job) in self._stuck.values():
            return self._free(place, _STILL_WAITS)
        return [known for fact in self._start(job) for known in self.translate(fact, now)]

    def _ended(self, fact: WorkerEnded) -> list[Fact]:
        self._stuck.pop(fact.job_id, None)
        why = str(fact.how) if fact.how is not None else "the worker ended without an answer"
        for place, running in self._running.items():
            if running.job.id == fact.job_id:
                return self._free(place, why)
        return []

    def _free(self, place: str, why: str) -> list[Fact]:
        """Make room for another job; return the failure of the one that had not answered."""
        running = self._running.pop(place)
        if running.has_answered:
            return []
        match running.job:
            case CheckDisksJob():
                return [_not_checked(check, why) for check in running.checks]
            case SaveBindingsJob(path=path):
                return [BindingsNotSaved(f"{path}: {why}")]
            case ReadFilesJob(config=path):
                return [ConfigurationRefused((f"{path}: {why}",))]
            case _:
                assert_never(running.job)


def _answers(checks: Iterable[Check], found: Iterable[LunUsers]) -> list[Fact]:
    by_sid: dict[int, list[LunUsers]] = {}
    for lun in found:
        by_sid.setdefault(lun.sid, []).append(lun)
    return [_answer(check, by_sid.get(check.sid, [])) for check in checks]


def _answer(check: Check, luns: list[LunUsers]) -> Fact:
    match check:
        case CheckDiskUsers(sid):
            return DiskUsersChecked(
                sid, tuple(dict.fromkeys(use for lun in luns for use in lun.uses))
            )
        case CheckLunUsers(sid, wanted):
            # A LUN that is gone is left out.
            return LunUsersChecked(
                sid, tuple((lun.lun, lun.uses) for lun in luns if lun.lun in wanted)
            )


def _not_checked(check: Check, why: str) -> Fact:
    """What could not be learnt counts as use."""
    uses = (f"{NOT_CHECKED}{why}",)
    match check:
        case CheckDiskUsers(sid):
            return DiskUsersChecked(sid, uses)
        case CheckLunUsers(sid, wanted):
            return LunUsersChecked(sid, tuple((lun, uses) for lun in wanted))
