"""iscsi-ls prints tables and a tree that a person likes to read, and what is wrong."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from iscsid.status.listing import (
    Display,
    format_disks,
    format_sessions,
    format_tree,
    troubles,
)
from iscsid.status.model import BlockDevice, LunStatus, SessionStatus
from tests.support.statuses import NOW, STATUS, UP

ESCAPE = re.compile("\x1b\\[[0-9]+m")
ROOT = BlockDevice(name="vg-root", size=30 << 20, mounted_on=("/srv",))
SDA = BlockDevice(
    name="sda",
    size=64 << 20,
    children=(
        BlockDevice(name="sda1", size=32 << 20, mounted_on=("/data",)),
        BlockDevice(name="sda2", size=31 << 20, children=(ROOT,)),
    ),
)
DISPLAY = Display(disks={"/dev/sda": SDA})


def wrong(*sessions: SessionStatus) -> list[str]:
    return list(troubles(replace(STATUS, sessions=list(sessions), discoveries=[]), DISPLAY, NOW))


def test_each_disk_and_each_session_without_one_has_a_line() -> None:
    assert list(format_disks(STATUS, DISPLAY)) == [
        "DISK      SIZE  NAME               STATE    MOUNTED ON  MODEL             TARGET"
        "                         WWID",
        "sda   64.0 MiB  bus0/target0/lun1  up       /data,/srv  IET VIRTUAL-DISK"
        "  iqn.2003-02.org.example:red    naa.60000000000000000e00000000010001",
        "-               bus0/target0/lun5  up                                   "
        "  iqn.2003-02.org.example:red",
        "-               bus0/target12      waiting                              "
        "  iqn.2003-02.org.example:green",
    ]


def test_a_tape_is_shown_with_its_drive() -> None:
    tape = LunStatus(lun=1, links={"generic": "/dev/sg3", "mtn": "/dev/nst0", "mt": "/dev/st0"})
    status = replace(STATUS, sessions=[replace(UP, luns=[tape])])
    assert list(format_disks(status, DISPLAY))[1].startswith("st0")


def test_sessions_are_shown_with_their_age_and_portal() -> None:
    assert list(format_sessions(STATUS, DISPLAY, NOW)) == [
        "BUS  TGT  STATE       FOR  LUNS  PORTAL              TARGET",
        "  0    0  up       10 min     2  192.0.2.1:3260      iqn.2003-02.org.example:red",
        "  0   12  waiting     1 d     0  [2001:db8::1]:3261  iqn.2003-02.org.example:green",
    ]


@pytest.mark.parametrize("width", range(60, 140, 7))
def test_tables_fit_the_terminal_and_keep_the_names(width: int) -> None:
    for lines in (
        list(format_disks(STATUS, replace(DISPLAY, width=width))),
        list(format_sessions(STATUS, replace(DISPLAY, width=width), NOW)),
    ):
        assert max(map(len, lines)) <= width
    assert "bus0/target0/lun1" in "".join(format_disks(STATUS, replace(DISPLAY, width=width)))


@pytest.mark.parametrize("unicode", [True, False])
def test_the_tree_shows_what_is_built_on_each_disk(unicode: bool) -> None:
    lines = [
        "bus0/target0  up  192.0.2.1:3260  iqn.2003-02.org.example:red",
        "├─lun1  /dev/sda  64.0 MiB  IET VIRTUAL-DISK",
        "│ ├─sda1  32.0 MiB  on /data",
        "│ └─sda2  31.0 MiB",
        "│   └─vg-root  30.0 MiB  on /srv",
        "└─lun5  -",
        "bus0/target12  waiting  [2001:db8::1]:3261  iqn.2003-02.org.example:green",
    ]
    if not unicode:
        ascii = str.maketrans({"├": "|", "└": "`", "│": "|", "─": "-"})
        lines = [line.translate(ascii) for line in lines]
    assert list(format_tree(STATUS, replace(DISPLAY, unicode=unicode))) == lines


def test_each_trouble_has_a_line() -> None:
    assert list(troubles(STATUS, DISPLAY, NOW)) == [
        "discovery at 192.0.2.9:3260: no route to host (next attempt in 1 min)",
        "bus0/target0 via 192.0.2.1:3260: LUN 5 has been exchanged and has no links",
        "bus0/target12 via [2001:db8::1]:3261: connecting: connection refused"
        " (next attempt in 30 s)",
    ]


def test_an_error_of_the_past_is_no_trouble_of_a_session_that_is_up() -> None:
    assert wrong(replace(UP, last_error="connection lost", luns=[])) == []


def test_a_session_that_is_kept_and_a_unit_that_is_gone_are_troubles() -> None:
    kept = replace(
        UP,
        kept_because=["/dev/sda1 is mounted on /data"],
        luns=[replace(UP.luns[0], gone=True)],
    )
    first, second = wrong(kept)
    assert first.endswith("no longer wanted, but in use: /dev/sda1 is mounted on /data")
    assert second.endswith("LUN 1 is gone at the target, but in use and kept")


def test_without_sessions_there_is_one_line() -> None:
    empty = replace(STATUS, sessions=[], discoveries=[])
    for lines in (
        format_disks(empty, DISPLAY),
        format_sessions(empty, DISPLAY, NOW),
        format_tree(empty, DISPLAY),
    ):
        assert list(lines) == ["no sessions"]


def test_a_session_of_another_program_has_dashes_for_numbers() -> None:
    foreign = replace(UP, bus=None, target=None, since=None, luns=[])
    lines = list(format_sessions(replace(STATUS, sessions=[foreign]), DISPLAY, NOW))
    assert lines[1].split()[:3] == ["-", "-", "up"]


def test_colours_change_nothing_but_the_colour() -> None:
    coloured = replace(DISPLAY, colour=True)
    for plain, painted in (
        (format_disks(STATUS, DISPLAY), format_disks(STATUS, coloured)),
        (format_sessions(STATUS, DISPLAY, NOW), format_sessions(STATUS, coloured, NOW)),
        (format_tree(STATUS, DISPLAY), format_tree(STATUS, coloured)),
        (troubles(STATUS, DISPLAY, NOW), troubles(STATUS, coloured, NOW)),
    ):
        text = "\n".join(painted)
        assert "\x1b" in text
        assert ESCAPE.sub("", text) == "\n".join(plain)
    assert "\x1b[32mup     \x1b[0m" in list(format_disks(STATUS, coloured))[1]
