"""Hostile targets in CHAP, where the daemon has a secret, and should not do without it."""

from __future__ import annotations

from iscsid.protocol.codes import Stage
from tests.hostile.case import (
    BOB,
    MUTUAL,
    ONE_WAY,
    Case,
    MakeTarget,
    cases,
    chap,
    plays,
    plays_chap,
)
from tests.hostile.targets import StopsReading
from tests.target.login import split_text
from tests.target.negotiator import Pairs
from tests.target.script import Edit, add, change, hang_up, only, put
from tests.target.scripted import ScriptedTarget

METHOD, CHALLENGE, PROOF, LAST = 0, 1, 2, 3
"""The responses of a login with CHAP."""

CHAP_VALUES: dict[str, dict[str, str]] = {
    "CHAP_A": {
        "": "CHAP_A", "4": "CHAP_A", "6": "CHAP_A", "8": "CHAP_A", "255": "CHAP_A",
        "5,7": "CHAP_A", "MD5": "CHAP_A", "-5": "CHAP_A", "05": "CHAP_A", "5 ": "CHAP_A",
        "Reject": "none of the CHAP algorithms", "None": "CHAP_A"},
    "CHAP_I": {
        "": "CHAP_I", "256": "CHAP_I", "-1": "CHAP_I", "0x100": "CHAP_I", "one": "CHAP_I",
        "1.5": "CHAP_I", "99999999999999999999": "CHAP_I"},
    "CHAP_C": {
        "": "CHAP_C", "0x": "CHAP_C", "0b": "CHAP_C", "0x0g": "CHAP_C", "0b!!!!": "CHAP_C",
        "secret": "CHAP_C", "0x" + "00" * 1025: "CHAP_C", "0b" + "A" * 1500: "CHAP_C",
        "0x00\n00": "CHAP_C", "Reject": "CHAP_C"},
}  # fmt: skip
PROOFS: dict[str, dict[str, str]] = {
    "CHAP_N": {"mallory": "its name is not", "": "its name is not", "BOB": "its name is not"},
    "CHAP_R": {
        "": "CHAP_R", "0x": "CHAP_R", "0x00": "does not fit", "0x" + "00" * 16: "does not fit",
        "0x" + "ff" * 1024: "does not fit", "0x" + "00" * 1025: "CHAP_R", "0b": "CHAP_R",
        "please": "CHAP_R"},
}  # fmt: skip
DOWNGRADES: dict[str, tuple[Edit, str]] = {
    "none": (only(METHOD, ("AuthMethod", "None")), "it chose None"),
    "reject": (only(METHOD, ("AuthMethod", "Reject")), "does not take CHAP"),
    "not-understood": (only(METHOD, ("AuthMethod", "NotUnderstood")), "does not take CHAP"),
    "irrelevant": (only(METHOD, ("AuthMethod", "Irrelevant")), "does not take CHAP"),
    "kerberos": (only(METHOD, ("AuthMethod", "KRB5")), "AuthMethod"),
    "both": (only(METHOD, ("AuthMethod", "CHAP,None")), "AuthMethod"),
    "twice": (add(METHOD, ("AuthMethod", "CHAP")), "came a second time"),
    "challenge-before-the-method": (
        only(METHOD, ("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x12")), "CHAP_A came"),
    "method-and-challenge-at-once": (add(METHOD, ("CHAP_A", "5")), "CHAP_A came"),
    "challenge-twice": (add(CHALLENGE, ("CHAP_C", "0x12")), "came a second time"),
    "challenge-with-a-name": (add(CHALLENGE, ("CHAP_N", BOB)), "CHAP_N came"),
    "no-algorithm": (put(CHALLENGE, "CHAP_A", None), "CHAP_A"),
    "no-identifier": (put(CHALLENGE, "CHAP_I", None), "CHAP_I"),
    "no-challenge": (put(CHALLENGE, "CHAP_C", None), "CHAP_C"),
    "a-challenge-again-after-the-proof": (
        only(PROOF, ("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x12")), "came a second time"),
    "the-method-again-after-the-proof": (only(PROOF, ("AuthMethod", "None")), "second time"),
}  # fmt: skip


class Echoes(ScriptedTarget):
    """Proves itself with the response that it was sent."""

    def __init__(self) -> None:
        super().__init__(chap(mutual=True, edit=self._echo))

    def _echo(self, number: int, sent: Pairs) -> Pairs:
        if number != PROOF:
            return sent
        request = dict(split_text(self.received[-1].pdu.data))
        return (("CHAP_N", BOB), ("CHAP_R", request["CHAP_R"]))


def transit(at: int, stage: Stage = Stage.OPERATIONAL_NEGOTIATION, **fields: object) -> MakeTarget:
    return plays_chap(amend=change(at, transit=True, next_stage=stage, **fields))


CHAP_CASES: tuple[Case, ...] = (
    cases(
        {
            f"{key}={value[:10]}": (plays_chap(edit=put(CHALLENGE, key, value)), cause)
            for key, values in CHAP_VALUES.items()
            for value, cause in values.items()
        }
        | {
            f"downgrade-{name}": (plays_chap(edit=edit), cause)
            for name, (edit, cause) in DOWNGRADES.items()
        }
        | {
            "leaves-security-at-once": (transit(METHOD), "left the security stage"),
            "leaves-security-with-the-challenge": (transit(CHALLENGE), "left the security stage"),
            "leaves-for-the-full-feature-phase": (
                transit(METHOD, Stage.FULL_FEATURE_PHASE, tsih=1), "left the security stage"),
            "wrong-password": (
                plays(accounts={"alice": b"another-secret-1"}), "(status 0201)"),
            "unknown-user": (plays(accounts={"carol": b"another-secret-1"}), "(status 0201)"),
            "open-to-all": (plays(), "authenticat"),
            "closes-after-the-method": (plays_chap(amend=hang_up(METHOD)), "closed"),
            "closes-instead-of-the-challenge": (plays_chap(amend=hang_up(CHALLENGE)), "closed"),
            "closes-instead-of-accepting": (plays_chap(amend=hang_up(PROOF)), "closed"),
            "closes-at-the-last-response": (plays_chap(amend=hang_up(LAST)), "closed"),
            "refuses-the-algorithms": (plays_chap(statuses={CHALLENGE: 0x0200}), "algorithms"),
            "sends-nothing-after-the-method": (
                lambda _: StopsReading(chap(), after=1), "no answer within"),
            "sends-nothing-after-the-challenge": (
                lambda _: StopsReading(chap(), after=2), "no answer within"),
        },
        settings=ONE_WAY,
    )
    + cases(
        {
            f"mutual-{key}={value[:10]}": (plays_chap(True, edit=put(PROOF, key, value)), cause)
            for key, values in PROOFS.items()
            for value, cause in values.items()
        }
        | {
            "mutual-no-name": (plays_chap(True, edit=put(PROOF, "CHAP_N", None)), "sent no CHAP_N"),
            "mutual-no-response": (
                plays_chap(True, edit=put(PROOF, "CHAP_R", None)), "sent no CHAP_R"),
            "mutual-no-proof": (plays_chap(True, edit=only(PROOF)), "left the security stage"),
            "mutual-sends-our-response-back": (lambda _: Echoes(), "our own response back"),
            "mutual-refuses-our-challenge": (plays_chap(), "(status 0201)"),
        },
        settings=MUTUAL,
    )
)  # fmt: skip
