"""The target's half of CHAP, straight from RFC 1994 and hashlib."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from tests.target.negotiator import Pairs
from tests.target.script import Script

HASHES = {5: "md5", 6: "sha1", 7: "sha256", 8: "sha3_256"}


class Refused(Exception):
    """The login ends with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status:04x}")
        self.status = status


def digest(algorithm: int, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    return hashlib.new(HASHES[algorithm], bytes([identifier]) + secret + challenge).digest()


def write_binary(octets: bytes, *, in_base64: bool) -> str:
    return "0b" + base64.b64encode(octets).decode() if in_base64 else "0x" + octets.hex()


def read_binary(text: str) -> bytes:
    return bytes.fromhex(text[2:]) if text[:2].lower() == "0x" else base64.b64decode(text[2:])


class TargetChap:
    """One login's CHAP on the target's side."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._algorithm = 0
        self._late: Pairs = ()
        self.is_proven = False

    def receive(self, keys: Mapping[str, str]) -> Pairs:
        """Answer the initiator's CHAP keys; raises ``Refused``."""
        if "CHAP_A" in keys:
            return self._challenge(keys["CHAP_A"].split(","))
        if "CHAP_N" in keys:
            return self._check(keys)
        late, self._late = self._late, ()
        return late

    def _challenge(self, offered: list[str]) -> Pairs:
        script = self._script
        if script.refuses_lists and len(offered) > 1:
            raise Refused(0x0201)
        known = [int(each) for each in offered if int(each) in script.algorithms]
        if not known:
            return (("CHAP_A", "Reject"),)
        self._algorithm = known[0]
        return (
            ("CHAP_A", str(self._algorithm)),
            ("CHAP_I", str(script.challenge_identifier)),
            ("CHAP_C", write_binary(script.challenge, in_base64=script.base64)),
        )

    def _check(self, keys: Mapping[str, str]) -> Pairs:
        script = self._script
        secret = script.accounts.get(keys["CHAP_N"])
        if secret is None or read_binary(keys["CHAP_R"]) != digest(
            self._algorithm, script.challenge_identifier, secret, script.challenge
        ):
            raise Refused(0x0201)
        self.is_proven = True
        if "CHAP_C" not in keys:
            return ()
        if script.own_account is None:
            raise Refused(0x0201)
        name, own_secret = script.own_account
        identifier, challenge = int(keys["CHAP_I"]), read_binary(keys["CHAP_C"])
        response = digest(self._algorithm, identifier, own_secret, challenge)
        proof = (
            ("CHAP_N", name),
            ("CHAP_R", write_binary(response, in_base64=script.base64)),
        )
        if not script.proves_itself_late:
            return proof
        self._late = proof
        return ()

    @property
    def is_complete(self) -> bool:
        return self.is_proven and not self._late
