"""The lock beside the pid file keeps a second daemon out, and nothing else does."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from iscsid.errors import AlreadyRunning
from iscsid.process import pidfile as module
from iscsid.process.pidfile import PidFile, PidFileUnusable
from tests.support.patience import PATIENCE, wait_until
from tests.support.programs import command, environment, run, started


class Files:
    """Makes pid files at one path, and lets go of them after the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path.with_name(f"{path.name}.lock")
        self.stack = ExitStack()

    def __call__(self) -> PidFile:
        pidfile = PidFile(str(self.path))
        self.stack.callback(pidfile.close)
        return pidfile


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path / "iscsid.pid")
    with files.stack:
        yield files


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)


HOLD = """
    import sys, time
    from iscsid.process.pidfile import PidFile
    pidfile = PidFile(sys.argv[1])
    pidfile.lock()
    if sys.argv[2] == "named":
        pidfile.acquire()
    print("locked", flush=True)
    time.sleep(60)
    """


@pytest.fixture
def holder(files: Files) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the pid file and is named in it."""
    with hold(files.path, "named") as process:
        yield process


@contextmanager
def hold(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    with started(command(HOLD, str(path), how), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


def test_the_file_holds_the_pid_of_the_daemon(files: Files) -> None:
    """FreeBSD: "a file where main process PID will be stored"."""
    with files() as pidfile:
        assert files.path.read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE(files.path.stat().st_mode) == 0o644
        assert pidfile.is_locked() and pidfile.i_am_locking()
    assert not files.path.exists()


@pytest.mark.parametrize("umask", [0o077, 0])
@pytest.mark.parametrize("mode", [None, 0o600, 0o666])
def test_its_mode_is_the_same_whatever_was_there(
    files: Files, umask: int, mode: int | None
) -> None:
    if mode is not None:
        files.path.touch()
        files.path.chmod(mode)
    before = os.umask(umask)
    try:
        files().acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE(files.path.stat().st_mode) == 0o644
    assert stat.S_IMODE(files.lock.stat().st_mode) == 0o600


def test_it_names_its_daemon_as_soon_as_it_is_there(files: Files) -> None:
    pidfile = files()
    pidfile.lock()
    assert not files.path.exists() and not pidfile.i_am_locking()
    pidfile.acquire()
    assert pidfile.is_locked() and pidfile.i_am_locking()
    assert sorted(os.listdir(files.path.parent)) == ["iscsid.pid", "iscsid.pid.lock"]
    pidfile.release()
    assert os.listdir(files.path.parent) == []


# --- locks of others ----------------------------------------------------------------------------


@contextmanager
def locked_by_another(path: Path, flags: int, lock: int, *, names_itself: bool) -> Iterator[int]:
    """Let another process open and lock a file, and perhaps write its pid into it."""
    script = """
        import fcntl, os, sys, time
        fd = os.open(sys.argv[1], int(sys.argv[2]))
        fcntl.flock(fd, int(sys.argv[3]))
        if int(sys.argv[4]):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\\n" % os.getpid(), 0)
        print("locked", flush=True)
        time.sleep(60)
        """
    arguments = (str(path), str(flags), str(lock), str(int(names_itself)))
    with started(command(script, *arguments), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process.pid


@pytest.mark.parametrize("lock", [fcntl.LOCK_SH, fcntl.LOCK_EX])
@pytest.mark.parametrize("content", ["99999999\n", f"{os.getppid()}\n", ""])
def test_a_lock_of_a_process_that_can_only_read_it_keeps_no_daemon_from_starting(
    files: Files, lock: int, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "locks PIDFILE.lock, which no other user can open": any user may lock what he can read."""
    monkeypatch.setattr(module, "PATIENCE", 0.2 if content == "" else PATIENCE)
    files.path.write_text(content)
    with locked_by_another(files.path, os.O_RDONLY, lock, names_itself=False):
        assert not PidFile(str(files.path)).is_locked() or content == f"{os.getppid()}\n"
        with files() as pidfile:
            assert pidfile.is_locked()
            assert files.path.read_text() == f"{os.getpid()}\n"


def test_a_daemon_of_a_version_without_the_second_file_is_not_joined(files: Files) -> None:
    """While a package is upgraded, the daemon before it may still run."""
    files.path.write_text("")
    with locked_by_another(files.path, os.O_RDWR, fcntl.LOCK_EX, names_itself=True) as older:
        with pytest.raises(AlreadyRunning, match=f"pid {older} "):
            files().lock()
        assert files.path.read_text() == f"{older}\n"
    assert not files.lock.exists()
    with files():
        pass


