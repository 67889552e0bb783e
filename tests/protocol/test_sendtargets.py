"""SendTargets text becomes records: however it is cut, ordered, repeated or spoilt."""

from __future__ import annotations

import tracemalloc

import pytest

from iscsid.errors import ProtocolError
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.printable import Notes
from iscsid.protocol.sendtargets import (
    MAX_ADDRESSES,
    MAX_ANSWER_LENGTH,
    MAX_EMPTY_PIECES,
    SendTargetsAnswer,
)
from tests.support.sendtargets_helpers import PORTAL, read, text

A, B, C = (IscsiName(f"iqn.2024-01.org.example:{letter}") for letter in "abc")


def addresses(*texts: str) -> tuple[TargetAddress, ...]:
    """Make target addresses of 'host,tag' with the default port."""
    parts = [text.partition(",") for text in texts]
    return tuple(TargetAddress(Portal(host), int(tag) if tag else None) for host, _, tag in parts)


def test_a_record_is_a_name_and_the_addresses_until_the_next_name() -> None:
    records, notes = read(
        text(
            f"TargetName={A}",
            "TargetAddress=10.0.0.1:3260,1",
            "TargetAddress=[2001:db8::1]:3261,2",
            f"TargetName={B}",
            "TargetAddress=host.example,1",
        )
    )
    assert list(records.values()) == [
        DiscoveryRecord(
            A,
            (
                TargetAddress(Portal("10.0.0.1"), 1),
                TargetAddress(Portal("2001:db8::1", 3261), 2),
            ),
        ),
        DiscoveryRecord(B, (TargetAddress(Portal("host.example"), 1),)),
    ]
    assert notes == ()


def test_an_empty_answer_has_no_records_and_is_no_fault() -> None:
    assert read(b"") == ({}, ())
    assert read() == ({}, ())


def test_a_target_without_an_address_is_where_the_discovery_is() -> None:
    records, notes = read(text(f"TargetName={A}", f"TargetName={B}", "TargetAddress=10.0.0.1,1"))
    assert records[A].addresses == (TargetAddress(PORTAL),)
    assert records[B].addresses == addresses("10.0.0.1,1")
    assert notes == ()


def test_a_record_is_there_as_soon_as_the_next_begins() -> None:
    answer = SendTargetsAnswer(PORTAL, Notes())
    answer.receive_text(text(f"TargetName={A}", "TargetAddress=10.0.0.1,1"))
    assert answer.take_records() == ()
    answer.receive_text(text(f"TargetName={B}"))
    assert [record.target_name for record in answer.take_records()] == [A]
    assert answer.take_records() == ()
    answer.finish()
    assert [record.target_name for record in answer.take_records()] == [B]


def test_addresses_of_one_target_are_merged_without_repetition_in_their_order() -> None:
    records, _ = read(
        text(
            f"TargetName={A}",
            "TargetAddress=10.0.0.2,1",
            "TargetAddress=10.0.0.1,1",
            "TargetAddress=10.0.0.2:3260,1",
            f"TargetName={B}",
            f"TargetName={A}",
            "TargetAddress=10.0.0.3,2",
            "TargetAddress=10.0.0.1,1",
        )
    )
    assert records[A].addresses == addresses("10.0.0.2,1", "10.0.0.1,1", "10.0.0.3,2")


def test_a_target_that_comes_again_with_nothing_new_is_not_reported_again() -> None:
    answer = SendTargetsAnswer(PORTAL, Notes())
    listing = text(f"TargetName={A}", "TargetAddress=10.0.0.1,1")
    answer.receive_text(listing + text(f"TargetName={B}"))
    assert len(answer.take_records()) == 1
    answer.receive_text(listing + listing)
    answer.finish()
    assert [record.target_name for record in answer.take_records()] == [B]


def test_a_target_that_has_grown_is_reported_again_as_a_whole() -> None:
    answer = SendTargetsAnswer(PORTAL, Notes())
    answer.receive_text(text(f"TargetName={A}", "TargetAddress=10.0.0.1,1", f"TargetName={B}"))
    answer.take_records()
    answer.receive_text(text(f"TargetName={A}", "TargetAddress=10.0.0.2,1"))
    answer.finish()
    assert answer.take_records() == (
        DiscoveryRecord(B, (TargetAddress(PORTAL),)),
        DiscoveryRecord(A, addresses("10.0.0.1,1", "10.0.0.2,1")),
    )


def test_a_portal_with_a_tag_replaces_the_same_portal_without() -> None:
    for order in (("10.0.0.1", "10.0.0.1,7"), ("10.0.0.1,7", "10.0.0.1")):
        records, _ = read(text(f"TargetName={A}", *(f"TargetAddress={each}" for each in order)))
        assert records[A].addresses == addresses("10.0.0.1,7")


def test_a_name_with_capitals_is_known_folded_and_sent_as_spelt() -> None:
    spelling = "iqn.2000-01.com.synology:DiskStation.Target-1"
    records, notes = read(text(f"TargetName={spelling}"))
    [record] = records.values()
    assert record.target_name == spelling.lower()
    assert record.name_to_send == record.spelling == spelling
    assert notes == ()


