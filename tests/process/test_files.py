"""A file is read whole and replaced so that at every moment it is the old one or the new one."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
from pathlib import Path

import pytest

from iscsid.process import files
from iscsid.process.files import Contents, Replacement
from tests.support.kill_at_step import FailingCalls, killed_at_step, run_in_child

OLD, NEW = b"old\n" * 1000, b"new\n" * 2000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bindings"
    path.write_bytes(OLD)
    return path


def replace(path: Path, octets: bytes = NEW) -> None:
    with Replacement.of(str(path)) as replacement:
        replacement.write(octets)


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


# --- reading ------------------------------------------------------------------------------------


def test_file_is_read_with_its_stamp(file: Path) -> None:
    contents = files.read(str(file), 1 << 20)
    assert contents.octets == OLD and contents.stamp is not None
    assert files.read(str(file), 1 << 20) == contents
    file.write_bytes(OLD + b"x")
    assert files.read(str(file), 1 << 20).stamp != contents.stamp


def test_no_more_than_the_limit_is_read(file: Path) -> None:
    assert files.read(str(file), 10).octets == OLD[:10]


def test_missing_file_is_no_error(tmp_path: Path) -> None:
    assert files.read(str(tmp_path / "none"), 10) == Contents()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_symlink(path: Path) -> None:
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "not a regular file"),
        (make_fifo, "not a regular file"),
        (make_symlink, "symbolic link; name the file itself"),
    ],
)
def test_what_is_no_regular_file_is_neither_read_nor_replaced(
    tmp_path: Path, make: object, why: str
) -> None:
    path = tmp_path / "bindings"
    assert callable(make)
    make(path)
    with pytest.raises(OSError, match=why):
        files.read(str(path), 10)
    before = os.lstat(path)
    with pytest.raises(OSError, match="not a regular file"):
        replace(path)
    assert os.lstat(path) == before


# --- replacing ----------------------------------------------------------------------------------


def test_new_file_is_readable_by_all_and_writable_by_its_owner(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace(tmp_path / "a" / "b" / "bindings")
    finally:
        os.umask(before)
    path = tmp_path / "a" / "b" / "bindings"
    assert path.read_bytes() == NEW and stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_mode_is_kept(file: Path, mode: int) -> None:
    file.chmod(mode)
    replace(file)
    assert file.read_bytes() == NEW and stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_is_kept(file: Path) -> None:
    os.chown(file, 4711, 4712)
    replace(file)
    assert (file.stat().st_uid, file.stat().st_gid) == (4711, 4712)


def test_stamp_after_writing_is_that_of_the_file_as_read(file: Path) -> None:
    with Replacement.of(str(file)) as replacement:
        before = replacement.stamp()
        after = replacement.write(NEW)
    assert files.read(str(file), 10).stamp == after != before


def test_copy_keeps_the_old_octets_and_no_copy_is_overwritten(file: Path) -> None:
    for number, content in enumerate((OLD, NEW), start=1):
        with Replacement.of(str(file)) as replacement:
            assert replacement.keep_copy("damaged") == f"bindings.damaged-{number}"
            replacement.write(NEW)
        assert (file.parent / f"bindings.damaged-{number}").read_bytes() == content
    assert file.read_bytes() == NEW


def test_leftover_of_a_killed_life_is_no_obstacle(file: Path) -> None:
    (file.parent / ".bindings.new").write_bytes(b"half")
    replace(file)
    assert file.read_bytes() == NEW and ".bindings.new" not in names(file.parent)


def test_planted_link_in_the_place_of_the_new_file_is_not_followed(file: Path) -> None:
    victim = file.parent / "victim"
    victim.write_bytes(b"precious")
    (file.parent / ".bindings.new").symlink_to(victim)
    replace(file)
    assert victim.read_bytes() == b"precious" and file.read_bytes() == NEW


def test_planted_link_in_the_place_of_the_lock_is_refused(file: Path) -> None:
    (file.parent / ".bindings.lock").symlink_to(file.parent / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        replace(file)
    assert file.read_bytes() == OLD and "elsewhere" not in names(file.parent)


def test_second_writer_is_refused_while_the_first_holds_the_lock(file: Path) -> None:
    def second() -> None:
        with pytest.raises(BlockingIOError):
            replace(file)

    with Replacement.of(str(file)):
        assert run_in_child(second) == 0
    replace(file)
    assert file.read_bytes() == NEW


# --- accidents ----------------------------------------------------------------------------------


def test_killed_at_any_step_leaves_the_old_file_or_the_new_one(file: Path) -> None:
    step, seen = 1, set()
    while killed_at_step(step, lambda: replace(file)):
        assert file.read_bytes() in (OLD, NEW), step
        seen.add(file.read_bytes())
        file.write_bytes(OLD)
        replace(file, OLD)
        assert names(file.parent) == {"bindings", ".bindings.lock"}
        step += 1
    assert seen == {OLD, NEW} and step > 15 and file.read_bytes() == NEW


SYSTEM_CALLS: frozenset[object] = frozenset(
    {os.open, os.stat, os.unlink, os.write, os.fchown, os.fchmod, os.fsync, os.rename, fcntl.lockf}
)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EMFILE])
def test_failure_of_any_call_leaves_a_whole_file_and_no_litter(file: Path, code: int) -> None:
    failed: list[str] = []
    while True:
        file.write_bytes(OLD)
        error = OSError(code, os.strerror(code))
        with FailingCalls(len(failed) + 1, error, SYSTEM_CALLS) as calls:
            try:
                replace(file)
                is_new = True
            except OSError:
                is_new = "rename" in failed
        assert file.read_bytes() == (NEW if is_new else OLD), failed
        assert names(file.parent) <= {"bindings", ".bindings.lock"}, failed
        if not calls.failed:
            break
        failed.append(calls.failed)
    assert {"open", "write", "fsync", "rename", "fchmod", "lockf"} <= set(failed)


def test_file_that_may_not_grow_leaves_the_old_file(file: Path) -> None:
    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(OLD), len(OLD)))
        with pytest.raises(OSError, match="File too large"):
            replace(file)

    assert run_in_child(child) == 0
    assert file.read_bytes() == OLD and names(file.parent) == {"bindings", ".bindings.lock"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_directory_that_may_not_be_written_leaves_the_old_file(file: Path) -> None:
    for directory in (file.parent, *file.parent.parents[:2]):  # those of pytest
        directory.chmod(0o755)

    def child() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        assert files.read(str(file), 1 << 20).octets == OLD
        with pytest.raises(PermissionError):
            replace(file)

    assert run_in_child(child) == 0
    assert file.read_bytes() == OLD and names(file.parent) == {"bindings"}


# --- who else may write -------------------------------------------------------------------------


def test_file_that_only_we_may_change_is_no_risk(file: Path) -> None:
    file.parent.chmod(0o755)
    file.chmod(0o644)
    assert files.risk_of(str(file)) == ""


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_directory_that_others_may_write_to_is_a_risk(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    assert files.risk_of(str(file)) == f"{file.parent} may be changed by others (mode {mode:04o})"


def test_file_that_others_may_write_to_is_a_risk(file: Path) -> None:
    file.parent.chmod(0o755)
    file.chmod(0o666)
    assert files.risk_of(str(file)) == f"{file} may be changed by others (mode 0666)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_file_of_another_user_is_a_risk(file: Path) -> None:
    file.parent.chmod(0o755)
    os.chown(file, 4711, 0)
    assert files.risk_of(str(file)) == f"{file} belongs to user 4711, who may change it"
