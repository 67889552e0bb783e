"""A status is written so that others can read it, and read as it was written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.parameters import AgreedParameters, Digest
from iscsid.status.model import (
    KEYS,
    DiscoveryStatus,
    LunStatus,
    SessionStatus,
    Status,
    from_json,
    negotiated,
    to_json,
    with_clock,
)
from tests.support.statuses import NOW, STATUS


def test_what_is_written_is_read_again() -> None:
    assert from_json(to_json(STATUS)) == STATUS


def test_times_are_dates_that_every_program_reads() -> None:
    data = json.loads(to_json(STATUS))
    assert data["written"] == "2023-11-14T22:23:20Z"
    assert data["sessions"][0]["since"] == "2023-11-14T22:13:20Z"
    assert data["sessions"][0]["next_attempt"] is None


@given(st.text(), st.floats(0, 4e9), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_text_survives(text: str, time: float, links: dict[str, str]) -> None:
    session = replace(
        STATUS.sessions[0], last_error=text, since=time, luns=[LunStatus(lun=0, links=links)]
    )
    (again,) = from_json(to_json(replace(STATUS, sessions=[session]))).sessions
    assert again.since is not None and abs(again.since - time) <= 0.5
    assert replace(again, since=time) == session


def test_status_of_another_version_is_read_as_far_as_it_is_known() -> None:
    data = json.loads(to_json(STATUS))
    data["sessions"][0]["luns"][0]["colour"] = "red"
    data["colour"] = "green"
    del data["bindings"]
    assert from_json(json.dumps(data)) == replace(STATUS, bindings=None)


def times_of(status: Status) -> list[float | None]:
    timed: list[DiscoveryStatus | SessionStatus] = [*status.discoveries, *status.sessions]
    return [time for each in timed for time in (each.since, each.next_attempt)]


@pytest.mark.parametrize("moved", [-18000.0, 18000.0])
def test_ages_are_true_after_the_wall_clock_was_set(moved: float) -> None:
    written = replace(STATUS, monotonic=1000.0)
    origin = NOW - 1000
    assert with_clock(written, origin + 0.7) == written, "it is read to the second"
    seen = with_clock(written, origin + moved)
    assert (seen.written, seen.monotonic) == (NOW + moved, 1000.0)
    old, new = times_of(written), times_of(seen)
    assert new == [None if each is None else each + moved for each in old]
    assert with_clock(STATUS, origin + moved) == STATUS, "of another version"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "12",
        '{"sessions": [], "discoveries": []}',
        '{"sessions": [{}], "discoveries": [], "version": "1", "pid": 1, "written": "now"}',
        '{"sessions": 3, "discoveries": [], "version": "1", "pid": 1}',
        '{"written": "yesterday"}',
        '{"written": 12}',
        "[" * 100_000,
        to_json(STATUS)[:-30],
    ],
)
def test_what_is_no_status_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_every_agreed_parameter_is_shown_in_the_standards_words() -> None:
    parameters = AgreedParameters(header_digest=Digest.CRC32C, immediate_data=False)
    shown = negotiated(parameters)
    assert list(shown) == list(KEYS.values()) and len(shown) == len(AgreedParameters.__slots__)
    assert shown["HeaderDigest"] == "CRC32C" and shown["DataDigest"] == "None"
    assert (shown["InitialR2T"], shown["ImmediateData"]) == ("Yes", "No")
    assert shown["MaxBurstLength"] == 262144


def test_a_daemon_without_sessions_has_a_status() -> None:
    empty = Status(version="4.0.0", pid=None, written=NOW)
    assert from_json(to_json(empty)) == empty
