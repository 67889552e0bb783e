"""A bindings file may hold anything: its good lines count, and each other is named and kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import END, HEADER, LINES_LOST, MOST_KEPT, dropped_lines
from iscsid.protocol.names import IscsiName

A, B, C = (IscsiName(f"iqn.2001-04.com.example:disk{n}") for n in ("1", "10", "2"))
FILE = "bindings"


def parse(text: str | bytes) -> Bindings:
    return Bindings.parse(text, FILE)


def listed(bindings: Bindings) -> dict[tuple[str, str], Binding]:
    return {(entry.name, entry.path): entry.binding for entry in bindings}


def what(bindings: Bindings) -> list[str]:
    return [str(diagnostic) for diagnostic in bindings.diagnostics]


# --- damage -------------------------------------------------------------------------------------

GOOD = f"0 7 {C}\n"


@pytest.mark.parametrize(
    ("line", "diagnostic"),
    [
        (f"256 0 {A}", "numbers go from 0 to 255"),
        (f"0 999 {A}", "numbers go from 0 to 255"),
        (f"-1 0 {A}", "not of the form"),
        (f"+1 0 {A}", "not of the form"),
        (f"2147483648 0 {A}", "not of the form"),
        (f"0 010 {A}", "not of the form"),
        (f"0x1 0 {A}", "not of the form"),
        (f"\u0661 0 {A}", "not of the form"),
        (f"0\u00a01\u00a0{A}", "not of the form"),
        (f"0 1 {A}\x0b0 2 {B}", "not of the form|name"),
        ("0 1", "not of the form"),
        ("0 1 ", "not of the form"),
        (f"0 1 {A} 1 more", "not of the form"),
        (f"0 1 {A} # note", "not of the form"),
        (f"0 1 {A} #note", "no portal or portal group"),
        (f"0,1,{A}", "not of the form"),
        ("bus target TargetName", "not of the form"),
        ("0 1 ../../etc/passwd", ""),
        ("0 1 iqn.2001-04.com.example:a/../b", ""),
        ("0 1 iqn.2001-04.com.example:\x1b[2J", ""),
        (f"0 1 {'iqn.2001-04.com.example:' + 'x' * 200}", ""),
        ("0 1 iqn.2001-04.com.example:\udcff", ""),
        ("\x00\x00\x00\x00", "not of the form"),
        (f"0 1 {A}\x00", ""),
        ("x" * 2000, "longer than 1024 characters"),
        ("#" + "x" * 2000, "longer than 1024 characters"),
        (f"0 7 {A}", "line 1 gives this number to"),
        (f"0 8 {C}", "line 1 gives this target another number"),
    ],
)
def test_bad_line_is_reported_quarantined_and_harms_no_other(line: str, diagnostic: str) -> None:
    bindings = parse(f"{GOOD}{line}\n0 9 {B}\n")
    assert listed(bindings) == {(C, ""): Binding(0, 7), (B, ""): Binding(0, 9)}
    assert len(bindings.diagnostics) == 1 and bindings.damaged
    message = what(bindings)[0]
    assert message.startswith("bindings:2: ")
    assert any(part in message for part in diagnostic.split("|"))
    assert message.isprintable() and len(message) < 1024
    rewritten = parse(bindings.format())
    assert listed(rewritten) == listed(bindings)
    assert not rewritten.damaged, "a quarantined line is kept and no longer damage"
    assert all("quarantined" in line for line in what(rewritten)) and rewritten.diagnostics


@pytest.mark.parametrize("line", ["0 0 iqn.2001-04.com.ex/ample", f"0 0 {A} 1 more", "0 0 \x01"])
def test_number_of_a_bad_line_is_not_given_away_even_after_rewriting(line: str) -> None:
    bindings = parse(f"{line}\n")
    assert bindings.assign(B) == Binding(0, 1)
    assert parse(bindings.format()).assign(C) == Binding(0, 2)


def test_bad_line_reserves_no_number_that_a_good_line_has() -> None:
    bindings = parse(f"0 0 a/b\n0 0 {A}\n")
    assert bindings.lookup(A) == Binding(0, 0) and bindings.assign(B) == Binding(0, 1)


@pytest.mark.parametrize("text", [f"0 0 {A}\n0 0 {A}\n", f"\ufeff0 0 {A}\n", f"0 0 {A} \t\n"])
def test_harmless_oddity_is_no_damage(text: str) -> None:
    bindings = parse(text)
    assert listed(bindings) == {(A, ""): Binding(0, 0)} and not bindings.damaged


def test_several_carriage_returns_at_the_end_of_a_line_go_at_once() -> None:
    """Found by the fuzzer: each time the file was read and written, one of them went."""
    text = parse(f"# mine\r\r\r\n0 0 {A}\r\r\n{END}\n").format()
    assert "\r" not in text and parse(text).format() == text


def test_carriage_returns_are_remarked_once_and_are_no_part_of_a_name() -> None:
    bindings = parse(f"0 0 {A}\r\n0 1 {B}\r\n{END}\r\n")
    assert listed(bindings) == {(A, ""): Binding(0, 0), (B, ""): Binding(0, 1)}
    assert what(bindings) == [
        "bindings:1: ends with carriage return and newline; newline is enough"
    ]
    assert not bindings.damaged and "\r" not in bindings.format()


def test_upper_case_name_is_the_same_target() -> None:
    bindings = parse(f"0 3 {A.upper()}\n")
    assert bindings.assign(A) == Binding(0, 3)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"junk {n}\n" for n in range(300_000)),
        "x" * (1 << 22),
        "\x00" * (1 << 20),
        "\n" * 400_000,
        "".join(f"{n % 256} {n // 256 % 256} bad/name\n" for n in range(40_000)),
    ],
)
def test_junk_costs_a_bounded_number_of_complaints_and_lines(text: str) -> None:
    bindings = parse(text)
    assert len(bindings.diagnostics) <= 25 and bindings.damaged
    assert all(len(line) < 1024 for line in what(bindings))
    rewritten = bindings.format()
    assert len(rewritten) <= 4 << 20
    assert listed(parse(rewritten)) == {}


# --- a file cut short ---------------------------------------------------------------------------


def test_last_line_without_newline_is_never_believed() -> None:
    whole = f"0 0 {B}\n"
    cut = whole[: whole.index("0\n")]
    assert cut.endswith(A), "what is left of disk10 looks like disk1"
    bindings = parse(cut)
    assert bindings.lookup(A) is None and bindings.damaged
    assert "bindings:1: has no newline, so its end may be missing" in what(bindings)[0]


def test_newcomer_after_a_loss_never_gets_a_number_that_may_be_lost() -> None:
    bindings = Bindings()
    numbers = {name: bindings.assign(name) for name in (A, B, C)}
    text = bindings.format()
    for cut in range(1, len(text)):
        rest = parse(text[:cut])
        given = {name: rest.assign(name) for name in numbers}
        for name, number in given.items():
            assert number == numbers[name] or number not in numbers.values(), (cut, name)


def test_loss_is_remembered_until_a_person_removes_the_line() -> None:
    bindings = Bindings()
    bindings.assign(A)
    cut = parse(bindings.format()[:-5])
    assert cut.damaged and cut.assign(B) == Binding(255, 0)
    later = parse(cut.format())
    assert not later.damaged and "lines were lost here" in what(later)[0]
    assert later.assign(C) == Binding(255, 1)
    assert later.assign_path(A, "1") == Binding(0, 0)
    assert later.assign_path(A, "2") == Binding(254, 0)
    mended = parse(cut.format().replace(f"{LINES_LOST}\n", ""))
    assert not mended.diagnostics and mended.assign(C) == Binding(0, 1)


def test_empty_file_and_file_of_foreign_making_are_whole() -> None:
    for text in ("", f"0 0 {A}\n", "# bindings\n"):
        bindings = parse(text)
        assert not bindings.diagnostics and bindings.assign(B).bus == 0


def test_line_added_by_hand_behind_the_end_is_read_and_the_end_moves() -> None:
    bindings = Bindings()
    bindings.assign(A)
    edited = parse(f"{bindings.format()}0 5 {C}\n")
    assert edited.lookup(C) == Binding(0, 5) and not edited.diagnostics
    assert edited.format().endswith(f"{C}\n{END}\n")


# --- properties ---------------------------------------------------------------------------------

names = st.from_regex(r"iqn\.20[0-9]{2}-0[1-9]\.com\.example:[a-c]{1,3}", fullmatch=True).map(
    IscsiName
)


@given(st.sets(names, max_size=12), st.integers(0))
def test_file_cut_anywhere_never_gives_a_wrong_number(wanted: set[IscsiName], place: int) -> None:
    bindings = Bindings()
    for name in wanted:
        bindings.assign(name)
    octets = bindings.format().encode()
    rest = Bindings.parse(octets[: place % len(octets)], FILE)
    assert listed(rest).items() <= listed(bindings).items()


lines = st.one_of(
    st.builds("{} {} {}".format, st.integers(-1, 300), st.integers(-1, 300), names),
    st.text(max_size=30),
    st.sampled_from([END, HEADER[0], LINES_LOST, "#? 0 3 x/y", "# note", ""]),
)


@given(st.binary(max_size=300) | st.lists(lines).map(lambda some: "\n".join(some).encode()))
@settings(max_examples=300)
def test_any_octets_are_read_without_error_and_rewritten_to_a_whole_file(octets: bytes) -> None:
    bindings = Bindings.parse(octets, FILE)
    owners = {entry.binding: (entry.name, entry.path) for entry in bindings}
    assert all(line.isprintable() for line in what(bindings))
    bindings.assign(A)
    text = bindings.format()
    again = Bindings.parse(text.encode("utf-8", "surrogateescape"), FILE)
    assert not again.damaged
    assert listed(again) == listed(bindings)
    assert {entry.binding: (entry.name, entry.path) for entry in again}.items() >= owners.items()
    assert again.format() == text


def test_that_lines_were_lost_stays_known_however_many_bad_lines_there_are() -> None:
    """Found by a fuzzer: the mark was dropped at the second rewrite, and low numbers, which may
    belong to the lost lines, were assigned to new targets."""
    bad = "".join(f"bad line {number}\n" for number in range(2 * MOST_KEPT))
    text = Bindings.parse((bad + "0 0 iqn.2001-04.com.example:cut").encode(), "test").format()
    for _ in range(3):
        again = Bindings.parse(text.encode(), "test")
        assert again.assign(IscsiName("iqn.2001-04.com.example:new")).bus == 255
        text = again.format()
    assert text.count(LINES_LOST) == 1


def test_the_number_of_lines_that_only_the_copy_has_adds_up() -> None:
    text = Bindings.parse(b"bad\n" * (MOST_KEPT + 5), "test").format()
    assert dropped_lines(5) in text
    more = Bindings.parse(f"{text}bad\nbad\n".encode(), "test").format()
    assert dropped_lines(7) in more and dropped_lines(5) not in more
