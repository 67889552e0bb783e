"""SendTargets answers in any order, cut anywhere, repeated, or made of nonsense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.names import DiscoveryRecord, IscsiName, TargetAddress
from tests.support.sendtargets_helpers import read, text

NAMES = st.sampled_from([f"iqn.2024-01.org.example:{letter}" for letter in "abcdef"])
HOSTS = st.sampled_from(["10.0.0.1", "10.0.0.2:3261", "[::1]", "[2001:db8::1]:3261", "host"])
TAGGED = st.builds(lambda host, tag: f"{host},{tag}", HOSTS, st.integers(0, 3))
LISTINGS = st.lists(st.tuples(NAMES, st.lists(TAGGED, max_size=3)), max_size=12)


def listing_text(listings: list[tuple[str, list[str]]]) -> bytes:
    return text(
        *(
            pair
            for name, portals in listings
            for pair in (f"TargetName={name}", *(f"TargetAddress={each}" for each in portals))
        )
    )


def as_sets(records: dict[IscsiName, DiscoveryRecord]) -> dict[IscsiName, set[TargetAddress]]:
    return {name: set(record.addresses) for name, record in records.items()}


@given(LISTINGS, st.data())
def test_order_splitting_and_repetition_do_not_change_the_records(
    listings: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    expected, _ = read(listing_text(listings))
    repeated = listings + data.draw(
        st.lists(st.sampled_from(listings)) if listings else st.just([])
    )
    stream = listing_text(data.draw(st.permutations(repeated)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    ends = [*cuts, len(stream)]
    pieces = [stream[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
    records, notes = read(*pieces)
    assert as_sets(records) == as_sets(expected)
    assert notes == ()


@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from(
            [b"TargetName=", b"\0", b"TargetAddress=", b"iqn.2024-01.org:a", b"10.0.0.1", b",1"]
        )
    )
)
def test_any_octets_become_records_and_notes_however_they_are_cut(pieces: list[bytes]) -> None:
    records, notes = read(*(piece for piece in pieces if piece))
    whole, whole_notes = read(b"".join(pieces)) if any(pieces) else ({}, ())
    assert records == whole
    assert set(notes) == set(whole_notes)
    assert all(note.isprintable() for note in notes)
