"""A target keeps its numbers for ever, whatever happens to the file of bindings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import END, HEADER, SPELLINGS
from iscsid.errors import BindingsFull
from iscsid.protocol.names import IscsiName

A, B, C = (IscsiName(f"iqn.2001-04.com.example:disk{n}") for n in ("1", "10", "2"))
FILE = "bindings"


def parse(text: str | bytes) -> Bindings:
    return Bindings.parse(text, FILE)


def listed(bindings: Bindings) -> dict[tuple[str, str], Binding]:
    return {(entry.name, entry.path): entry.binding for entry in bindings}


# --- giving numbers -----------------------------------------------------------------------------


def test_newcomers_get_the_smallest_free_number_and_keep_it() -> None:
    bindings = Bindings()
    assert [bindings.assign(name) for name in (A, B, A, C)] == [
        Binding(0, 0),
        Binding(0, 1),
        Binding(0, 0),
        Binding(0, 2),
    ]
    assert bindings.lookup(B) == Binding(0, 1)
    assert bindings.name_of(Binding(0, 2)) == C


def test_unknown_target_has_no_number_until_one_is_assigned() -> None:
    bindings = Bindings()
    assert bindings.lookup(A) is None
    assert bindings.name_of(Binding(0, 0)) is None
    assert not bindings.changed


def test_a_line_removed_by_hand_frees_its_number() -> None:
    bindings = parse(f"0 0 {A}\n0 2 {C}\n")
    assert bindings.assign(B) == Binding(0, 1)


def test_the_full_file_refuses_the_next_target_and_knows_all_others() -> None:
    bindings = Bindings()
    names = [IscsiName(f"iqn.2001-04.com.example:{n}") for n in range(65536)]
    numbers = [bindings.assign(name) for name in names]
    assert numbers[-1] == Binding(255, 255) and len(set(numbers)) == 65536
    with pytest.raises(BindingsFull, match="no persistent number is left for iqn"):
        bindings.assign(A)
    assert bindings.lookup(names[40000]) == numbers[40000]
    assert bindings.name_of(Binding(1, 1)) == names[257]


# --- several paths of one target ----------------------------------------------------------------


def test_each_path_has_a_bus_of_its_own_and_the_same_target_id() -> None:
    bindings = parse(f"0 0 {B}\n1 1 {C}\n")
    assert bindings.assign_path(A, "192.0.2.1:3260") == Binding(0, 1)
    assert bindings.assign_path(A, "192.0.2.2:3260") == Binding(2, 1)
    assert bindings.assign_path(A, "192.0.2.1:3260") == Binding(0, 1)
    assert bindings.lookup_path(A, "192.0.2.2:3260") == Binding(2, 1)
    assert bindings.lookup_path(A, "192.0.2.3:3260") is None


def test_first_path_takes_over_the_number_the_target_had_alone() -> None:
    bindings = parse(f"0 5 {A}\n")
    assert bindings.assign_path(A, "1") == Binding(0, 5)
    assert bindings.assign_path(A, "2") == Binding(1, 5)
    again = parse(bindings.format())
    assert again.assign_path(A, "2") == Binding(1, 5)
    assert again.assign(A) == Binding(0, 5), "back to one session: the name stays"
    assert not again.changed


def test_path_without_a_free_bus_is_refused() -> None:
    lines = "".join(f"{bus} 0 iqn.2001-04.com.example:x{bus}\n" for bus in range(1, 256))
    bindings = parse(f"0 0 {A} 1\n{lines}")
    with pytest.raises(BindingsFull):
        bindings.assign_path(A, "2")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "192.0.2.1:3260",
        "[2001:db8::1]:3260",
        "1",
        "?",
        ";2",
        "1;32",
        f"={'e' * 64}/{'h' * 253}:65535;32",
    ],
)
def test_every_kind_of_path_survives_the_file(path: str) -> None:
    bindings = Bindings()
    number = bindings.assign_path(A, path) if path else bindings.assign(A)
    again = parse(bindings.format())
    assert again.lookup_path(A, path) == number and not again.diagnostics


def test_further_sessions_have_the_target_s_id_on_other_buses_and_keep_them() -> None:
    bindings = parse(f"0 5 {A}\n")
    assert [bindings.assign(A, each) for each in ("", ";2", ";3")] == [
        Binding(bus, 5) for bus in range(3)
    ]
    # One session for each portal now, and two of each: what was there keeps its number.
    paths = ("192.0.2.1:3260", "192.0.2.1:3260;2", "192.0.2.2:3260", "192.0.2.2:3260;2")
    assert [bindings.assign_path(A, path) for path in paths] == [
        Binding(bus, 5) for bus in (0, 1, 3, 4)
    ]
    again = parse(bindings.format())
    assert [again.assign(A, each) for each in ("", ";2", ";3")] == [
        Binding(bus, 5) for bus in range(3)
    ], "and back"
    assert not again.changed


def test_a_further_session_takes_no_number_from_the_first_one() -> None:
    """It was the only line without a NetworkEntity, which the target had before."""
    bindings = Bindings()
    first = bindings.assign_path(A, "=array")
    second = bindings.assign(A, ";2")
    assert second != first
    assert (bindings.assign(A), bindings.assign(A, ";2")) == (first, second)


def test_a_lost_line_of_the_first_session_does_not_give_it_the_number_of_the_second() -> None:
    bindings = parse(f"1 7 {A} ;2\n")
    first, second = bindings.assign(A), bindings.assign(A, ";2")
    assert (first, second) == (Binding(0, 7), Binding(1, 7))


@pytest.mark.parametrize("path", ["a b", "#1", "a\n0 3 iqn.x", "x" * 401, "\u00e9"])
def test_path_that_would_break_the_file_is_a_wrong_call(path: str) -> None:
    with pytest.raises(ValueError, match="no such path"):
        Bindings().assign_path(A, path)


# --- adopting what runs -------------------------------------------------------------------------


def test_number_of_a_running_session_is_entered_where_the_file_lacks_it() -> None:
    bindings = Bindings()
    assert bindings.adopt(A, Binding(3, 4)) and bindings.changed
    assert bindings.lookup(A) == Binding(3, 4)
    assert bindings.adopt(A, Binding(3, 4), ""), "once more changes nothing"
    assert len(bindings) == 1


@pytest.mark.parametrize(
    ("text", "name", "binding", "path", "is_its_own"),
    [
        (f"0 1 {B}\n", A, Binding(0, 1), "", False),
        (f"0 1 {A}\n", A, Binding(0, 2), "", False),
        (f"0 1 {A}\n", A, Binding(0, 1), "", True),
        (f"0 1 {A}\n", A, Binding(0, 1), "1", True),
        (f"0 1 {A} 1\n", A, Binding(0, 1), "", True),
        (f"0 1 {A} 1\n", A, Binding(0, 1), "2", False),
        (f"0 1 {A} 1\n", A, Binding(1, 1), "2", True),
        (f"0 1 {A}\n", A, Binding(0, 1), ";2", False),
        (f"0 1 {A} ;2\n", A, Binding(0, 1), "", False),
        (f"0 1 {A} ;2\n", A, Binding(0, 1), "1;2", True),
        (f"0 1 {A} 1;2\n", A, Binding(0, 1), ";2", True),
        (f"0 1 {A} 1;2\n", A, Binding(0, 1), "1;3", False),
        (f"0 1 {A} 1;2\n", A, Binding(0, 1), "1", False),
        (f"#? 0 1 {A[:-3]}\n", A, Binding(0, 1), "", True),
    ],
)
def test_running_session_never_takes_a_number_the_file_gives_away(
    text: str, name: IscsiName, binding: Binding, path: str, is_its_own: bool
) -> None:
    bindings = parse(text)
    before = listed(bindings)
    assert bindings.adopt(name, binding, path) is is_its_own
    assert set(before.values()) <= set(listed(bindings).values())
    if not is_its_own:
        assert listed(bindings) == before and not bindings.changed


# --- what is written ----------------------------------------------------------------------------


def test_new_file_has_a_header_one_line_per_target_and_an_end() -> None:
    bindings = Bindings()
    bindings.assign(A)
    assert bindings.format() == "\n".join([*HEADER, f"0\t0\t{A}", END, ""])


def test_comments_blank_lines_and_order_survive_rewriting() -> None:
    text = f"# ours\n\n3 0 {C}\n  # between\n0 0 {A}\n"
    bindings = parse(text)
    bindings.assign(B)
    assert bindings.format() == (
        f"{HEADER[0]}\n# ours\n\n3\t0\t{C}\n  # between\n0\t0\t{A}\n{SPELLINGS}\n0\t1\t{B}\n{END}\n"
    )


def test_comment_in_another_encoding_survives_octet_for_octet() -> None:
    bindings = parse(b"# f\xfcr das Archiv\n")
    bindings.assign(A)
    assert b"# f\xfcr das Archiv\n" in bindings.format().encode("utf-8", "surrogateescape")


def test_rewriting_twice_gives_the_same_text() -> None:
    once = parse(f"0 0 {A}\nnonsense\n").format()
    assert parse(once).format() == once


def test_file_needs_no_writing_until_a_number_is_given() -> None:
    bindings = parse(f"0 0 {A}\n")
    bindings.assign(A)
    assert not bindings.changed
    bindings.assign(B)
    assert bindings.changed
    bindings.format()
    bindings.saved()
    assert not bindings.changed


def test_number_given_while_the_file_is_written_is_still_unsaved() -> None:
    bindings = Bindings()
    bindings.assign(A)
    bindings.format()
    bindings.assign(B)
    bindings.saved()
    assert bindings.changed


# --- properties ---------------------------------------------------------------------------------

names = st.from_regex(r"iqn\.20[0-9]{2}-0[1-9]\.com\.example:[a-c]{1,3}", fullmatch=True).map(
    IscsiName
)
paths = st.sampled_from(["", "192.0.2.1:3260", "[2001:db8::1]:3260", "1", ";2", "1;2", "1;3"])
wishes = st.lists(st.tuples(names, paths), max_size=12)


def granted(bindings: Bindings, wanted: list[tuple[IscsiName, str]]) -> list[Binding]:
    return [
        bindings.assign_path(name, path) if path else bindings.assign(name) for name, path in wanted
    ]


@settings(max_examples=60)
@given(wishes, wishes)
def test_number_never_changes_over_a_restart_and_is_never_given_twice(
    first: list[tuple[IscsiName, str]], second: list[tuple[IscsiName, str]]
) -> None:
    bindings = Bindings()
    granted(bindings, first)
    again = parse(bindings.format())
    assert listed(again) == listed(bindings) and not again.diagnostics
    owners = {entry.binding: entry.name for entry in bindings}
    granted(again, second)
    for binding, name in owners.items():
        assert again.name_of(binding) == name
    assert len({entry.binding for entry in again}) == len(again)
