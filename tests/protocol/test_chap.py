"""CHAP against published vectors and against the digest functions themselves."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import AuthenticationFailed, ProtocolError
from iscsid.protocol.chap import RANDOM_OCTETS, Challenge, Challenger, answer, response
from iscsid.protocol.parameters import ChapAlgorithm, Credentials
from iscsid.secret import Secret

HASHES = {
    ChapAlgorithm.MD5: hashlib.md5,
    ChapAlgorithm.SHA1: hashlib.sha1,
    ChapAlgorithm.SHA256: hashlib.sha256,
    ChapAlgorithm.SHA3_256: hashlib.sha3_256,
}
OPENSSL_NAMES = {
    ChapAlgorithm.MD5: "md5",
    ChapAlgorithm.SHA1: "sha1",
    ChapAlgorithm.SHA256: "sha256",
    ChapAlgorithm.SHA3_256: "sha3-256",
}
RANDOM = bytes(range(RANDOM_OCTETS))
TARGET = Credentials("target", Secret("the-target's-secret"))


@pytest.mark.parametrize(
    ("expected", "challenge", "identifier"),
    [
        ("afd09efdd6f8ca9f18ec77c5869788c3", "01020304050607080910111213141516", 0x01),
        ("aa4aaa1d52319525023c06a4873f4c51", "35343534373533343633383832343736", 0xDC),
    ],
)
def test_published_responses_come_out(expected: str, challenge: str, identifier: int) -> None:
    """The two examples hashcat gives for its mode 4800, iSCSI CHAP, with its name as password."""
    made = response(
        ChapAlgorithm.MD5, Secret("hashcat"), Challenge(identifier, bytes.fromhex(challenge))
    )
    assert made.hex() == expected


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("algorithm", ChapAlgorithm)
def test_openssl_makes_the_same_response(algorithm: ChapAlgorithm) -> None:
    octets = bytes([200]) + b"a secret of ours" + bytes(range(256)) * 4
    command = ["openssl", "dgst", "-r", f"-{OPENSSL_NAMES[algorithm]}"]
    shown = subprocess.run(command, input=octets, capture_output=True, check=True).stdout.split()[0]
    challenge = Challenge(200, bytes(range(256)) * 4)
    assert response(algorithm, Secret("a secret of ours"), challenge).hex() == shown.decode()


@given(
    st.sampled_from(ChapAlgorithm),
    st.integers(0, 255),
    st.binary(min_size=1, max_size=255),
    st.binary(min_size=1, max_size=1024),
)
def test_a_response_is_the_digest_of_identifier_secret_and_challenge(
    algorithm: ChapAlgorithm, identifier: int, secret: bytes, challenge: bytes
) -> None:
    made = response(algorithm, Secret(secret), Challenge(identifier, challenge))
    assert made == HASHES[algorithm](bytes([identifier]) + secret + challenge).digest()


@given(st.binary(min_size=1, max_size=1024), st.integers(0, 255))
def test_a_challenge_is_read_in_either_encoding_and_either_case(
    octets: bytes, identifier: int
) -> None:
    for text in (
        "0x" + octets.hex(),
        "0X" + octets.hex().upper(),
        "0b" + base64.b64encode(octets).decode(),
        "0B" + base64.b64encode(octets).decode(),
    ):
        read = Challenge.from_keys({"CHAP_I": str(identifier), "CHAP_C": text})
        assert read == Challenge(identifier, octets)


@pytest.mark.parametrize(
    "keys",
    [
        {"CHAP_C": "0x00"},
        {"CHAP_I": "1"},
        {"CHAP_I": "256", "CHAP_C": "0x00"},
        {"CHAP_I": "-1", "CHAP_C": "0x00"},
        {"CHAP_I": "01", "CHAP_C": "0x00"},
        {"CHAP_I": "", "CHAP_C": "0x00"},
        {"CHAP_I": "0b", "CHAP_C": "0x00"},
        {"CHAP_I": "1", "CHAP_C": ""},
        {"CHAP_I": "1", "CHAP_C": "0x"},
        {"CHAP_I": "1", "CHAP_C": "0x0g"},
        {"CHAP_I": "1", "CHAP_C": "00ff"},
        {"CHAP_I": "1", "CHAP_C": "0x00 "},
        {"CHAP_I": "1", "CHAP_C": "0b"},
        {"CHAP_I": "1", "CHAP_C": "0bAAAAA"},
        {"CHAP_I": "1", "CHAP_C": "0bA=AA"},
        {"CHAP_I": "1", "CHAP_C": "0b__-_"},
        {"CHAP_I": "1", "CHAP_C": "0x" + "00" * 1025},
        {"CHAP_I": "1", "CHAP_C": "Reject"},
    ],
)
def test_a_malformed_challenge_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        Challenge.from_keys(keys)


@pytest.mark.parametrize(
    ("change", "name"), [({"CHAP_I": "x"}, "CHAP_I"), ({"CHAP_C": "0xzz"}, "CHAP_C")]
)
def test_a_malformed_challenge_is_reported_with_its_key(change: dict[str, str], name: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{name} of the target: "):
        Challenge.from_keys({"CHAP_I": "1", "CHAP_C": "0x00"} | change)


def test_a_malformed_response_is_reported_with_its_key() -> None:
    keys = proof(ChapAlgorithm.MD5) | {"CHAP_R": "secret-in-clear"}
    with pytest.raises(ProtocolError, match="^CHAP_R of the target: ") as caught:
        Challenger(TARGET, RANDOM).check(ChapAlgorithm.MD5, keys, b"ours")
    assert "secret-in-clear" not in str(caught.value)


def test_a_challenge_of_1024_octets_is_taken() -> None:
    keys = {"CHAP_I": "0xff", "CHAP_C": "0x" + "5a" * 1024}
    assert Challenge.from_keys(keys) == Challenge(255, b"Z" * 1024)


def test_an_answer_carries_name_and_response_in_hexadecimal() -> None:
    made = answer(Credentials("me", Secret("secret")), b"\x00\xff")
    assert made == (("CHAP_N", "me"), ("CHAP_R", "0x00ff"))


# --- the target's proof -------------------------------------------------------------------------


def proof(algorithm: ChapAlgorithm, secret: bytes = b"the-target's-secret") -> dict[str, str]:
    octets = HASHES[algorithm](RANDOM[:1] + secret + RANDOM[1:]).digest()
    return {"CHAP_N": "target", "CHAP_R": "0x" + octets.hex()}


@pytest.mark.parametrize("algorithm", ChapAlgorithm)
def test_the_right_proof_is_accepted(algorithm: ChapAlgorithm) -> None:
    Challenger(TARGET, RANDOM).check(algorithm, proof(algorithm), b"ours")


def test_a_proof_in_base64_is_accepted() -> None:
    keys = proof(ChapAlgorithm.MD5)
    octets = bytes.fromhex(keys["CHAP_R"][2:])
    keys["CHAP_R"] = "0b" + base64.b64encode(octets).decode()
    Challenger(TARGET, RANDOM).check(ChapAlgorithm.MD5, keys, b"ours")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CHAP_N": "mallory"}, "IncomingUsername"),
        ({"CHAP_N": ""}, "IncomingUsername"),
        ({"CHAP_N": None}, "CHAP_N"),
        ({"CHAP_R": None}, "CHAP_R"),
        ({"CHAP_R": "0x" + "00" * 16}, "IncomingPassword"),
        ({"CHAP_R": "0x00"}, "IncomingPassword"),
        (proof(ChapAlgorithm.MD5, b"another secret..."), "IncomingPassword"),
        (proof(ChapAlgorithm.SHA1), "IncomingPassword"),
    ],
)
def test_a_wrong_proof_is_an_authentication_failure(
    change: dict[str, str | None], words: str
) -> None:
    keys = {**proof(ChapAlgorithm.MD5), **change}
    given = {name: text for name, text in keys.items() if text is not None}
    with pytest.raises(AuthenticationFailed, match=words):
        Challenger(TARGET, RANDOM).check(ChapAlgorithm.MD5, given, b"ours")


def test_our_own_response_sent_back_proves_nothing() -> None:
    keys = proof(ChapAlgorithm.MD5)
    ours = bytes.fromhex(keys["CHAP_R"][2:])
    with pytest.raises(AuthenticationFailed, match="our own response"):
        Challenger(TARGET, RANDOM).check(ChapAlgorithm.MD5, keys, ours)


def test_the_challenge_is_made_of_the_random_octets_and_nothing_else() -> None:
    assert Challenger(TARGET, RANDOM).challenge.to_keys() == (
        ("CHAP_I", "0"),
        ("CHAP_C", "0x0102030405060708090a0b0c0d0e0f10"),
    )


@pytest.mark.parametrize("length", [0, RANDOM_OCTETS - 1, RANDOM_OCTETS + 1])
def test_too_few_or_too_many_random_octets_are_our_own_error(length: int) -> None:
    with pytest.raises(ValueError, match="random octets"):
        Challenger(TARGET, bytes(length))


def test_no_secret_and_no_challenge_show_themselves() -> None:
    shown = repr(TARGET) + repr(Challenge(1, b"challenge")) + repr(Challenger(TARGET, RANDOM))
    assert "secret" not in shown.replace("Secret", "") and "challenge'" not in shown
