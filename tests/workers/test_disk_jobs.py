"""The jobs that may wait for a disk, in real workers; what follows from them is DiskWork's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from iscsid.facts import (
    BindingsNotRead,
    BindingsNotSaved,
    BindingsRead,
    BindingsSaved,
    BindingsWritten,
    ConfigurationRead,
    ConfigurationRefused,
    DisksChecked,
    FilesRead,
    LunUsers,
    WorkerEnded,
)
from iscsid.jobs import (
    CheckDisksJob,
    FileStamp,
    JobId,
    ReadFilesJob,
    SaveBindingsJob,
    WorkerJob,
)
from iscsid.orders import Level, SaveBindings
from iscsid.process.config_files import ConfigurationFiles, parse_files
from iscsid.process.disk_work import SECONDS, DiskWork
from iscsid.workers import job_kinds
from iscsid.workers.reporter import Reporter
from iscsid.workers.worker_main import run_job
from tests.support.supervisor_harness import WorkersHarness, not_confined

J = JobId(-7)
STAMP = FileStamp(2**64 - 1, 1, 2, 3)
ODD = 'a "b" \\ \x00\x1f ü \udcff\u2028'
"""Whatever a person may have left in a file, octets that are no UTF-8 included."""


@pytest.mark.parametrize(
    "fact",
    [
        DisksChecked(J, (LunUsers(1, 2**64 - 1, ("mounted", "swap")), LunUsers(2, 0, ()))),
        BindingsWritten(J, BindingsSaved(), STAMP),
        BindingsWritten(J, BindingsNotSaved("why"), None),
        BindingsWritten(J, BindingsRead(ODD, ("remark",)), STAMP),
        BindingsWritten(J, BindingsNotRead("why"), STAMP),
    ],
)
def test_results_travel_unchanged(fact: DisksChecked | BindingsWritten) -> None:
    job: WorkerJob = CheckDisksJob(id=J, sids=(1,))
    if isinstance(fact, BindingsWritten):
        job = SaveBindingsJob(id=J, path="/b", text="", keep_copy=False, stamp=None)
    assert job_kinds.decode(job, job_kinds.encode(fact)) == fact


@pytest.mark.parametrize(
    "job",
    [
        CheckDisksJob(id=J, sids=(1, 2, 4_000_000_000)),
        ReadFilesJob(id=J, config="/a", initiatorname="/b", bindings="/c"),
        SaveBindingsJob(id=J, path="/b", text=ODD, keep_copy=True, stamp=STAMP),
    ],
)
def test_jobs_travel_unchanged(job: WorkerJob) -> None:
    assert job_kinds.decode_job(job_kinds.encode_job(job, Level.INFO)) == (job, Level.INFO)


def result(job: WorkerJob) -> object:
    """Do a job in a worker; return its one result."""
    harness = WorkersHarness(confine=not_confined)
    harness.start(job)
    harness.until(lambda: any(isinstance(f, WorkerEnded) for f in harness.facts))
    fact, ended = harness.facts
    assert ended == WorkerEnded(job.id)
    return fact


def test_bindings_are_written_and_their_stamp_is_known(tmp_path: Path) -> None:
    path = tmp_path / "bindings"
    text = "# ü\n" + "x" * 3_000_000
    save = SaveBindingsJob(id=J, path=str(path), text=text, keep_copy=False, stamp=None)
    written = result(save)
    assert isinstance(written, BindingsWritten) and written.result == BindingsSaved()
    assert path.read_text() == text
    read = result(ReadFilesJob(id=J, config="/none", initiatorname="/none", bindings=str(path)))
    assert isinstance(read, FilesRead)
    assert (read.bindings, read.stamp) == (BindingsRead(text), written.stamp)
    assert "No such file" in read.config.error and read.initiatorname.is_missing


def test_file_that_a_person_has_edited_is_read_instead(tmp_path: Path) -> None:
    path = tmp_path / "bindings"
    path.write_text("edited")
    save = SaveBindingsJob(id=J, path=str(path), text="ours", keep_copy=False, stamp=STAMP)
    written = result(save)
    assert isinstance(written, BindingsWritten) and written.result == BindingsRead("edited")


def test_configuration_with_any_octets_arrives_as_it_was_read(tmp_path: Path) -> None:
    config = tmp_path / "iscsi.conf"
    config.write_bytes(bytes(range(256)))
    config.chmod(0o640)
    name = tmp_path / "name"
    name.write_text("InitiatorName=iqn.2024-01.org.example:host\n")
    job = ReadFilesJob(id=J, config=str(config), initiatorname=str(name), bindings="/none/b")
    read = result(job)
    assert isinstance(read, FilesRead)
    assert (read.config.octets, read.config.mode & 0o777) == (bytes(range(256)), 0o640)
    assert isinstance(parse_files(read.config, read.initiatorname), ConfigurationRefused)
    config.write_text("DiscoveryAddress=192.0.2.1\n")
    read = result(job)
    assert isinstance(read, FilesRead)
    assert isinstance(parse_files(read.config, read.initiatorname), ConfigurationRead)


def test_sessions_that_are_gone_have_no_disks() -> None:
    assert result(CheckDisksJob(id=J, sids=(4_000_000_000,))) == DisksChecked(J, ())


def hang(job: WorkerJob, reporter: Reporter) -> None:
    """As a write to a disk that is away: no signal ends it but the one that nothing survives."""
    if isinstance(job, SaveBindingsJob):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.mkfifo(job.path)
        os.close(os.open(job.path, os.O_WRONLY))
    run_job(job, reporter)


def test_write_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bindings"
    harness = WorkersHarness(hang, confine=not_confined)
    files = ConfigurationFiles(str(tmp_path / "conf"), str(tmp_path / "name"))
    work = DiskWork(harness.supervisor.start, harness.supervisor.stop, files, str(path))
    work.order(SaveBindings("text"))
    start = time.monotonic()
    assert work.begin(0.0) == []
    harness.until(path.exists)
    other = CheckDisksJob(id=JobId(5), sids=())
    harness.start(other)
    harness.until(lambda: WorkerEnded(other.id) in harness.facts)
    (failed,) = work.abandon(SECONDS)
    assert isinstance(failed, BindingsNotSaved) and "no answer" in failed.reason
    assert time.monotonic() - start < SECONDS
    harness.until(lambda: WorkerEnded(JobId(-1)) in harness.facts)
    assert work.translate(WorkerEnded(JobId(-1)), 0.0) == [], "it was reported"
