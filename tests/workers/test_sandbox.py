"""What a worker gives up, read back from /proc for real processes."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import re
import resource
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.process.prctl import Option, prctl
from iscsid.workers import sandbox, seccomp
from iscsid.workers.sandbox import (
    DESCRIPTORS,
    FIRST_USER,
    MEMORY,
    PROCESSOR_SECONDS,
    Confinement,
    confine,
    give_up_protection,
    processor_time_is_short,
)
from tests.support.jobs import login_job
from tests.support.kill_at_step import run_in_child
from tests.support.supervisor_harness import WorkersHarness, forked, status_of, until

CAP_SYS_RESOURCE = 24
PR_GET_IO_FLUSHER = 58


def _has_sys_resource() -> bool:
    return bool(int(status_of(os.getpid())["CapEff"], 16) >> CAP_SYS_RESOURCE & 1)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")


def exit_status_of(life: Callable[[], None]) -> int:
    """Run ``life`` in a child; the status is 0 if nothing was raised."""
    return os.waitstatus_to_exitcode(run_in_child(life))


def confine_here(confinement: Confinement = Confinement.TARGET, place: int = 0) -> None:
    assert confine(confinement, place, os.getppid()) == []


@needs_root
def test_a_confined_process_has_a_user_of_its_own_and_no_capability() -> None:
    def life() -> None:
        confine_here(place=7)
        time.sleep(60)

    with forked(life) as pid:
        until(lambda: status_of(pid)["NoNewPrivs"] == "1")
        status = status_of(pid)
    assert status["Uid"].split() == [str(FIRST_USER + 7)] * 4
    assert status["Gid"].split() == [str(FIRST_USER + 7)] * 4
    assert status["Groups"] == ""
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0


@needs_root
def test_the_users_of_workers_belong_to_no_other() -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(FIRST_USER)


@needs_root
def test_workers_that_live_at_the_same_time_are_different_users() -> None:
    harness = WorkersHarness(lambda _job, _reporter: signal.pause())
    for number in (1, 2, 3):
        harness.start(login_job(number))
    pids = [harness.pid_of(number) for number in (1, 2, 3)]
    until(lambda: all(status_of(pid)["NoNewPrivs"] == "1" for pid in pids))
    users = {status_of(pid)["Uid"] for pid in pids}
    harness.close()
    assert len(users) == 3


@needs_root
def test_a_worker_cannot_end_another() -> None:
    """Neither by a signal nor by a limit, seccomp or not."""

    def life() -> None:
        confine_here(place=1)
        with pytest.raises(PermissionError):
            os.kill(other, signal.SIGKILL)
        with pytest.raises(PermissionError):
            resource.prlimit(other, resource.RLIMIT_CPU, (0, 0))

    def stay() -> None:
        confine_here(place=2)
        time.sleep(60)

    with forked(stay) as other:
        until(lambda: status_of(other)["NoNewPrivs"] == "1")
        assert exit_status_of(life) == 0


@needs_root
def test_without_numbers_of_its_own_it_is_nobody_and_logs_it() -> None:
    """In a user namespace that does not map them."""
    setresgid = os.setresgid

    def refuse(*group: int) -> None:
        if group[0] >= FIRST_USER:
            raise OSError(errno.EINVAL, "Invalid argument")
        setresgid(*group)

    def life() -> None:
        os.setresgid = refuse
        (missing,) = confine(Confinement.TARGET, 0, os.getppid())
        assert missing == "a user of its own for each worker: Invalid argument"
        assert os.getresuid() == (65534,) * 3

    assert exit_status_of(life) == 0


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
        confine_here()
        with pytest.raises(OSError):
            way_back()

    assert exit_status_of(life) == 0


def test_the_limits_are_set_and_cannot_be_raised() -> None:
    def life() -> None:
        confine_here()
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
        confine_here()
        assert len(bytearray(MEMORY // 2)) > 0
        with pytest.raises(MemoryError):
            bytearray(2 * MEMORY)

    assert exit_status_of(life) == 0


def test_limits_that_are_lower_already_stay() -> None:
    def life() -> None:
        lower = (DESCRIPTORS - 1, DESCRIPTORS - 1)
        resource.setrlimit(resource.RLIMIT_NOFILE, lower)
        confine_here()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == lower

    assert exit_status_of(life) == 0


def test_a_worker_knows_when_it_has_used_much_processor_time() -> None:
    def life() -> None:
        assert not processor_time_is_short(), "pytest's own time does not count"
        sandbox.PROCESSOR_SECONDS_USED = 0
        assert processor_time_is_short()

    assert exit_status_of(life) == 0


def test_no_file_can_be_filled() -> None:
    """Neither on a disk nor in memory, which would be beyond the limit."""

    def life() -> None:
        with tempfile.TemporaryFile() as file:
            confine_here()
            with pytest.raises(OSError):
                os.memfd_create("more")
            with pytest.raises(OSError):
                os.write(file.fileno(), b"x" * 65536)

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
        confine_here()
        assert os.getuid() == 65534

    assert exit_status_of(life) == 0


# --- system calls -------------------------------------------------------------------------------

CLONE_NEWUSER = 0x10000000


def _tcp() -> object:
    with socket.socket() as near:
        return near.connect_ex(("127.0.0.1", 1))


def _libc(name: str, *arguments: object) -> Callable[[], None]:
    def call() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), name)

    return call


@pytest.mark.parametrize(
    "call",
    [
        _tcp,
        lambda: socket.socket(socket.AF_UNIX),
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        _libc("unshare", CLONE_NEWUSER),
        _libc("setns", 0, 0),
        lambda: os.memfd_create("x"),
        lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 1)),
        lambda: resource.prlimit(0, resource.RLIMIT_CPU, (1, 1)),
        lambda: os.kill(os.getpid(), 0),
        lambda: os.pidfd_open(os.getpid()),
        os.fork,
        lambda: os.execv("/bin/true", ["true"]),
        _libc("ptrace", 0, 0, 0, 0),
        _libc("shmget", 0, 4096, 0o1600),
        lambda: prctl(Option.SET_PDEATHSIG, 0),
        lambda: prctl(Option.SET_DUMPABLE, 1),
        _libc("syscall", 425, 1, 0),  # io_uring_setup
        lambda: os.open("/none/new", os.O_CREAT),
        lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR),
        lambda: os.open("/dev/null", os.O_RDWR),
        lambda: os.open("/dev/null", os.O_WRONLY),
        _libc("open", b"/dev/null", os.O_RDWR),
        _libc("creat", b"/none/new", 0o600),
        _libc("syscall", 437, 0, 0, 0, 0),  # openat2
        lambda: os.mkdir("/none/new"),
        lambda: os.mkfifo("/none/new"),
        lambda: os.symlink("/etc/passwd", "/none/new"),
        lambda: os.link("/etc/passwd", "/none/new"),
        lambda: os.unlink("/none/old"),
        lambda: os.rename("/none/old", "/none/new"),
        lambda: os.truncate("/none/old", 0),
    ],
)
def test_a_worker_that_was_taken_over_is_refused(call: Callable[[], object]) -> None:
    def life() -> None:
        confine_here()
        # About limits Python raises a ValueError.
        with pytest.raises((PermissionError, ValueError)):
            call()

    assert exit_status_of(life) == 0


def test_a_given_connection_can_be_used_and_nothing_passed_on() -> None:
    near, far = socket.socketpair()

    def life() -> None:
        confine_here()
        near.settimeout(5)
        near.send(b"hello")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with pytest.raises(PermissionError):
            socket.send_fds(near, [b"x"], [0])
        with pytest.raises(PermissionError):
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
        with pytest.raises(PermissionError):
            near.connect("/nowhere")

    with near, far:
        assert exit_status_of(life) == 0
        assert far.recv(10) == b"hello"


def test_what_a_worker_needs_is_allowed() -> None:
    def life() -> None:
        confine_here()
        prctl(Option.SET_NAME, ctypes.addressof(ctypes.create_string_buffer(b"iscsid: login")))
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] == PROCESSOR_SECONDS
        os.urandom(16)
        time.monotonic()
        assert not processor_time_is_short()
        assert Path("/proc/self/status").read_text() and os.listdir("/")

    assert exit_status_of(life) == 0


def test_the_worker_that_asks_a_name_server_may_make_sockets() -> None:
    def life() -> None:
        confine_here(Confinement.RESOLVER)
        assert _tcp() != 0
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        with pytest.raises(PermissionError):
            os.memfd_create("x")

    assert exit_status_of(life) == 0


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "x86_64-linux-gnu/asm/unistd_64.h"), (1, "asm-generic/unistd.h")],
)
def test_the_numbers_of_the_system_calls_are_the_kernels(column: int, header: str) -> None:
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    numbers = {
        name: int(number)
        for name, number in re.findall(r"#define __NR3?(?:264)?_(\w+)\s+(\d+)", path.read_text())
    }
    machine = ("x86_64", "aarch64")[column]
    rows = {name: row[column] for name, row in seccomp._NUMBERS.items()}
    rows |= {"setsockopt": seccomp._SETSOCKOPT[machine], "prctl": seccomp._PRCTL[machine]}
    rows |= {"open": seccomp._OPEN[machine], "openat": seccomp._OPENAT[machine]}
    rows |= {"prlimit64": seccomp._PRLIMIT64[machine], "clone3": seccomp._CLONE3}
    assert {name: number for name, number in rows.items() if number != numbers.get(name)} == {}


@needs_root
def test_another_process_of_the_same_user_cannot_look_inside() -> None:
    def life() -> None:
        confine_here()
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
