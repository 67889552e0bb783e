"""The daemon waits for no disk: what uses disks is kept, and what hangs holds up nothing.

A disk of a session that is down answers only when the daemon has revived the session.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iscsid.process.disk_work import SECONDS
from tests.support.patience import wait_until
from tests.vm import disks, faults, sessions
from tests.vm.daemon import Daemon
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"
CLOSED = "the target closed the connection"


@contextmanager
def written_in_another_namespace(disk: Path) -> Iterator[Callable[[], None]]:
    """Mount and write where this process has no mount; the call then reads all of it back."""
    script = f"""
        mount --make-rprivate / && mount {disk} /mnt && sync -f /mnt &&
        head -c 4M /dev/urandom >/mnt/file && sha256sum </mnt/file && read word &&
        sync -f /mnt && umount /mnt && blockdev --flushbufs {disk} &&
        mount {disk} /mnt && sha256sum </mnt/file && umount /mnt
    """
    command = ["unshare", "--mount", "sh", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as shell:
        assert shell.stdin and shell.stdout
        written = shell.stdout.readline()

        def read_back() -> None:
            found, _ = shell.communicate("go on\n", timeout=120)
            assert found == written and len(written) > 60

        yield read_back


def test_sessions_that_are_down_stay_while_their_disks_are_in_use(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """One disk is opened exclusively, one is mounted in another mount namespace."""
    images = {name: disks.make_file(tmp_path / name[-4:], 64) for name in (RED, GREEN)}
    for name, image in images.items():
        tgtd.add_target(name, {1: image})
    daemon.configure("ConnFailTimeout=0", f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    numbers = daemon.wait_for_bindings(RED, GREEN)
    red, green = (daemon.link(*numbers[name], 1) for name in (RED, GREEN))
    daemon.wait_for_links(red, green)
    disks.make_file_system(green)
    taken = os.open(red, os.O_RDWR | os.O_EXCL)
    with written_in_another_namespace(green.resolve()) as read_back:
        tgtd.stop()
        daemon.wait_for_line(RED, CLOSED)
        daemon.wait_for_line(GREEN, CLOSED)
        assert daemon.stop(signal.SIGINT) == 3
        assert f"is open in {Path('/proc/self/comm').read_text().strip()}" in (
            daemon.wait_for_line(RED, "in use")
        )
        assert "is mounted on /mnt" in daemon.wait_for_line(GREEN, "in use")
        assert sessions.target_names() == sorted((RED, GREEN))
        back = Tgtd(tgtd.address)
        try:
            for name, image in images.items():
                back.add_target(name, {1: image})
            daemon.start()
            read_back()
            os.write(taken, bytes(4096))
            os.fsync(taken)
            os.close(taken)
            assert daemon.stop(signal.SIGINT) == 0
        finally:
            back.stop()
    kernel = disks.run("dmesg")
    assert "lost" not in kernel and "aborted journal" not in kernel.lower(), kernel[-2000:]


def test_sigint_does_not_wait_for_a_cd_whose_target_is_gone(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """To open a CD's node sends commands, which wait for ever with ConnFailTimeout=0."""
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "red", 16)})
    tgtd.add_lun(RED, 2, disks.make_file(tmp_path / "cd", 4), kind="cd")
    daemon.configure("ConnFailTimeout=0", f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1), daemon.link(0, 0, 2, "cd"))
    disks.run("udevadm", "settle", "--timeout=60")
    tgtd.stop()
    assert daemon.stop(signal.SIGINT) == 0
    assert sessions.session_ids() == []


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A file system on a disk that can be made to hang, by ``dmsetup suspend slow``."""
    disks.run("modprobe", "-a", "loop", "dm_mod")
    image = disks.make_file(tmp_path / "slow-image", 64)
    loop = disks.run("losetup", "--show", "-f", image).strip()
    disks.run("dmsetup", "create", "slow", "--table", f"0 {64 << 11} linear {loop} 0")
    disks.run("udevadm", "settle", "--timeout=60")
    disks.make_file_system(Path("/dev/mapper/slow"))
    root = tmp_path / "slow"
    try:
        with disks.mounted(Path("/dev/mapper/slow"), root):
            yield root
    finally:
        disks.run("dmsetup", "resume", "slow")
        disks.run("udevadm", "settle", "--timeout=60")
        disks.run("dmsetup", "remove", "--retry", "slow")
        disks.run("losetup", "-d", loop)


def test_bindings_on_a_disk_that_hangs_hold_up_nothing(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path, slow: Path
) -> None:
    """A session that breaks meanwhile is revived: it may be the one with that disk."""
    daemon.bindings = slow / "bindings"
    images = {name: disks.make_file(tmp_path / name[-4:], 16) for name in (RED, GREEN)}
    tgtd.add_target(RED, {1: images[RED]})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_bindings(RED)
    daemon.wait_for_links(daemon.link(0, 0, 1))
    disks.run("dmsetup", "suspend", "--noflush", "--nolockfs", "slow")
    try:
        tgtd.add_target(GREEN, {1: images[GREEN]})
        daemon.send(signal.SIGHUP)
        # The name is there although the write of its number hangs.
        daemon.wait_for_links(daemon.link(0, 1, 1))
        break_and_wait(daemon)
        daemon.wait_for_line("bindings", f"no answer within {SECONDS:.0f} seconds")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_line("SIGHUP")
        assert daemon.stop() == 0
        assert "SUSPENDED" in disks.run("dmsetup", "info", "slow"), "the disk no longer hangs"
    finally:
        disks.run("dmsetup", "resume", "slow")
    daemon.start()
    assert daemon.wait_for_bindings(RED, GREEN)[GREEN] == (0, 1)


def break_and_wait(daemon: Daemon) -> None:
    """Break the connection to RED, and wait until the session is up again."""
    faults.reset(sessions.session_of(RED))
    wait_until(
        lambda: len(daemon.lines_about(RED, "session is up")) > 1,
        lambda: f"the session is not revived:\n{daemon.log()}",
    )


LOOKING = (
    "openat|read|pread64|newfstatat|fstat|fstatfs|lseek|getdents64|readlink|readlinkat|access|"
    "faccessat2|close"
)
CANNOT_WAIT = (
    # Files that the daemon's own process uses: where, by which calls, and why none waits.
    ("/(sys|run)?$", "openat|newfstatat|close", "the way to /sys and /run, in memory since boot"),
    ("/sys/", f"{LOOKING}|fcntl|ioctl", "the kernel answers from memory"),
    ("/sys/devices/.*/uevent", "write", "makes an event, and asks no device"),
    ("/proc/", f"{LOOKING}|write|ioctl|fcntl", "the kernel answers from memory"),
    ("/run/", ".*", "in memory: pid file, status, links, log of this test, udev's database"),
    (
        "/dev(/[a-z0-9/]*)?$",
        "newfstatat|lstat|readlink|[gs]etxattr",
        "devtmpfs, in memory: no device is opened",
    ),
    ("/dev/null$", ".*", "no device at all"),
    ("(socket|pipe|anon_inode|[A-Z]+[A-Za-z0-9-]*):", ".*", "sockets and pipes: none blocks"),
)
_CALL = re.compile(r"^(?:\d+ +)?(?:[\d:.]+ )?(\w+)\((.*)$")
_PATHS = re.compile(r'"(/[^"]*)"|<([^<>]*(?:<[^<>]*>)?[^<>]*)>')


def paths_of(line: str) -> tuple[str, set[str]]:
    """Return the name of a system call, and the paths and sockets that its line mentions."""
    call = _CALL.match(line)
    if call is None:
        return "", set()
    arguments = call[2].replace("AT_FDCWD</>", "")
    if call[1] in ("readlink", "readlinkat"):  # what was read is no path that is touched
        arguments = arguments.partition('", ')[0] + '"'
    elif call[1] == "symlinkat":  # nor is what was written
        arguments = arguments.partition('", ')[2]
    elif call[1] in ("write", "read", "sendto", "recvfrom", "sendmsg", "recvmsg", "pread64"):
        arguments = arguments.partition(", ")[0]
    return call[1], {a or b for a, b in _PATHS.findall(arguments)} - {""}


def test_every_call_of_the_daemons_own_process_that_touches_files_cannot_wait(
    tgtd: Tgtd, tmp_path: Path
) -> None:
    """From its readiness to its end, with a reload, an outage, new bindings and SIGINT."""
    directory = Path("/run/iscsid-traced")
    directory.mkdir()
    daemon = Daemon(directory)
    daemon.bindings, daemon.configuration = tmp_path / "bindings", tmp_path / "iscsi.conf"
    images = {name: disks.make_file(tmp_path / name[-4:], 16) for name in (RED, GREEN)}
    tgtd.add_target(RED, {1: images[RED]})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    trace = tmp_path / "trace"
    daemon.start()
    try:
        daemon.wait_until_ready()
        tracer = subprocess.Popen(
            ["strace", "-p", str(daemon.pid), "-y", "-o", str(trace), "-e", "trace=%file,%desc"],
            stderr=subprocess.DEVNULL,
        )
        wait_until(trace.exists, "strace does not start")
        daemon.wait_for_links(daemon.link(0, 0, 1))
        tgtd.add_target(GREEN, {1: images[GREEN]})
        daemon.send(signal.SIGHUP)
        daemon.wait_for_bindings(RED, GREEN)
        daemon.wait_for_links(daemon.link(0, 1, 1))
        break_and_wait(daemon)
        assert daemon.stop(signal.SIGINT) == 0
        tracer.wait(timeout=60)
    finally:
        daemon.end()
    lines = trace.read_text(errors="replace").splitlines()
    assert any("status.json" in line for line in lines), "nothing was traced"
    strange = set()
    for line in lines:
        call, paths = paths_of(line)
        for path in paths:
            if not any(
                re.match(place, path) and re.fullmatch(calls, call)
                for place, calls, _why in CANNOT_WAIT
            ):
                strange.add(f"{call} {path}")
    assert not strange, "\n".join(sorted(strange))
