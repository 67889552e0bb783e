"""What a worker gives up, read back from /proc for real processes."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.process.prctl import Option, prctl
from iscsid.workers.sandbox import (
    DESCRIPTORS,
    MEMORY,
    PROCESSOR_SECONDS,
    UserIds,
    allow_more_processor_time,
    confine,
    find_unprivileged_identity,
    give_up_protection,
)
from tests.support.supervisor_harness import forked, status_of, until

NOBODY = UserIds(65534, 65534)

CAP_SYS_RESOURCE = 24
PR_GET_IO_FLUSHER = 58


def _has_sys_resource() -> bool:
    return bool(int(status_of(os.getpid())["CapEff"], 16) >> CAP_SYS_RESOURCE & 1)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")


def exit_status_of(life: Callable[[], None]) -> int:
    """Live in a child; the status is 0 where nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            life()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_nobody_is_found_and_is_not_root() -> None:
    assert 0 not in (find_unprivileged_identity().uid, find_unprivileged_identity().gid)


@needs_root
def test_a_confined_process_is_nobody_without_any_capability() -> None:
    def life() -> None:
        confine(NOBODY)
        time.sleep(60)

    with forked(life) as pid:
        until(lambda: status_of(pid)["NoNewPrivs"] == "1")
        status = status_of(pid)
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert status["Groups"] == ""
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0


@needs_root
@pytest.mark.parametrize(
    "way_back",
    [
        lambda: os.setuid(0),
        lambda: os.setresuid(0, 0, 0),
        lambda: os.setgid(0),
        lambda: os.setgroups([0]),
        lambda: open("/proc/self/oom_score_adj", "w").close(),
        os.fork,
    ],
)
def test_there_is_no_way_back(way_back: Callable[[], object]) -> None:
    def life() -> None:
        confine(NOBODY)
        with pytest.raises(OSError):
            way_back()

    assert exit_status_of(life) == 0


@needs_root
def test_dropping_to_root_is_refused() -> None:
    def life() -> None:
        with pytest.raises(PermissionError):
            confine(UserIds(0, 0))

    assert exit_status_of(life) == 0


def test_the_limits_are_set_and_cannot_be_raised() -> None:
    def life() -> None:
        confine(NOBODY)
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (DESCRIPTORS, DESCRIPTORS)
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] == PROCESSOR_SECONDS
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        assert soft == hard > MEMORY
        with pytest.raises((ValueError, OSError)):
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS + 1, DESCRIPTORS + 1))

    assert exit_status_of(life) == 0


def test_more_memory_than_allowed_is_refused() -> None:
    def life() -> None:
        confine(NOBODY)
        assert len(bytearray(MEMORY // 2)) > 0
        with pytest.raises(MemoryError):
            bytearray(2 * MEMORY)

    assert exit_status_of(life) == 0


def test_limits_that_are_lower_already_stay() -> None:
    def life() -> None:
        lower = (DESCRIPTORS - 1, DESCRIPTORS - 1)
        resource.setrlimit(resource.RLIMIT_NOFILE, lower)
        confine(NOBODY)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == lower

    assert exit_status_of(life) == 0


def test_processor_time_can_be_renewed_by_a_worker_that_stays() -> None:
    def life() -> None:
        confine(NOBODY)
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS - 10, resource.RLIM_INFINITY))
        allow_more_processor_time()
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] >= PROCESSOR_SECONDS

    assert exit_status_of(life) == 0


@pytest.mark.skipif(not _has_sys_resource(), reason="needs the capability CAP_SYS_RESOURCE")
def test_the_daemons_protection_is_given_up() -> None:
    def life() -> None:
        Path("/proc/self/oom_score_adj").write_text("-1000")
        prctl(Option.SET_IO_FLUSHER, 1)
        assert _is_io_flusher()
        give_up_protection()
        assert Path("/proc/self/oom_score_adj").read_text() == "0\n"
        assert not _is_io_flusher()

    assert exit_status_of(life) == 0


def _is_io_flusher() -> bool:
    return bool(ctypes.CDLL(None).prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1)


@needs_root
def test_without_privileges_there_is_nothing_to_give_up() -> None:
    def life() -> None:
        os.setresuid(65534, 65534, 65534)
        give_up_protection()

    assert exit_status_of(life) == 0


@needs_root
def test_an_unprivileged_worker_is_confined_as_far_as_it_can_be() -> None:
    def life() -> None:
        os.setresuid(65534, 65534, 65534)
        confine(UserIds(1, 1))
        assert os.getuid() == 65534

    assert exit_status_of(life) == 0


@needs_root
def test_another_process_of_the_same_user_cannot_look_inside() -> None:
    def life() -> None:
        confine(NOBODY)
        time.sleep(60)

    def neighbour(pid: int) -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PermissionError):
            os.listdir(f"/proc/{pid}/fd")

    with forked(life) as pid:
        until(lambda: status_of(pid)["NoNewPrivs"] == "1")
        until(lambda: os.stat(f"/proc/{pid}/fd").st_uid == 0)
        assert exit_status_of(lambda: neighbour(pid)) == 0
