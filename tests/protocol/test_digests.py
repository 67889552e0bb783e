"""CRC32C, against the values that the standard prints (RFC 7143, appendix A.4)."""

from __future__ import annotations

import pytest

from iscsid.errors import MalformedPdu
from iscsid.protocol.digests import append_digest, check, crc32c, digest_length
from iscsid.protocol.parameters import Digest

READ_COMMAND = bytes.fromhex(
    "01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
    "0200000000000000"
)


@pytest.mark.parametrize(
    ("octets", "digest"),
    [
        (bytes(32), "aa36918a"),
        (b"\xff" * 32, "43aba862"),
        (bytes(range(32)), "4e79dd46"),
        (bytes(range(31, -1, -1)), "5cdb3f11"),
        (READ_COMMAND, "563a96d9"),
    ],
    ids=["zeros", "ones", "ascending", "descending", "a read command"],
)
def test_the_checksums_are_the_standard_s_own(octets: bytes, digest: str) -> None:
    assert crc32c(octets) == bytes.fromhex(digest)


def test_a_digest_stands_behind_what_it_covers_or_is_not_there() -> None:
    assert append_digest(b"data", Digest.NONE) == b"data"
    assert append_digest(b"data", Digest.CRC32C) == b"data" + crc32c(b"data")
    assert (digest_length(Digest.NONE), digest_length(Digest.CRC32C)) == (0, 4)


def test_a_wrong_digest_is_refused_and_none_is_none() -> None:
    check(b"data", crc32c(b"data"), "data")
    check(b"data", b"", "data")
    with pytest.raises(MalformedPdu, match="the header digest of a PDU is wrong"):
        check(b"data", crc32c(b"date"), "header")
