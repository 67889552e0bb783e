"""What ps shows: read back from /proc, for real processes."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iscsid.workers import process_title
from iscsid.workers.process_title import find_title_buffer, set_title
from tests.support.supervisor_harness import forked, until

LONG = "iscsid: login iqn.2024-01.org.example:" + "x" * 100_000


@contextmanager
def process_with(text: str, then: str = "/dev/null") -> Iterator[int]:
    """A process that has set its title and waits."""

    def life() -> None:
        set_title(text, find_title_buffer())
        Path(then).write_text(f"{os.environ.get('PATH')}\n{_getenv('PATH')}")
        time.sleep(60)

    with forked(life) as pid:
        until(lambda: Path(f"/proc/{pid}/comm").read_text().startswith("iscsid"))
        until(lambda: b"iscsid" in command_line(pid))
        yield pid


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")


def _getenv(name: str) -> str:
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    value = getenv(name.encode())
    return bytes(value).decode() if value is not None else ""


def test_the_title_names_the_work_and_the_target() -> None:
    text = "iscsid: login iqn.2024-01.org.example:disks via 192.0.2.1:3260"
    with process_with(text) as pid:
        assert command_line(pid).decode() == text
        assert Path(f"/proc/{pid}/comm").read_text() == "iscsid: login i\n"


def test_a_short_title_leaves_nothing_of_the_old_command_line() -> None:
    with process_with("iscsid") as pid:
        assert command_line(pid) == b"iscsid"


def test_a_title_that_is_too_long_is_cut_and_overruns_nothing() -> None:
    with process_with(LONG) as pid:
        shown = command_line(pid).decode()
        assert LONG.startswith(shown)
        assert len(shown) >= len("iscsid: login iqn.")


def test_the_environment_is_still_there(tmp_path: Path) -> None:
    """Its strings lie where the title runs on to; the resolver reads some of them."""
    note = tmp_path / "environment"
    with process_with(LONG, str(note)):
        until(lambda: note.exists() and note.read_text().count("\n") == 1)
        assert note.read_text().split("\n") == [os.environ["PATH"]] * 2


@pytest.mark.parametrize("stat", ["", "1 (python) S", "1 (a) b) S 1 x", None])
def test_where_the_place_cannot_be_found_the_title_stays(
    stat: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("/proc/self/cmdline").read_bytes()
    name = Path("/proc/self/comm").read_text()
    if stat is not None:
        (tmp_path / "stat").write_text(stat)
    monkeypatch.setattr(process_title, "_STAT", tmp_path / "stat")
    set_title(name.strip(), find_title_buffer())
    assert Path("/proc/self/cmdline").read_bytes() == before
