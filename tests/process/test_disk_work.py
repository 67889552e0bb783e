"""Work that may wait for a disk: what is started when, and what follows if it never ends."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest

from iscsid.errors import Failure, Retry
from iscsid.facts import (
    BindingsNotRead,
    BindingsNotSaved,
    BindingsRead,
    BindingsSaved,
    BindingsWritten,
    ConfigurationRead,
    ConfigurationRefused,
    DisksChecked,
    DiskUsersChecked,
    Fact,
    FilesRead,
    LunUsers,
    LunUsersChecked,
    TerminateReceived,
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
from iscsid.process.config_files import ConfigurationFiles
from iscsid.process.disk_work import NO_ANSWER, SECONDS, DiskWork
from iscsid.process.files import read_file

PATH = "/var/iscsi/bindings"
Kind = TypeVar("Kind", bound=DiskJob)
OLD, NEW = FileStamp(1, 1, 1, 1), FileStamp(2, 2, 2, 2)
STUCK = "an earlier attempt still waits for its disk"


class Harness:
    """The work, and the jobs it has started."""

    def __init__(self, directory: Path) -> None:
        (directory / "conf").write_text("DiscoveryAddress=192.0.2.1\n")
        (directory / "name").write_text("InitiatorName=iqn.2024-01.org.example:host\n")
        self.files = ConfigurationFiles(str(directory / "conf"), str(directory / "name"))
        self.started: list[DiskJob] = []
        self.stopped: list[JobId] = []
        self.work = DiskWork(self.start, self.stopped.append, self.files, PATH, OLD)
        self.now = 0.0

    def start(self, job: DiskJob) -> list[Fact]:
        self.started.append(job)
        return []

    def order(
        self, *orders: CheckDiskUsers | CheckLunUsers | SaveBindings | ReadConfiguration
    ) -> None:
        for order in orders:
            self.work.order(order)
        assert self.work.begin(self.now) == []

    def result(self, fact: DisksChecked | FilesRead | BindingsWritten) -> list[Fact]:
        """Have the last job report, and its worker end."""
        given = self.work.translate(fact, self.now)
        return given + self.work.translate(WorkerEnded(fact.job_id), self.now)

    def saved(self, stamp: FileStamp = NEW) -> list[Fact]:
        return self.result(BindingsWritten(self.job(SaveBindingsJob).id, BindingsSaved(), stamp))

    def read(self, text: str = "", stamp: FileStamp = NEW) -> list[Fact]:
        job = self.job(ReadFilesJob)
        config, name = read_file(self.files.config), read_file(self.files.initiatorname)
        return self.result(FilesRead(job.id, config, name, BindingsRead(text), stamp))

    def job(self, kind: type[Kind]) -> Kind:
        """Return the job that was started last, which must be of this kind."""
        job = self.started[-1]
        assert isinstance(job, kind)
        return job


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


def test_other_facts_pass_unchanged(harness: Harness) -> None:
    for fact in (TerminateReceived(), WorkerEnded(JobId(1))):
        assert harness.work.translate(fact, 0.0) == [fact]


# --- checks -------------------------------------------------------------------------------------


def test_checks_of_one_turn_are_one_job(harness: Harness) -> None:
    """Each job reads all mounts and all processes."""
    harness.order(CheckDiskUsers(1), CheckDiskUsers(2), CheckLunUsers(2, (5, 7)))
    assert harness.job(CheckDisksJob).sids == (1, 2)
    found = DisksChecked(
        harness.started[-1].id,
        (LunUsers(2, 5, ("mounted",)), LunUsers(2, 6, ("swap",)), LunUsers(1, 0, ())),
    )
    assert harness.result(found) == [
        DiskUsersChecked(1, ()),
        DiskUsersChecked(2, ("mounted", "swap")),
        LunUsersChecked(2, ((5, ("mounted",)),)),
    ]
    assert len(harness.started) == 1 and harness.work.deadline() is None


def test_check_that_comes_while_one_runs_is_made_afterwards(harness: Harness) -> None:
    """What is in use may have changed since the other began."""
    harness.order(CheckDiskUsers(1))
    harness.order(CheckDiskUsers(1), CheckDiskUsers(3))
    assert len(harness.started) == 1
    assert harness.result(DisksChecked(harness.started[0].id, ())) == []
    assert harness.job(CheckDisksJob).sids == (1, 3)


def test_check_without_an_answer_counts_as_use(harness: Harness) -> None:
    harness.order(CheckDiskUsers(1), CheckLunUsers(2, (5,)))
    assert harness.work.deadline() == SECONDS
    assert harness.work.abandon(SECONDS - 1) == []
    given = harness.work.abandon(SECONDS)
    uses = (f"could not be checked: {NO_ANSWER}",)
    assert given == [DiskUsersChecked(1, uses), LunUsersChecked(2, ((5, uses),))]
    assert harness.stopped == [harness.started[0].id]


def test_check_whose_worker_dies_counts_as_use(harness: Harness) -> None:
    harness.order(CheckDiskUsers(1))
    ended = WorkerEnded(harness.started[0].id, Failure(Retry.SOON, "killed"))
    assert harness.work.translate(ended, 0.0) == [
        DiskUsersChecked(1, ("could not be checked: killed",))
    ]


def test_workers_that_hang_do_not_gather(harness: Harness) -> None:
    harness.order(CheckDiskUsers(1))
    harness.work.abandon(SECONDS)
    harness.work.order(CheckDiskUsers(2))
    assert harness.work.begin(SECONDS) == [DiskUsersChecked(2, (f"could not be checked: {STUCK}",))]
    assert len(harness.started) == 1
    assert harness.result(DisksChecked(harness.started[0].id, ())) == [], (
        "its answer is not awaited any more"
    )
    harness.order(CheckDiskUsers(2))
    assert len(harness.started) == 2


def test_answer_that_is_older_than_the_question_is_not_given(harness: Harness) -> None:
    """A disk may have been mounted after the first look, and before the second question."""
    harness.order(CheckDiskUsers(1), CheckDiskUsers(2))
    harness.order(CheckDiskUsers(1))
    first = DisksChecked(harness.job(CheckDisksJob).id, (LunUsers(1, 0, ()), LunUsers(2, 0, ())))
    assert harness.result(first) == [DiskUsersChecked(2, ())]
    second = DisksChecked(harness.job(CheckDisksJob).id, (LunUsers(1, 0, ("mounted",)),))
    assert harness.result(second) == [DiskUsersChecked(1, ("mounted",))]


# --- bindings -----------------------------------------------------------------------------------


def test_bindings_are_saved_with_what_is_known_of_the_file(harness: Harness) -> None:
    harness.order(SaveBindings("a", keep_copy=True))
    job = harness.job(SaveBindingsJob)
    assert (job.path, job.text, job.keep_copy, job.stamp) == (PATH, "a", True, OLD)
    assert harness.work.is_saving
    assert harness.saved() == [BindingsSaved()]
    assert not harness.work.is_saving
    harness.order(SaveBindings("b"))
    assert harness.job(SaveBindingsJob).stamp == NEW


def test_saves_that_come_while_one_runs_are_one_more(harness: Harness) -> None:
    for text in "abcd":
        harness.order(SaveBindings(text, keep_copy=True))
    assert harness.job(SaveBindingsJob).text == "a"
    harness.saved()
    job = harness.job(SaveBindingsJob)
    assert (job.text, job.stamp) == ("d", NEW)
    assert not job.keep_copy, "the damaged file has a copy, and is not there any more"
    harness.saved()
    assert len(harness.started) == 2 and not harness.work.is_saving


def test_file_with_a_text_that_is_no_longer_the_newest_is_not_reported_as_saved(
    harness: Harness,
) -> None:
    """The initiator would take the newest for saved, and not try again if that fails."""
    harness.order(SaveBindings("a"))
    harness.order(SaveBindings("b"))
    assert harness.saved() == []
    failure = BindingsNotSaved("no space left on device")
    result = BindingsWritten(harness.job(SaveBindingsJob).id, failure, NEW)
    assert harness.result(result) == [failure]


def test_text_made_before_a_person_edited_the_file_does_not_replace_the_edit(
    harness: Harness,
) -> None:
    harness.order(SaveBindings("a"))
    harness.order(SaveBindings("b"))
    edited = BindingsRead("edited")
    result = BindingsWritten(harness.started[0].id, edited, NEW)
    assert harness.result(result) == [edited]
    assert len(harness.started) == 1


def test_disk_that_does_not_answer_fails_the_save_and_the_next_ones_at_once(
    harness: Harness,
) -> None:
    harness.order(SaveBindings("a"))
    assert harness.work.abandon(SECONDS) == [BindingsNotSaved(f"{PATH}: {NO_ANSWER}")]
    harness.work.order(SaveBindings("b"))
    assert harness.work.begin(SECONDS) == [BindingsNotSaved(f"{PATH}: {STUCK}")]
    # The disk is back, and the first save ends after all: the file is not the one we knew.
    assert harness.saved() == []
    harness.order(SaveBindings("c"))
    assert harness.job(SaveBindingsJob).stamp == OLD


# --- the configuration --------------------------------------------------------------------------


def test_files_are_read_as_bindings_and_then_the_configuration(harness: Harness) -> None:
    harness.order(ReadConfiguration())
    assert harness.work.is_reading
    job = harness.job(ReadFilesJob)
    assert (job.config, job.bindings) == (harness.files.config, PATH)
    bindings, configuration = harness.read("text")
    assert bindings == BindingsRead("text") and isinstance(configuration, ConfigurationRead)
    assert not harness.work.is_reading
    harness.order(SaveBindings("a"))
    assert harness.job(SaveBindingsJob).stamp == NEW


def test_bindings_are_not_taken_from_beside_a_wrong_configuration(harness: Harness) -> None:
    Path(harness.files.config).write_text("DiscoverAddress=192.0.2.1\n")
    harness.order(ReadConfiguration())
    (refused,) = harness.read()
    assert isinstance(refused, ConfigurationRefused)
    harness.order(SaveBindings("a"))
    assert harness.job(SaveBindingsJob).stamp == OLD


def test_newest_bindings_are_on_the_disk_before_they_are_read(harness: Harness) -> None:
    harness.order(SaveBindings("a"))
    harness.order(ReadConfiguration(), SaveBindings("b"))
    harness.saved()
    assert harness.job(SaveBindingsJob).text == "b"
    harness.saved()
    assert isinstance(harness.started[-1], ReadFilesJob)


def test_bindings_wait_while_they_are_read(harness: Harness) -> None:
    harness.order(ReadConfiguration())
    harness.order(SaveBindings("a"))
    harness.read("edited")
    assert len(harness.started) == 1, "the text was made without knowledge of the file"


def test_sighup_while_the_files_are_read_reads_them_again(harness: Harness) -> None:
    harness.order(ReadConfiguration())
    harness.order(ReadConfiguration(), ReadConfiguration())
    harness.read()
    assert [type(job) for job in harness.started] == [ReadFilesJob, ReadFilesJob]
    harness.read()
    assert len(harness.started) == 2


def test_files_that_cannot_be_read_in_time_change_nothing(harness: Harness) -> None:
    harness.order(ReadConfiguration())
    (refused,) = harness.work.abandon(SECONDS)
    assert refused == ConfigurationRefused((f"{harness.files.config}: {NO_ANSWER}",))


def test_unreadable_bindings_are_reported_and_do_not_count_as_read(harness: Harness) -> None:
    harness.order(ReadConfiguration())
    job = harness.job(ReadFilesJob)
    config, name = read_file(harness.files.config), read_file(harness.files.initiatorname)
    why = BindingsNotRead("it is a directory")
    given = harness.result(FilesRead(job.id, config, name, why, OLD))
    assert given[0] == why
