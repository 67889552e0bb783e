"""The login phase as a target leads it: the mirror of ``iscsid.protocol.login_exchange``.

Takes one Login Request, gives the Login Response to it. It plays a correct target, unless its
script wants otherwise; what it finds wrong with a request goes into ``diagnostics``.
"""

from __future__ import annotations

from iscsid.protocol.codes import Stage
from iscsid.protocol.parameters import Isid
from iscsid.protocol.pdu import LoginRequest, LoginResponse
from tests.target.chap import Refused, TargetChap
from tests.target.negotiator import Negotiator, Pairs
from tests.target.profile import RefusesWithoutChap
from tests.target.script import Script

SECURITY, OPERATIONAL = Stage.SECURITY_NEGOTIATION, Stage.OPERATIONAL_NEGOTIATION


class Silence(Exception):
    """The target closes the connection without a word."""


def join_text(pairs: Pairs) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in pairs)


def split_text(text: bytes) -> Pairs:
    return tuple(
        (name.decode(), value.decode())
        for name, _, value in (pair.partition(b"=") for pair in text.split(b"\0")[:-1])
    )


class TargetLogin:
    """One login on one connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.negotiator = Negotiator(script.values, script.profile.leaves_out)
        self.chap = TargetChap(script)
        self.diagnostics: list[str] = []
        self.is_through = False
        self.stat_sn = script.profile.first_stat_sn
        self._number = 0
        self._text = b""
        self._pieces: list[bytes] = []
        self._transit = False
        self._security_rounds = script.security_rounds
        self._operational_rounds = script.operational_rounds
        self._has_declared = False

    @property
    def is_discovery(self) -> bool:
        return self.negotiator.declared.get("SessionType") == "Discovery"

    def receive(self, request: LoginRequest) -> LoginResponse | bytes:
        """Answer a request; raises ``Silence`` where the target closes instead."""
        number, self._number = self._number, self._number + 1
        try:
            response = self._answer(number, request)
        except Refused as refused:
            response = self._refusal(request, refused.status)
        amended = self._script.amend(number, response)
        if amended is None:
            raise Silence
        if isinstance(amended, LoginResponse):
            is_final = amended.transit and amended.next_stage == Stage.FULL_FEATURE_PHASE
            self.is_through = is_final and amended.status == 0
        return amended

    # --- a response -----------------------------------------------------------------------------

    def _answer(self, number: int, request: LoginRequest) -> LoginResponse:
        if number in self._script.statuses:
            raise Refused(self._script.statuses[number])
        if self._pieces:
            return self._next_piece(request)
        self._text += request.data
        if request.continue_:
            return self._respond(request, b"", transit=False)
        text, self._text = self._text, b""
        sent, transit = self._response_text(request, split_text(text))
        sent = self._script.edit(number, sent)
        self._pieces = self._cut(join_text(sent))
        self._transit = transit
        return self._respond_with_piece(request)

    def _cut(self, text: bytes) -> list[bytes]:
        size = self._script.piece
        if not size:
            return [text]
        return [text[at : at + size] for at in range(0, len(text), size)] or [b""]

    def _next_piece(self, request: LoginRequest) -> LoginResponse:
        if request.data or request.transit or request.continue_:
            self.diagnostics.append("a piece with C=1 was not acknowledged with an empty request")
        return self._respond_with_piece(request)

    def _respond_with_piece(self, request: LoginRequest) -> LoginResponse:
        piece = self._pieces.pop(0)
        if self._pieces:
            return self._respond(request, piece, transit=False, continues=True)
        return self._respond(request, piece, transit=self._transit)

    def _respond(
        self, request: LoginRequest, data: bytes, *, transit: bool, continues: bool = False
    ) -> LoginResponse:
        profile = self._script.profile
        next_stage = OPERATIONAL if request.current_stage == SECURITY else Stage.FULL_FEATURE_PHASE
        is_final = transit and next_stage == Stage.FULL_FEATURE_PHASE
        stat_sn, self.stat_sn = self.stat_sn, (self.stat_sn + 1) % 2**32
        shows_next = transit or profile.next_stage_without_transit
        return LoginResponse(
            transit=transit,
            continue_=continues,
            current_stage=request.current_stage,
            next_stage=next_stage if shows_next else SECURITY,
            isid=request.isid,
            tsih=profile.tsih if is_final or self._script.tsih_at_once else 0,
            initiator_task_tag=request.initiator_task_tag,
            stat_sn=stat_sn,
            exp_cmd_sn=request.cmd_sn,
            max_cmd_sn=(request.cmd_sn + profile.window) % 2**32,
            data=data,
        )

    def _refusal(self, request: LoginRequest, status: int) -> LoginResponse:
        profile = self._script.profile
        text = tuple(("TargetAddress", address) for address in self._script.moved_to)
        repeats = profile.stages_in_refusals
        return LoginResponse(
            transit=request.transit and repeats,
            current_stage=request.current_stage if repeats else SECURITY,
            next_stage=request.next_stage if repeats else SECURITY,
            isid=request.isid if profile.isid_in_refusals else Isid(bytes(6)),
            initiator_task_tag=request.initiator_task_tag,
            stat_sn=0,
            exp_cmd_sn=0,
            max_cmd_sn=0,
            status_class=status >> 8,
            status_detail=status & 0xFF,
            data=join_text(text) if status >> 8 == 1 else b"",
        )

    # --- what is sent ---------------------------------------------------------------------------

    def _response_text(self, request: LoginRequest, pairs: Pairs) -> tuple[Pairs, bool]:
        """Return the text of the response, and whether the transit is granted."""
        first = self._first_pairs(pairs)
        if request.current_stage == SECURITY:
            answers, is_done = self._security(pairs)
        else:
            answers, is_done = self._operational(pairs)
        return first + answers, request.transit and is_done

    def _first_pairs(self, pairs: Pairs) -> Pairs:
        """Return what the first response has beyond the answers."""
        if "InitiatorName" not in dict(pairs):
            return ()
        first: Pairs = ()
        alias, tag = self._script.profile.alias, self._script.portal_group_tag
        if alias and not self._script.profile.alias_after_digests:
            first += (("TargetAlias", alias),)
        if tag is not None and dict(pairs).get("SessionType") != "Discovery":
            first += (("TargetPortalGroupTag", str(tag)),)
        return first

    def _security(self, pairs: Pairs) -> tuple[Pairs, bool]:
        keys = dict(pairs)
        others = [pair for pair in pairs if pair[0] != "AuthMethod" and pair[0][:5] != "CHAP_"]
        answers = self.negotiator.receive(others)
        if "AuthMethod" in keys:
            answers += self._method(keys["AuthMethod"].split(","))
            answers += self.negotiator.offer(self._script.originates_early)
        else:
            answers += self.chap.receive(keys)
        is_done = not self._script.accounts or self.chap.is_complete
        if is_done and self._security_rounds:
            self._security_rounds -= 1
            return answers, False
        return answers, is_done

    def _method(self, offered: list[str]) -> Pairs:
        is_open = not self._script.accounts
        if is_open and "None" in offered:
            return (("AuthMethod", "None"),)
        if not is_open and "CHAP" in offered:
            return (("AuthMethod", "CHAP"),)
        match self._script.profile.refuses_without_chap:
            case RefusesWithoutChap.REJECT:
                return (("AuthMethod", "Reject"),)
            case RefusesWithoutChap.SILENCE if not is_open:
                raise Silence
        raise Refused(0x0201)

    def _operational(self, pairs: Pairs) -> tuple[Pairs, bool]:
        if self._script.accounts and not self.chap.is_proven:
            raise Refused(0x0201)
        answers = self.negotiator.receive(pairs)
        if self._script.profile.wants_every_answer and self.negotiator.offered:
            self.diagnostics += [f"no answer to {name}" for name in self.negotiator.offered]
            raise Refused(0x0200)
        if not self._has_declared:
            self._has_declared = True
            answers = self._declare(answers)
        if not self.negotiator.offered and self._operational_rounds:
            self._operational_rounds -= 1
            return answers, False
        return answers, not self.negotiator.offered

    def _declare(self, answers: Pairs) -> Pairs:
        profile, originates = self._script.profile, self._script.originates
        alias = (("TargetAlias", profile.alias),) if profile.alias_after_digests else ()
        offers = self.negotiator.offer(profile.originates if originates is None else originates)
        return answers[:2] + alias + answers[2:] + self._script.declares + offers