def test_two_spellings_of_a_name_are_two_records_with_portals_of_their_own() -> None:
    """They may be two targets: the portals of the one are not those of the other."""
    pairs = (f"TargetName={A}", "TargetAddress=192.0.2.1,1", f"TargetName={A.upper()}")
    answer = SendTargetsAnswer(PORTAL, Notes())
    answer.receive_text(text(*pairs, "TargetAddress=192.0.2.2,1"))
    answer.finish()
    found = answer.take_records()
    assert [(each.name_to_send, each.target_name) for each in found] == [(A, A), (A.upper(), A)]
    hosts = [[address.portal.host for address in each.addresses] for each in found]
    assert hosts == [["192.0.2.1"], ["192.0.2.2"]]


@pytest.mark.parametrize(
    "bad",
    ["TargetName=", "TargetName=../../etc/passwd", "TargetName=iqn.2024-01.org:a\nb"]
    + ["TargetName=iqn.2024-01.org:" + "x" * 208, "TargetName=" + "x" * 9000, "TargetName=\udcff"],
)
def test_a_bad_name_costs_its_own_record_only(bad: str) -> None:
    stream = b"".join(
        [
            text(f"TargetName={A}", "TargetAddress=10.0.0.1,1"),
            bad.encode("utf-8", "surrogateescape") + b"\0",
            text("TargetAddress=10.0.0.2,1", f"TargetName={C}", "TargetAddress=10.0.0.3,1"),
        ]
    )
    records, notes = read(stream)
    assert {name: record.addresses for name, record in records.items()} == {
        A: addresses("10.0.0.1,1"),
        C: addresses("10.0.0.3,1"),
    }
    [note] = notes
    assert note.startswith("skipped a TargetName: ") and note.isprintable() and len(note) < 400


@pytest.mark.parametrize("name", ["disk1", "iqn.2017.11.org.example:a", "iqn.2024-1.org:a+b"])
def test_a_target_with_a_name_outside_the_grammar_is_reported_and_noted(name: str) -> None:
    records, notes = read(text(f"TargetName={name}", "TargetAddress=10.0.0.1,1"))
    assert {key: record.addresses for key, record in records.items()} == {
        name: addresses("10.0.0.1,1")
    }
    [note] = notes
    assert note.startswith(f"the name of {name} is against the rules (")


def test_targets_that_cannot_be_used_are_counted() -> None:
    answer = SendTargetsAnswer(PORTAL, Notes())
    answer.receive_text(
        text("TargetName=a/b", "TargetAddress=10.0.0.1,1", f"TargetName={A}")
        + text(f"TargetName={B}", "TargetAddress=0.0.0.0,1", "TargetName=c d")
    )
    answer.finish()
    assert answer.skipped == 3
    assert [record.target_name for record in answer.take_records()] == [A]


@pytest.mark.parametrize(
    "bad, why",
    [
        ("TargetAddress=", "no portal"),
        ("TargetAddress=::1:13260,1", "brackets"),
        ("TargetAddress=10.0.0.9:0,1", "port"),
        ("TargetAddress=10.0.0.9:65536,1", "port"),
        ("TargetAddress=10.0.0.9,70000", "portal group tag"),
        ("TargetAddress=0.0.0.0:3260,1", "unspecified"),
        ("TargetAddress=[::]:3260,1", "unspecified"),
        ("TargetAddress=239.1.1.1,1", "multicast"),
        ("TargetAddress=[fe80::9]:3260,1", "names no interface"),
        ("TargetAddress=a b,1", "neither an address nor a name"),
        ("TargetAddress=" + "h" * 300, "300 octets"),
        ("TargetAddress=" + "h" * 9000, "more than 512 octets"),
    ],
)
def test_a_bad_portal_is_skipped_and_the_others_stay(bad: str, why: str) -> None:
    records, notes = read(text(f"TargetName={A}", bad, "TargetAddress=10.0.0.1,1", bad))
    assert records[A].addresses == addresses("10.0.0.1,1")
    assert notes and all(note.startswith("skipped a TargetAddress: ") for note in notes)
    assert why in notes[0] and notes[0].isprintable() and len(notes[0]) < 400


def test_a_target_none_of_whose_portals_can_be_used_is_skipped_with_a_note() -> None:
    records, notes = read(
        text(f"TargetName={A}", "TargetAddress=0.0.0.0,1", f"TargetName={B}", "TargetAddress=::,1")
    )
    assert records == {}
    assert f"skipped {A}: none of its portals can be used" in notes
    assert f"skipped {B}: none of its portals can be used" in notes


def test_a_bad_portal_of_many_targets_is_noted_once() -> None:
    pairs = []
    for number in range(100):
        pairs += [f"TargetName={A}{number}", "TargetAddress=0.0.0.0,1", "TargetAddress=10.0.0.1,1"]
    records, notes = read(text(*pairs))
    assert len(records) == 100
    assert len(notes) == 1


