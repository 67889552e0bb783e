"""The target's half of operational negotiation: small, and written without looking at the other.

It is the model against which the initiator's key table is held, so it shares nothing with it but
the standard. It answers offers, remembers what it offered itself, and knows what is agreed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Pairs = tuple[tuple[str, str], ...]

DEFAULTS = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "MaxConnections": "1",
    "InitialR2T": "Yes",
    "ImmediateData": "Yes",
    "MaxBurstLength": "262144",
    "FirstBurstLength": "65536",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "20",
    "MaxOutstandingR2T": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "ErrorRecoveryLevel": "0",
}
SMALLER = {
    "MaxConnections",
    "MaxBurstLength",
    "FirstBurstLength",
    "DefaultTime2Retain",
    "MaxOutstandingR2T",
    "ErrorRecoveryLevel",
}
LISTS = {"HeaderDigest", "DataDigest"}
YES_WINS = {"InitialR2T", "DataPDUInOrder", "DataSequenceInOrder"}
NO_VALUES = {"Reject", "Irrelevant", "NotUnderstood"}
DECLARED = {
    "InitiatorName",
    "InitiatorAlias",
    "SessionType",
    "TargetName",
    "MaxRecvDataSegmentLength",
}


class Negotiator:
    """``mine`` are the target's own values; what it does not name it takes from the defaults.

    Offers of the keys it ``leaves_out`` get no answer, and settle nothing.
    """

    def __init__(self, mine: Mapping[str, str], leaves_out: Sequence[str] = ()) -> None:
        self.mine = {**DEFAULTS, **mine}
        self._leaves_out = leaves_out
        self._unanswered: set[str] = set()
        self.agreed: dict[str, str] = {}
        self.declared: dict[str, str] = {}
        self.offered: dict[str, str] = {}

    def receive(self, pairs: Iterable[tuple[str, str]]) -> Pairs:
        """Take the initiator's pairs; return the answers to those that are offers."""
        answers = []
        for name, value in pairs:
            if name in DECLARED:
                self.declared[name] = value
            elif self.offered.pop(name, None) is not None:
                self.agreed[name] = value
            elif name in self._leaves_out:
                self._unanswered.add(name)
            elif value in NO_VALUES:
                self.agreed[name] = value
            elif name in DEFAULTS:
                self.agreed[name] = self.result(name, value)
                answers.append((name, self.agreed[name]))
            else:
                answers.append((name, "NotUnderstood"))
        return tuple(answers)

    def offer(self, pairs: Pairs) -> Pairs:
        """Bring up those of ``pairs`` that neither side has brought up yet."""
        old = self._unanswered.union(self.agreed)
        new = tuple(pair for pair in pairs if pair[0] not in old)
        self.offered.update(new)
        return new

    def result(self, name: str, theirs: str) -> str:
        mine = self.mine[name]
        if name in LISTS:
            supported = mine.split(",")
            return next((value for value in theirs.split(",") if value in supported), "Reject")
        if name == "DefaultTime2Wait":
            return str(max(int(mine), int(theirs)))
        if name in SMALLER:
            return str(min(int(mine), int(theirs)))
        both = {mine, theirs}
        if name in YES_WINS:
            return "Yes" if "Yes" in both else "No"
        return "No" if "No" in both else "Yes"

    def value(self, name: str) -> str:
        """Return what holds for a key as the target sees it."""
        agreed = self.agreed.get(name, DEFAULTS[name])
        return DEFAULTS[name] if agreed in NO_VALUES else agreed
