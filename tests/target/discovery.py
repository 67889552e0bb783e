"""SendTargets as targets answer it, in the three ways of cutting a long answer there are."""

from __future__ import annotations

from typing import TypedDict

from iscsid.protocol.codes import RESERVED_TAG
from iscsid.protocol.pdu import TextRequest, TextResponse
from tests.target.login import join_text, split_text
from tests.target.profile import Continuation
from tests.target.script import Script

TRANSFER_TAG = {Continuation.NO_C_BIT: 0x01000000, Continuation.C_BIT: 0}


class Numbers(TypedDict):
    """StatSN and its kin, as every PDU of a target's carries them."""

    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int


class TargetListing:
    """Answers the Text Requests of one session."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._rest = b""
        self.diagnostics: list[str] = []

    def receive(self, request: TextRequest, numbers: Numbers, limit: int) -> TextResponse:
        """Answer a request with at most ``limit`` octets of text."""
        if request.target_transfer_tag == RESERVED_TAG:
            self._rest = self._answer(dict(split_text(request.data)))
        elif request.data or request.target_transfer_tag not in TRANSFER_TAG.values():
            self.diagnostics.append("a continuation was not asked for with an empty request")
        size = self._script.piece_of_listing or limit
        style = self._script.profile.continuation
        if style is Continuation.ONE_LONG_PDU:
            size = len(self._rest)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return TextResponse(
            final=not self._rest,
            continue_=bool(self._rest) and style is Continuation.C_BIT,
            initiator_task_tag=request.initiator_task_tag,
            target_transfer_tag=TRANSFER_TAG[style] if self._rest else RESERVED_TAG,
            data=piece,
            **numbers,
        )

    def _answer(self, asked: dict[str, str]) -> bytes:
        wanted = asked.get("SendTargets", "All")
        return b"".join(
            join_text((("TargetName", listed.name),))
            + join_text(tuple(("TargetAddress", address) for address in listed.addresses))
            for listed in self._script.listed
            if wanted in ("All", listed.name)
        )
