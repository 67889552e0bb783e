"""A kept discovery session with a target that does anything it may, and then one thing it may not.

Hypothesis chooses what happens next: the answer goes on in any cut, pings and Asynchronous Messages
come between, the daemon asks again, the daemon logs out. At every step the requests that are sent
and what is known of the answer must be those of the model. One illegal PDU ends a copy of the
session with an error, and the copy has learnt nothing from it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from iscsid.errors import ProtocolError
from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent, LogoutOutcome, RejectReason, Stage
from iscsid.protocol.discovery_exchange import DiscoveryOutcome, event_of
from iscsid.protocol.pdu import (
    AsyncMessage,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Pdu,
    RawPdu,
    Reject,
    ResponsePdu,
    TextRequest,
    TextResponse,
)
from iscsid.protocol.sendtargets import MAX_EMPTY_PIECES
from iscsid.protocol.serial import add
from tests.support.scripted_discovery import ISID, LUN, Conversation

NAMES = [f"iqn.2024-01.org.example:{letter}" for letter in "abcd"]
LISTINGS = st.lists(st.sampled_from(NAMES), unique=True, max_size=4)
TAGS = st.integers(0, RESERVED_TAG - 1)
EVENTS = st.sampled_from([*AsyncEvent, AsyncEvent(77), AsyncEvent(255)])
MOST_IN_A_ROW = MAX_EMPTY_PIECES - 1


def text_of(names: list[str]) -> bytes:
    pairs = (f"TargetName={name}\0TargetAddress=10.0.0.1:3260,1\0" for name in names)
    return "".join(pairs).encode()


class KeptSession(RuleBasedStateMachine):
    """The target and the daemon; ``phase`` is where the session is by the standard."""

    @initialize(names=LISTINGS)
    def log_in(self, names: list[str]) -> None:
        self.begin(names)

    def begin(self, names: list[str]) -> None:
        self.there = Conversation()
        self.task_tag = 0
        self.pieces_in_a_row = 0
        self.events: dict[type, object] = {}
        self.expect_question()
        self.prepare_answer(names)

    def prepare_answer(self, names: list[str]) -> None:
        self.names, self.rest = names, text_of(names)
        self.phase = "asking"

    # --- what the daemon sends ------------------------------------------------------------------

    def expect_question(self) -> None:
        self.task_tag += 1
        (request,) = self.there.sent()
        assert isinstance(request, TextRequest)
        assert request.data == b"SendTargets=All\0"
        assert request.target_transfer_tag == RESERVED_TAG
        self.check(request)

    def check(self, request: TextRequest | LogoutRequest) -> None:
        """Hold a request against the numbers of the target, and count it."""
        assert request.initiator_task_tag == self.task_tag
        assert request.cmd_sn == self.there.exp_cmd_sn
        assert request.exp_stat_sn == self.there.stat_sn
        if not request.immediate:
            self.there.exp_cmd_sn = add(self.there.exp_cmd_sn)

    # --- what the target may do -----------------------------------------------------------------

    @precondition(lambda self: self.phase == "asking" and self.pieces_in_a_row < MOST_IN_A_ROW)
    @rule(size=st.integers(0, 60), tag=TAGS, c_bit=st.booleans())
    def piece(self, size: int, tag: int, c_bit: bool) -> None:
        piece, self.rest = self.rest[:size], self.rest[size:]
        self.pieces_in_a_row += 1
        self.answer(piece, tag, final=False, continue_=c_bit)
        (request,) = self.there.sent()
        assert isinstance(request, TextRequest)
        assert (request.data, request.target_transfer_tag, request.lun) == (b"", tag, LUN)
        assert request.final
        self.check(request)

    @precondition(lambda self: self.phase == "asking")
    @rule(f_bit=st.sampled_from([True, True, False]))
    def rest_of_answer(self, f_bit: bool) -> None:
        """The last piece; a target may forget the F bit."""
        self.answer(self.rest, RESERVED_TAG, final=f_bit, continue_=False)
        self.phase, self.pieces_in_a_row = "answered", 0
        assert sorted(set(self.there.names())) == sorted(self.names)
        assert self.there.exchange.skipped_targets == 0

    @precondition(lambda self: self.phase != "left")
    @rule(tag=st.none() | TAGS, data=st.binary(max_size=20), step=st.integers(1, 70))
    def ping(self, tag: int | None, data: bytes, step: int) -> None:
        """A NOP-In, which may ask for an answer; it comes in pieces."""
        # An unsolicited NOP-In does not use up a StatSN.
        nop = NopIn(
            lun=LUN if tag is not None else bytes(8),
            initiator_task_tag=RESERVED_TAG,
            target_transfer_tag=RESERVED_TAG if tag is None else tag,
            stat_sn=self.there.stat_sn,
            exp_cmd_sn=self.there.exp_cmd_sn,
            max_cmd_sn=self.there.exp_cmd_sn,
            data=data,
        )
        self.deliver_in_pieces(nop.encode(), step)
        sent = self.there.sent()
        if tag is None or self.phase == "leaving":
            assert sent == []
            return
        (answer,) = sent
        assert isinstance(answer, NopOut) and answer.immediate
        assert (answer.target_transfer_tag, answer.lun) == (tag, LUN)
        assert answer.initiator_task_tag == RESERVED_TAG
        assert answer.exp_stat_sn == self.there.stat_sn

    @precondition(lambda self: self.phase != "left")
    @rule(event=EVENTS, within=st.integers(0, 65535))
    def asynchronous_message(self, event: AsyncEvent, within: int) -> None:
        message = AsyncMessage(
            async_event=event, parameter2=within, parameter3=within, **self.there.numbers()
        )
        self.there.deliver(message)
        if known := event_of(message):
            self.events[type(known)] = known
        assert self.there.sent() == []

    @precondition(lambda self: self.phase == "leaving")
    @rule(outcome=st.sampled_from(LogoutOutcome))
    def logout_response(self, outcome: LogoutOutcome) -> None:
        numbers = self.there.numbers()
        self.there.deliver(
            LogoutResponse(response=outcome, initiator_task_tag=self.task_tag, **numbers)
        )
        self.phase = "left"
        self.take_events()

    @precondition(lambda self: self.phase == "leaving")
    @rule(size=st.integers(0, 60))
    def text_that_was_on_its_way(self, size: int) -> None:
        self.answer(self.rest[:size], 5, final=False, continue_=True, task_tag=self.task_tag - 1)
        assert self.there.names() == [] and self.there.sent() == []

    # --- what the daemon does -------------------------------------------------------------------

    @precondition(lambda self: self.phase == "answered")
    @rule(names=LISTINGS)
    def ask_again(self, names: list[str]) -> None:
        self.there.exchange.ask_again()
        self.prepare_answer(names)
        self.expect_question()

    @precondition(lambda self: self.phase in ("asking", "answered"))
    @rule()
    def log_out(self) -> None:
        self.there.exchange.log_out()
        self.there.names()
        self.task_tag += 1
        (request,) = self.there.sent()
        assert isinstance(request, LogoutRequest)
        self.check(request)
        self.phase = "leaving"

    @precondition(lambda self: self.phase == "left")
    @rule(names=LISTINGS)
    def log_in_again(self, names: list[str]) -> None:
        self.begin(names)

    @rule()
    def take_events(self) -> None:
        assert self.there.exchange.take_events() == tuple(self.events.values())
        self.events.clear()

    def teardown(self) -> None:
        self.take_events()

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def the_outcome_is_that_of_the_phase(self) -> None:
        outcomes = {"answered": DiscoveryOutcome.ANSWERED, "left": DiscoveryOutcome.LOGGED_OUT}
        assert self.there.exchange.outcome is outcomes.get(self.phase)
        assert (self.there.exchange.bytes_wanted > 0) == (self.phase != "left")

    @invariant()
    def nothing_is_sent_by_itself(self) -> None:
        assert self.there.exchange.data_to_send() == b""

    @invariant()
    def notes_are_those_of_a_legal_target(self) -> None:
        for note in self.there.exchange.take_notes():
            assert note.startswith(
                ("the target reports: ", "the answer ended without", "the target answered our")
            ), note

    @precondition(lambda self: self.phase != "left")
    @rule(data=st.data())
    def one_illegal_pdu(self, data: st.DataObject) -> None:
        """Ends a copy of the session; this one goes on as if nothing had been."""
        faults = self.illegal()
        words = data.draw(st.sampled_from(sorted(faults)))
        copy = deepcopy(self.there)
        copy.exchange.take_records()
        before = copy.exchange.outcome
        with pytest.raises(ProtocolError) as raised:
            copy.deliver(faults[words])
        assert str(raised.value).isprintable() and len(str(raised.value)) < 400
        assert copy.exchange.take_records() == () and copy.exchange.outcome is before
        assert copy.sent() == []

    def illegal(self) -> dict[str, Pdu]:
        """Return PDUs none of which may come now."""
        copy = deepcopy(self.there)
        numbers = copy.numbers()
        tag = self.task_tag
        text = TextResponse(final=True, initiator_task_tag=tag, data=text_of(NAMES), **numbers)
        faults: dict[str, Pdu] = {
            "login": LoginResponse(transit=False, current_stage=Stage(0), isid=ISID, **numbers),
            "a SCSI response": RawPdu(header=bytes([0x21]) + bytes(47)),
            "data": RawPdu(header=bytes([0x25]) + bytes(47)),
            "R2T": RawPdu(header=bytes([0x31]) + bytes(47)),
            "an unknown opcode": RawPdu(header=bytes([0x3E]) + bytes(47)),
            "a request": TextRequest(final=True, initiator_task_tag=1, cmd_sn=1, exp_stat_sn=1),
        }
        responses: dict[str, ResponsePdu] = {}
        match self.phase:
            case "asking":
                responses["another task tag"] = replace(text, initiator_task_tag=tag + 1)
                responses["the tag of the last question"] = replace(
                    text, initiator_task_tag=tag - 1
                )
                responses["a piece that names no next one"] = replace(
                    text, final=False, continue_=True
                )
                responses["a logout"] = LogoutResponse(initiator_task_tag=tag, **numbers)
                responses["a reject"] = Reject(reason=RejectReason.PROTOCOL_ERROR, **numbers)
            case "answered":
                responses["an answer to nothing"] = text
                responses["a logout"] = LogoutResponse(initiator_task_tag=tag, **numbers)
                responses["a reject"] = Reject(reason=RejectReason.PROTOCOL_ERROR, **numbers)
            case "leaving":
                responses["a logout of another"] = LogoutResponse(
                    initiator_task_tag=tag + 1, **numbers
                )
        return faults | responses

    # --- helpers --------------------------------------------------------------------------------

    def answer(
        self, data: bytes, tag: int, *, final: bool, continue_: bool, task_tag: int | None = None
    ) -> None:
        self.there.deliver(
            TextResponse(
                final=final,
                continue_=continue_,
                lun=LUN,
                initiator_task_tag=self.task_tag if task_tag is None else task_tag,
                target_transfer_tag=tag,
                data=data,
                **self.there.numbers(),
            )
        )

    def deliver_in_pieces(self, octets: bytes, step: int) -> None:
        exchange = self.there.exchange
        while octets:
            size = min(step, exchange.bytes_wanted)
            exchange.receive_data(octets[:size])
            octets = octets[size:]
        assert exchange.is_between_pdus


def test_a_kept_session_bears_all_that_is_legal_and_nothing_that_is_not() -> None:
    run_state_machine_as_test(
        KeptSession, settings=settings(max_examples=20, stateful_step_count=25, deadline=None)
    )
