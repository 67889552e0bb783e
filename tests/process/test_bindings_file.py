"""Reading and writing the bindings file ends in facts, whatever happens to the disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.bindings.allocation import Bindings
from iscsid.facts import BindingsNotRead, BindingsNotSaved, BindingsRead, BindingsSaved
from iscsid.process.bindings_file import BindingsFile
from iscsid.process.files import Replacement
from iscsid.protocol.names import IscsiName
from tests.support.kill_at_step import killed_at_step, run_in_child

A, B = (IscsiName(f"iqn.2001-04.com.example:{letter}") for letter in "ab")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "bindings"


def reopened(path: Path) -> BindingsFile:
    file = BindingsFile(str(path))
    assert isinstance(file.read(), BindingsRead)
    return file


def test_missing_file_reads_as_empty_and_is_made_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "var" / "iscsi" / "bindings"
    file = BindingsFile(str(path))
    assert file.read() == BindingsRead("")
    assert file.save("# new\n") == BindingsSaved()
    assert path.read_text() == "# new\n"
    assert file.save("# newer\n") == BindingsSaved()
    assert file.read() == BindingsRead("# newer\n")


def test_octets_in_any_encoding_survive(path: Path) -> None:
    path.write_bytes(b"# f\xfcr \xe2\x82\xac\n")
    file = BindingsFile(str(path))
    fact = file.read()
    assert isinstance(fact, BindingsRead)
    assert file.save(fact.text) == BindingsSaved()
    assert path.read_bytes() == b"# f\xfcr \xe2\x82\xac\n"


def test_junk_beyond_every_limit_is_read_in_part_and_taken_as_cut(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"0 0 iqn.2001-04.com.example:a\n")
        file.truncate(100 << 20)
    fact = BindingsFile(str(path)).read()
    assert isinstance(fact, BindingsRead) and len(fact.text) == 32 << 20
    bindings = Bindings.parse(fact.text, str(path))
    assert bindings.damaged and bindings.lookup(A) is not None
    assert bindings.assign(B).bus == 255, "what was cut off may have had any low number"


def test_file_edited_by_hand_is_read_again_instead_of_overwritten(path: Path) -> None:
    path.write_text("# first\n")
    file = reopened(path)
    path.write_text("# by hand\n")
    assert file.save("# ours\n") == BindingsRead("# by hand\n")
    assert path.read_text() == "# by hand\n"
    assert file.save("# both\n") == BindingsSaved()


def test_file_removed_by_hand_is_not_brought_back_unasked(path: Path) -> None:
    path.write_text("# first\n")
    file = reopened(path)
    path.unlink()
    assert file.save("# ours\n") == BindingsRead("")
    assert not path.exists()
    assert file.save("# ours\n") == BindingsSaved()


def test_file_that_appeared_meanwhile_is_not_overwritten(path: Path) -> None:
    file = reopened(path)
    path.write_text("# restored from a backup\n")
    assert file.save("# ours\n") == BindingsRead("# restored from a backup\n")


def test_damaged_file_is_kept_once_under_another_name(path: Path) -> None:
    path.write_bytes(b"\x00junk")
    file = reopened(path)
    assert file.save("# mended\n", keep_copy=True) == BindingsSaved()
    assert file.save("# more\n") == BindingsSaved()
    assert path.read_text() == "# more\n"
    assert (path.parent / "bindings.damaged-1").read_bytes() == b"\x00junk"


def test_failing_again_and_again_makes_one_copy(path: Path) -> None:
    path.write_bytes(b"\x00junk")
    file = reopened(path)
    (path.parent / ".bindings.new").mkdir()
    for _ in range(3):
        assert isinstance(file.save("# mended\n", keep_copy=True), BindingsNotSaved)
    assert [name for name in sorted(os.listdir(path.parent)) if "damaged" in name] == [
        "bindings.damaged-1"
    ]
    (path.parent / ".bindings.new").rmdir()
    assert file.save("# mended\n", keep_copy=True) == BindingsSaved()


@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink"])
def test_what_is_no_file_is_a_fact_that_names_it(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/hostname")
    file = BindingsFile(str(path))
    fact = file.read()
    assert isinstance(fact, BindingsNotRead) and str(path) in fact.reason
    assert isinstance(file.save("# ours\n"), BindingsNotSaved | BindingsNotRead)


def test_directory_that_is_a_file_is_a_fact(tmp_path: Path) -> None:
    (tmp_path / "iscsi").write_text("")
    file = BindingsFile(str(tmp_path / "iscsi" / "bindings"))
    assert isinstance(file.read(), BindingsNotRead)
    assert isinstance(file.save("# ours\n"), BindingsNotSaved)


def test_other_writer_is_named_as_the_reason(path: Path) -> None:
    def child() -> None:
        fact = reopened(path).save("# ours\n")
        assert isinstance(fact, BindingsNotSaved) and "another process" in fact.reason

    with Replacement.of(str(path)):
        assert run_in_child(child) == 0


def test_directory_open_to_others_is_remarked(path: Path) -> None:
    path.parent.chmod(0o777)
    fact = BindingsFile(str(path)).read()
    assert isinstance(fact, BindingsRead) and "mode 0777" in fact.remarks[0]


# --- a disk that is full, and a process that is killed --------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=755", "none", str(directory)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a tiny file system is not permitted here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_full_disk_leaves_the_old_file_and_saving_catches_up_later(tiny_disk: Path) -> None:
    path = tiny_disk / "bindings"
    file = reopened(path)
    assert file.save("# old\n") == BindingsSaved()
    ballast = tiny_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(1 << 20))
    fact = file.save("# new\n" * 1000)
    assert isinstance(fact, BindingsNotSaved) and "No space left on device" in fact.reason
    assert path.read_text() == "# old\n"
    ballast.unlink()
    assert file.save("# new\n" * 1000) == BindingsSaved()


def test_disk_turned_read_only_leaves_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "bindings"
    file = reopened(path)
    assert file.save("# old\n") == BindingsSaved()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    fact = file.save("# new\n")
    assert isinstance(fact, BindingsNotSaved) and "Read-only file system" in fact.reason
    subprocess.run(["mount", "-o", "remount,rw", str(tiny_disk)], check=True)
    assert path.read_text() == "# old\n"
    assert file.save("# new\n") == BindingsSaved()


def test_killed_at_any_step_no_number_ever_changes_hands(path: Path) -> None:
    """The daemon saves a newcomer's number, is killed on the way, and starts again."""
    old = Bindings()
    old.assign(A)
    new = Bindings.parse(old.format(), "bindings")
    new.assign(B)
    step = 1
    reopened(path).save(old.format())
    while killed_at_step(step, lambda: save_over(path, new.format())):
        fact = BindingsFile(str(path)).read()
        assert isinstance(fact, BindingsRead)
        found = Bindings.parse(fact.text, "bindings")
        assert not found.diagnostics and found.lookup(A) == new.lookup(A)
        assert found.lookup(B) in (None, new.lookup(B))
        for copy in path.parent.glob("bindings.damaged-*"):
            assert copy.read_text() == old.format()
            copy.unlink()
        path.write_text(old.format())
        step += 1
    assert step > 20


def save_over(path: Path, text: str) -> None:
    file = BindingsFile(str(path))
    file.read()
    assert file.save(text, keep_copy=True) == BindingsSaved()