def test_an_address_before_any_name_is_ignored_with_a_note() -> None:
    records, notes = read(text("TargetAddress=10.0.0.1,1", f"TargetName={A}"))
    assert records[A].addresses == (TargetAddress(PORTAL),)
    assert notes == ("ignored without a target: TargetAddress=10.0.0.1,1",)


@pytest.mark.parametrize(
    "junk", [b"TargetAd", b"\xf5C", b"=", b"X-com.example=1", b"TargetAlias=x"]
)
def test_what_is_neither_name_nor_address_is_ignored_with_a_note(junk: bytes) -> None:
    records, notes = read(text(f"TargetName={A}") + junk + b"\0" + text("TargetAddress=10.0.0.1,1"))
    assert records[A].addresses == addresses("10.0.0.1,1")
    [note] = notes
    assert note.startswith("ignored in the answer: ") and note.isprintable()


def test_a_last_pair_without_nul_counts_and_is_noted() -> None:
    records, notes = read(text(f"TargetName={A}") + b"TargetAddress=10.0.0.1,1")
    assert records[A].addresses == addresses("10.0.0.1,1")
    assert notes == ("the answer does not end in NUL",)


def test_a_link_local_address_takes_the_interface_of_the_discovery() -> None:
    records, notes = read(
        text(f"TargetName={A}", "TargetAddress=[fe80::9]:3260,1", "TargetAddress=[fe80::9%b],1"),
        portal=Portal("fe80::1%eth1"),
    )
    assert records[A].addresses == addresses("fe80::9%eth1,1", "fe80::9%b,1")
    assert notes == ()


def test_more_addresses_than_a_target_may_have_are_skipped_with_a_note() -> None:
    many = [f"TargetAddress=10.0.{number // 200}.{number % 200 + 1},1" for number in range(300)]
    records, notes = read(text(f"TargetName={A}", *many, f"TargetName={B}"))
    assert len(records[A].addresses) == MAX_ADDRESSES
    assert B in records
    assert f"more than {MAX_ADDRESSES}" in notes[0]


def test_listing_a_target_again_and_again_does_not_give_it_more_addresses() -> None:
    records, _ = read(
        *(
            text(f"TargetName={A}", f"TargetAddress=10.0.{number // 200}.{number % 200 + 1},1")
            for number in range(300)
        )
    )
    assert len(records[A].addresses) == MAX_ADDRESSES


def test_a_target_whose_only_address_is_too_long_is_not_believed_to_have_none() -> None:
    records, notes = read(text(f"TargetName={A}", "TargetAddress=" + "h" * 9000))
    assert records == {}
    assert f"skipped {A}: none of its portals can be used" in notes


def test_thousands_of_different_addresses_are_read_all_the_same() -> None:
    numbers = range(3000)
    records, notes = read(
        *(
            text(
                f"TargetName={A}{number}", f"TargetAddress=10.1.{number // 250}.{number % 250 + 1}"
            )
            for number in numbers
        )
    )
    assert len({record.addresses for record in records.values()}) == len(numbers)
    assert notes == ()


def test_more_targets_than_can_be_numbered_are_skipped_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("iscsid.protocol.sendtargets.MAX_TARGETS", 2)
    records, notes = read(text(*(f"TargetName={name}" for name in (A, B, C, A))))
    assert set(records) == {A, B}
    assert notes == (f"skipped a TargetName: {C} comes after 2 others",)


def test_pieces_of_nothing_do_not_go_on_for_ever() -> None:
    answer = SendTargetsAnswer(PORTAL, Notes())
    for _ in range(MAX_EMPTY_PIECES):
        answer.receive_text(b"")
    answer.receive_text(b"T")
    for _ in range(MAX_EMPTY_PIECES):
        answer.receive_text(b"")
    with pytest.raises(ProtocolError, match="no end after 1 octets and 0 targets"):
        answer.receive_text(b"")


def test_an_answer_without_end_is_given_up_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_ANSWER_LENGTH == 64 << 20
    limit = 4 << 20
    monkeypatch.setattr("iscsid.protocol.sendtargets.MAX_ANSWER_LENGTH", limit)
    answer = SendTargetsAnswer(PORTAL, Notes())
    piece = (text("TargetName=nonsense", "TargetAddress=nowhere at all") + b"x" * 700) * 1200
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="no end"):
            for _ in range(limit // len(piece) + 1):
                answer.receive_text(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_ten_thousand_targets_are_read_in_bounded_memory() -> None:
    answer = SendTargetsAnswer(PORTAL, Notes())
    tracemalloc.start()
    try:
        seen = 0
        for number in range(10_000):
            answer.receive_text(text(f"TargetName={A}{number:05}", "TargetAddress=10.0.0.1:3260,1"))
            seen += len(answer.take_records())
        answer.finish()
        seen += len(answer.take_records())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 10_000
    assert peak < 16 << 20
