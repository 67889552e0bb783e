"""Targets that break more than a field of a PDU: silence, floods, drips, and other protocols."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from iscsid.protocol.pdu import LoginResponse, TextRequest, TextResponse
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget


class Sends:
    """Sends octets as soon as it is connected to, whatever comes; then closes, if it does."""

    def __init__(self, octets: bytes = b"", *, closes: bool = False, resets: bool = False) -> None:
        self.is_closed = False
        self.resets = resets
        self._octets = octets
        self._closes = closes or resets

    def receive_data(self, data: bytes) -> None:
        """Take no notice."""

    def data_to_send(self) -> bytes:
        octets, self._octets = self._octets, b""
        self.is_closed = self._closes
        return octets


class Repeats:
    """Sends the same octets without end, after ``first``; so many seconds lie in between."""

    def __init__(self, octets: bytes, first: bytes = b"", every: float = 0.0) -> None:
        self.is_closed = False
        self._first, self._octets, self._every = first, octets, every
        self._due = 0.0

    def receive_data(self, data: bytes) -> None:
        """Take no notice."""

    def data_to_send(self) -> bytes:
        if time.monotonic() < self._due:
            return b""
        self._due = time.monotonic() + self._every
        first, self._first = self._first, b""
        return first or self._octets


class Pieces(ScriptedTarget):
    """A correct target whose octets come one at a time, with a pause before each."""

    def __init__(self, script: Script, pause: float, piece: int = 1) -> None:
        super().__init__(script)
        self._line = b""
        self._pause, self._piece = pause, piece
        self._due = 0.0

    def data_to_send(self) -> bytes:
        self._line += super().data_to_send()
        if not self._line or time.monotonic() < self._due:
            return b""
        self._due = time.monotonic() + self._pause
        piece, self._line = self._line[: self._piece], self._line[self._piece :]
        return piece


class StopsReading(ScriptedTarget):
    """A correct target that answers nothing any more after so many PDUs."""

    def __init__(self, script: Script, after: int, *, closes: bool = False) -> None:
        super().__init__(script)
        self._after, self._closes = after, closes

    def receive_data(self, data: bytes) -> None:
        if len(self.received) >= self._after:
            self.is_closed = self._closes
            return
        super().receive_data(data)


class Afterwards(ScriptedTarget):
    """A correct target that sends more after its first answer to SendTargets.

    ``more`` makes the octets of each time, which are sent ``times`` times (0 for without end),
    with so many seconds in between; after that it may close or reset.
    """

    def __init__(
        self,
        more: Callable[[], bytes],
        *,
        script: Script | None = None,
        times: int = 1,
        every: float = 0.0,
        closes: bool = False,
        resets: bool = False,
    ) -> None:
        super().__init__(script)
        self.resets = resets
        self._more = more
        self._left = times or 1 << 60
        self._every = every
        self._closes = closes or resets
        self._due = 0.0

    def data_to_send(self) -> bytes:
        octets = super().data_to_send()
        if not any(isinstance(each.pdu, TextRequest) for each in self.received):
            return octets
        if self._left and time.monotonic() >= self._due:
            self._left -= 1
            self._due = time.monotonic() + self._every
            return octets + self._more()
        if not self._left:
            self.is_closed = self.is_closed or self._closes
        return octets


def cut(at: int, size: int) -> Callable[[int, LoginResponse], LoginResponse | bytes]:
    """Return a fault: of Login Response number ``at`` only the first ``size`` octets come."""

    def amend(number: int, response: LoginResponse) -> LoginResponse | bytes:
        return response.encode()[:size] if number == at else response

    return amend


def octet(at: int, place: int, value: int) -> Callable[[int, LoginResponse], LoginResponse | bytes]:
    """Return a fault: an octet of the header of Login Response number ``at`` has this value."""

    def amend(number: int, response: LoginResponse) -> LoginResponse | bytes:
        octets = bytearray(response.encode())
        octets[place] = value
        return bytes(octets) if number == at else response

    return amend


def raw_text(at: int, text: bytes) -> Callable[[int, LoginResponse], LoginResponse]:
    """Return a fault: Login Response number ``at`` has these octets as its text."""

    def amend(number: int, response: LoginResponse) -> LoginResponse:
        if number != at:
            return response
        return replace(response, data=text)

    return amend


def answers(text: bytes, **fields: Any) -> Callable[[int, TextResponse], TextResponse]:
    """Return a fault: every Text Response has this text, and these fields."""

    def amend(_number: int, response: TextResponse) -> TextResponse:
        return replace(response, data=text, **fields)

    return amend
