"""A readable trace of an exchange: every PDU, and the keys of a login without secrets.

PDUs are recorded as they pass and formatted only if the trace is asked for, so that an exchange
without ``-d`` costs little. Bounded, and safe to show. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from iscsid.protocol.codes import Stage
from iscsid.protocol.login_status import explain
from iscsid.protocol.pdu import (
    AsyncMessage,
    LoginRequest,
    LoginResponse,
    LogoutResponse,
    Pdu,
    Reject,
    RequestPdu,
    ResponsePdu,
)
from iscsid.protocol.printable import printable
from iscsid.protocol.text import Pairs

MAX_ENTRIES = 200
MAX_LINES_OF_PAIRS = 100

_MASKED = frozenset({"CHAP_C", "CHAP_R"})
"""With both of them, passwords can be guessed offline."""


class Trace:
    """Records PDUs and pairs in order."""

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self._limit = limit
        self._entries: list[tuple[str, Pdu | Pairs]] = []
        self._left_out = 0

    def sent(self, passed: Pdu | Pairs) -> None:
        self._add(">", passed)

    def received(self, passed: Pdu | Pairs) -> None:
        self._add("<", passed)

    def _add(self, arrow: str, passed: Pdu | Pairs) -> None:
        if len(self._entries) < self._limit:
            self._entries.append((arrow, passed))
        else:
            self._left_out += 1

    def take(self) -> tuple[str, ...]:
        """Return the formatted lines and clear the trace."""
        entries, left_out = self._entries, self._left_out
        self.forget()
        lines = [f"{arrow} {line}" for arrow, passed in entries for line in _lines(passed)]
        if left_out:
            lines.append(f"... {left_out} more")
        return tuple(lines)

    def forget(self) -> None:
        """Clear the trace."""
        self._entries, self._left_out = [], 0


def _lines(passed: Pdu | Pairs) -> Iterator[str]:
    if isinstance(passed, LoginRequest):
        yield f"login request, {_stages(passed)}, {_numbers(passed)}"
    elif isinstance(passed, LoginResponse):
        yield f"login response, {_status(passed)}, {_stages(passed)}, {_numbers(passed)}"
    elif isinstance(passed, Pdu):
        yield ", ".join((f"{passed.opcode}", *_details(passed)))
    else:
        for name, value in passed[:MAX_LINES_OF_PAIRS]:
            yield f"    {name}={'********' if name in _MASKED else printable(value)}"


def _details(pdu: Pdu) -> Iterator[str]:
    """Describe a PDU other than those of the login."""
    match pdu:
        case AsyncMessage():
            yield f"{pdu.async_event}"
        case LogoutResponse():
            yield f"{pdu.response}"
        case Reject():
            yield f"{pdu.reason}"
    match pdu:
        case RequestPdu():
            yield f"ITT {pdu.initiator_task_tag:#x}"
            yield f"CmdSN {pdu.cmd_sn}, ExpStatSN {pdu.exp_stat_sn}"
        case ResponsePdu():
            yield f"ITT {pdu.initiator_task_tag:#x}"
            yield f"StatSN {pdu.stat_sn}, {_window(pdu)}"
    if pdu.data:
        yield f"{len(pdu.data)} octets"


def _window(pdu: ResponsePdu) -> str:
    return f"ExpCmdSN {pdu.exp_cmd_sn}, MaxCmdSN {pdu.max_cmd_sn}"


def _stages(pdu: LoginRequest | LoginResponse) -> str:
    stages = f"{Stage(pdu.current_stage)}"
    if pdu.transit:
        stages += f" to {Stage(pdu.next_stage)}"
    return f"{stages}, text continues" if pdu.continue_ else stages


def _numbers(pdu: LoginRequest | LoginResponse) -> str:
    isid = f"ISID {pdu.isid.hex()}, TSIH {pdu.tsih:#06x}"
    if isinstance(pdu, LoginRequest):
        return f"{isid}, CmdSN {pdu.cmd_sn}, ExpStatSN {pdu.exp_stat_sn}"
    return f"{isid}, StatSN {pdu.stat_sn}, {_window(pdu)}"


def _status(pdu: LoginResponse) -> str:
    return f"status {pdu.status:04x} ({explain(pdu.status).words})"
