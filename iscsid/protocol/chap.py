"""CHAP: answering a challenge, and making one.

RFC 1994, section 4 defines the response, RFC 7143, section 12.1.3 the keys. The octets of our
challenge come in as an argument: this module has no randomness. No secret and no response ever
appears in a message. A new algorithm needs a number in ``parameters``, its hash here, a word in
``config.values``, and a mention in ``man/iscsi.conf.5``. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from iscsid.errors import AuthenticationFailed, ProtocolError
from iscsid.protocol.parameters import ChapAlgorithm, Credentials
from iscsid.protocol.text import Pairs, format_binary, parse_binary, parse_number
from iscsid.secret import Secret

T = TypeVar("T")

SECTION = "12.1.3"

CHALLENGE_LENGTH = 16
"""Octets of the challenges we make. Every target known takes as many; some take no more."""

RANDOM_OCTETS = 1 + CHALLENGE_LENGTH
"""What a challenger needs: an identifier and an unpredictable challenge."""

_HASHES: dict[ChapAlgorithm, Callable[[bytes], Any]] = {
    ChapAlgorithm.MD5: hashlib.md5,
    ChapAlgorithm.SHA1: hashlib.sha1,
    ChapAlgorithm.SHA256: hashlib.sha256,
    ChapAlgorithm.SHA3_256: hashlib.sha3_256,
}


@dataclass(frozen=True, slots=True)
class Challenge:
    """CHAP_I and CHAP_C."""

    identifier: int
    octets: bytes = field(repr=False)

    @classmethod
    def from_keys(cls, keys: Mapping[str, str]) -> Challenge:
        """Read a target's challenge; raises ``ProtocolError`` unless it is whole and legal."""
        for name in ("CHAP_I", "CHAP_C"):
            if name not in keys:
                raise ProtocolError(f"the target's challenge has no {name}", section=SECTION)
        identifier = _parse("CHAP_I", keys, parse_number)
        if identifier > 255:
            raise ProtocolError(f"CHAP_I is one octet, not {identifier}", section=SECTION)
        return cls(identifier, _parse("CHAP_C", keys, parse_binary))

    def to_keys(self) -> Pairs:
        return ("CHAP_I", str(self.identifier)), ("CHAP_C", format_binary(self.octets))


def _parse(name: str, keys: Mapping[str, str], parse: Callable[[str], T]) -> T:
    try:
        return parse(keys[name])
    except ProtocolError as error:
        raise ProtocolError(f"{name} of the target: {error.reason}", section=SECTION) from None


def response(algorithm: ChapAlgorithm, secret: Secret, challenge: Challenge) -> bytes:
    """Return the digest over identifier, secret and challenge (RFC 1994, section 4.1)."""
    digest: bytes = _HASHES[algorithm](
        bytes((challenge.identifier,)) + secret.reveal() + challenge.octets
    ).digest()
    return digest


def answer(credentials: Credentials, octets: bytes) -> Pairs:
    """Return the keys that carry our response to a target."""
    return ("CHAP_N", credentials.username), ("CHAP_R", format_binary(octets))


class Challenger:
    """Makes the target prove itself: one challenge, one answer."""

    def __init__(self, credentials: Credentials, random_octets: bytes) -> None:
        if len(random_octets) != RANDOM_OCTETS:
            raise ValueError(f"{RANDOM_OCTETS} random octets wanted, not {len(random_octets)}")
        self._credentials = credentials
        self.challenge = Challenge(random_octets[0], random_octets[1:])

    def check(self, algorithm: ChapAlgorithm, keys: Mapping[str, str], own_response: bytes) -> None:
        """Accept the target's CHAP_N and CHAP_R, or raise ``AuthenticationFailed``.

        ``own_response`` is what we answered to the target's challenge: a target that sends it
        back shows that it can repeat, not that it knows a secret.
        """
        for name in ("CHAP_N", "CHAP_R"):
            if name not in keys:
                raise not_proven(f"it sent no {name}")
        received = _parse("CHAP_R", keys, parse_binary)
        expected = response(algorithm, self._credentials.password, self.challenge)
        is_named = hmac.compare_digest(keys["CHAP_N"].encode(), self._credentials.username.encode())
        is_right = hmac.compare_digest(received, expected)
        if hmac.compare_digest(received, own_response):
            raise not_proven("it sent our own response back")
        if not is_named:
            raise not_proven("its name is not the IncomingUsername")
        if not is_right:
            raise not_proven("its response does not fit the IncomingPassword")


def not_proven(why: str) -> AuthenticationFailed:
    """Make the exception for a target that fails in, or gets around, proving itself."""
    return AuthenticationFailed(
        f"the target did not prove itself: {why}",
        advice="compare IncomingUsername and IncomingPassword with what the target has; if they "
        "are right, something else answers at this address",
    )