def test_a_daemon_of_such_a_version_that_is_about_to_write_its_pid_is_waited_for(
    files: Files,
) -> None:
    out = run(
        """
        import fcntl, os, sys, time
        from iscsid.errors import AlreadyRunning
        from iscsid.process.pidfile import PidFile
        fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if (child := os.fork()) == 0:
            os.close(fd)
            try:
                PidFile(sys.argv[1]).lock()
            except AlreadyRunning as error:
                print(str(error).replace(str(os.getppid()), "PID"), end="", flush=True)
                os._exit(0)
            os._exit(1)
        time.sleep(0.2)
        os.pwrite(fd, b"%d\\n" % os.getpid(), 0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        str(files.path),
    )
    assert out == f"iscsid is already running, pid PID (pid file {files.path})"


def test_a_daemon_of_such_a_version_does_not_start_beside_this_one(files: Files) -> None:
    with files():
        with files.path.open("r+") as older, pytest.raises(BlockingIOError):
            fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("kind", ["link", "directory", "readable"])
def test_a_lock_that_others_could_have_made_is_refused(
    files: Files, kind: str, tmp_path: Path
) -> None:
    match kind:
        case "link":
            files.lock.symlink_to(tmp_path / "victim")
        case "directory":
            files.lock.mkdir(mode=0o700)
        case "readable":
            files.lock.touch(mode=0o644)
    with pytest.raises(PidFileUnusable, match=f"{files.lock}"):
        files().lock()
    assert not (tmp_path / "victim").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lock_of_another_user_is_refused(files: Files) -> None:
    files.lock.touch(mode=0o600)
    os.chown(files.lock, 65534, 65534)
    with pytest.raises(PidFileUnusable, match="another user's; remove it"):
        files().lock()


def test_a_running_daemon_is_named(files: Files, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyRunning) as refused:
        files().lock()
    assert str(refused.value) == (
        f"iscsid is already running, pid {holder.pid} (pid file {files.path})"
    )
    assert files.path.read_text() == f"{holder.pid}\n"


def test_a_daemon_that_was_killed_is_no_obstacle(
    files: Files, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    assert files.path.read_text() == f"{holder.pid}\n"
    with files():
        assert files.path.read_text() == f"{os.getpid()}\n"


def test_a_daemon_that_has_not_named_itself_yet_is_waited_for(files: Files) -> None:
    """Two started at once: the second names the first, though the first was not ready yet."""
    out = run(
        """
        import os, sys, time
        from iscsid.errors import AlreadyRunning
        from iscsid.process.pidfile import PidFile
        first = PidFile(sys.argv[1])
        first.lock()
        if (child := os.fork()) == 0:
            first.close()
            try:
                PidFile(sys.argv[1]).lock()
            except AlreadyRunning as error:
                print(str(error).replace(str(os.getppid()), "PID"), end="", flush=True)
                os._exit(0)
            os._exit(1)
        time.sleep(0.2)
        first.acquire()
        assert os.waitpid(child, 0)[1] == 0
        first.release()
        """,
        str(files.path),
    )
    assert out == f"iscsid is already running, pid PID (pid file {files.path})"


@pytest.mark.usefixtures("impatient")
def test_a_lock_of_an_unknown_process(files: Files) -> None:
    with hold(files.path, "silent"):
        with pytest.raises(AlreadyRunning, match="names no process; 'fuser "):
            files().lock()


def test_a_glance_at_the_lock_does_not_keep_a_daemon_from_starting(files: Files) -> None:
    """The init script looks whether a daemon runs by trying the lock for a moment."""
    files.path.write_text("")
    glance = os.open(files.path, os.O_RDONLY)
    fcntl.flock(glance, fcntl.LOCK_SH)
    looking = subprocess.Popen(
        command("import os, sys, time; time.sleep(0.2)"), pass_fds=[glance], env=environment()
    )
    os.close(glance)
    with files() as pidfile:
        assert pidfile.i_am_locking()
    assert looking.wait() == 0


@pytest.mark.parametrize(
    "content", [f"{os.getppid()}\n", "1\n", "", "99999999999999999999\n", "\0\0\0\0\0", " 7 \n\n"]
)
def test_a_number_without_a_lock_is_no_obstacle(files: Files, content: str) -> None:
    """ "A pid file left by a daemon that was killed is replaced.": another process may have its
    number by now."""
    files.path.write_text(content)
    with files():
        assert files.path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "content",
    ["not a pid\n", "-1\n", "12 34\n", "12 iscsid\n", "\xff", "7" * 65, "root:x:0:0:\n" * 50],
)
def test_a_file_that_is_no_pid_file_is_not_overwritten(files: Files, content: str) -> None:
    """ "A file with other contents is refused and not changed" """
    files.path.write_text(content, "latin-1")
    with pytest.raises(PidFileUnusable, match="something other than a process id, .*; remove it"):
        files().lock()
    assert files.path.read_text("latin-1") == content


def test_a_symbolic_link_is_refused_and_not_followed(files: Files, tmp_path: Path) -> None:
    """ "a symbolic link is not followed" """
    victim = tmp_path / "victim"
    victim.write_text("precious")
    files.path.symlink_to(victim)
    with pytest.raises(PidFileUnusable) as refused:
        files().lock()
    assert str(refused.value) == (
        f"the pid file {files.path} is a symbolic link, which is not followed; "
        "remove it, or name another with --pidfile"
    )
    assert victim.read_text() == "precious"
    assert files.path.is_symlink()


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket"])
def test_what_is_no_file_is_refused_without_waiting(files: Files, kind: str) -> None:
    match kind:
        case "directory":
            files.path.mkdir()
        case "pipe":
            os.mkfifo(files.path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(files.path))
    with pytest.raises(PidFileUnusable, match=str(files.path)):
        files().lock()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    pidfile = PidFile(str(tmp_path / "missing" / "iscsid.pid"))
    with pytest.raises(PidFileUnusable, match="No such file or directory; name another"):
        pidfile.lock()


def test_a_full_disk_is_reported_and_leaves_no_file(files: Files) -> None:
    files.path.symlink_to("/dev/full")
    with pytest.raises(PidFileUnusable):
        files().lock()
    out = run(
        """
        import resource, signal, sys
        from iscsid.process.pidfile import PidFile, PidFileUnusable
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        try:
            PidFile(sys.argv[1]).acquire()
        except PidFileUnusable as error:
            print(error)
        """,
        f"{files.path}2",
    )
    assert out == f"pid file {files.path}2: File too large; name another with --pidfile\n"
    assert os.listdir(files.path.parent) == ["iscsid.pid"]


def test_only_the_process_it_names_removes_it(files: Files) -> None:
    """A worker, or a process on the way into the background, leaves it alone."""
    with files() as pidfile:
        if (child := os.fork()) == 0:
            pidfile.release()
            os._exit(0 if files.path.exists() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert pidfile.is_locked()


def test_a_file_that_took_its_place_is_not_removed(files: Files) -> None:
    pidfile = files()
    pidfile.acquire()
    files.path.unlink()
    files.path.write_text("another's\n")
    pidfile.release()
    assert files.path.read_text() == "another's\n"


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(
    files: Files, holder: subprocess.Popen[str]
) -> None:
    """The last owner may remove the file after we have opened it and before we lock it."""
    for each in (files.path, files.lock):
        each.rename(f"{each}.old")
    with files():
        with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
            files().lock()


def test_a_worker_that_survives_the_daemon_does_not_hold_the_lock(files: Files) -> None:
    run(
        """
        import os, signal, sys
        from iscsid.process.pidfile import PidFile
        reader, writer = os.pipe()
        if (daemon := os.fork()) == 0:
            pidfile = PidFile(sys.argv[1])
            pidfile.acquire()
            if os.fork() == 0:
                pidfile.close()
                os.write(writer, b"x")
                signal.pause()
            os.write(writer, b"x")
            signal.pause()
        os.read(reader, 1), os.read(reader, 1)
        worker = int(open(f"/proc/{daemon}/task/{daemon}/children").read())
        os.kill(daemon, signal.SIGKILL)
        os.waitpid(daemon, 0)
        PidFile(sys.argv[1]).lock()
        os.kill(worker, signal.SIGKILL)
        """,
        str(files.path),
    )


def test_of_many_started_at_once_one_runs(files: Files) -> None:
    script = """
        import sys, time
        from iscsid.errors import AlreadyRunning
        from iscsid.process.pidfile import PidFile
        try:
            with PidFile(sys.argv[1]):
                print("runs", flush=True)
                sys.stdin.read()
        except AlreadyRunning:
            print("refused", flush=True)
        """
    processes = [
        subprocess.Popen(
            command(script, str(files.path)),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    printed = sorted(process.stdout.readline() for process in processes if process.stdout)
    for process in processes:
        process.communicate()
    assert printed == ["refused\n"] * 3 + ["runs\n"]
    wait_until(lambda: not files.path.exists(), "the one that ran removes its file")


@pytest.mark.parametrize("gone", [{"path"}, {"lock"}, {"path", "lock"}])
def test_files_that_are_gone_are_made_again(files: Files, gone: set[str]) -> None:
    """A daemon whose lock alone was removed took its own pid file for that of another daemon."""
    pidfile = files()
    pidfile.acquire()
    for name in gone:
        getattr(files, name).unlink()
    assert pidfile.restore()
    assert not pidfile.restore()
    assert pidfile.read_pid() == os.getpid()
    with pytest.raises(AlreadyRunning):
        files().lock()
    pidfile.release()
    assert not files.path.exists() and not files.lock.exists()
