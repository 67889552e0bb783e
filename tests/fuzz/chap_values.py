"""Fuzz target: the keys of CHAP.

``python -m tests.fuzz.chap_values -max_total_time=60``. The input are CHAP_I, CHAP_C, CHAP_N and
CHAP_R as lines. The oracle: a response made by an independent formula, or an error that contains no
value; nothing but the right response of the right name is accepted.
"""

from __future__ import annotations

import hashlib

from iscsid.errors import AuthenticationFailed, ProtocolError
from iscsid.protocol.chap import RANDOM_OCTETS, Challenge, Challenger, response
from iscsid.protocol.parameters import ChapAlgorithm, Credentials
from iscsid.secret import Secret
from tests.fuzz import engine

SECRET = b"open-tiger-gate"
RANDOM = bytes(range(RANDOM_OCTETS))
RIGHT = hashlib.md5(RANDOM[:1] + SECRET + RANDOM[1:]).digest()


def test_one_input(data: bytes) -> None:
    """Answer the challenge, and judge the response."""
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    names = ("CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R")
    keys = {name: line for name, line in zip(names, lines, strict=False) if line != "-"}
    try:
        challenge = Challenge.from_keys(keys)
    except ProtocolError as error:
        check_words(error, keys)
    else:
        made = response(ChapAlgorithm.MD5, Secret(SECRET), challenge)
        octets = bytes([challenge.identifier]) + SECRET + challenge.octets
        assert made == hashlib.md5(octets).digest()
        assert Challenge.from_keys(dict(challenge.to_keys())) == challenge
    challenger = Challenger(Credentials("vault", Secret(SECRET)), RANDOM)
    try:
        challenger.check(ChapAlgorithm.MD5, keys, b"ours")
    except (ProtocolError, AuthenticationFailed) as error:
        check_words(error, keys)
    else:
        assert keys["CHAP_N"] == "vault"
        given = keys["CHAP_R"]
        assert RIGHT.hex() == given[2:].lower().zfill(32) or given[:2] in ("0b", "0B")


def check_words(error: Exception, keys: dict[str, str]) -> None:
    assert str(error).isprintable() and SECRET.decode() not in str(error)
    if str(error).startswith("CHAP_I"):
        return  # it is no secret, is repeated, and may look like the other values
    for name in ("CHAP_C", "CHAP_R"):
        value = keys.get(name, "")
        assert len(value) < 16 or value not in str(error)


if __name__ == "__main__":
    engine.run(__file__)
