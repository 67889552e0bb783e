"""The trace reads like the login, is safe to show, and holds no secret."""

from __future__ import annotations

import hashlib

from iscsid.protocol.login_exchange import LoginExchange
from iscsid.protocol.trace import MAX_ENTRIES, MAX_LINES_OF_PAIRS, Trace
from tests.target.chap_fixtures import MUTUAL, OURS, THEIRS, script
from tests.target.pairing import RANDOM, carry, log_in, make_plan
from tests.target.script import Script, add, only
from tests.target.scripted import ScriptedTarget


def test_a_login_is_formatted_pdu_by_pdu() -> None:
    exchange, _ = log_in(Script(edit=only(1, ("MaxBurstLength", "65536"))))
    lines = exchange.trace.take()
    assert lines[0] == (
        "> login request, security negotiation to operational negotiation, "
        "ISID 00023d000001, TSIH 0x0000, CmdSN 1, ExpStatSN 0"
    )
    assert lines[1] == ">     InitiatorName=iqn.2024-01.org.example:initiator"
    assert lines[5] == (
        "< login response, status 0000 (success), security negotiation to operational "
        "negotiation, ISID 00023d000001, TSIH 0x0000, StatSN 0, ExpCmdSN 1, MaxCmdSN 2"
    )
    assert lines[-1] == "<     MaxBurstLength=65536"


def test_what_was_taken_is_forgotten() -> None:
    exchange, _ = log_in()
    assert exchange.trace.take()
    assert exchange.trace.take() == ()


def test_a_refusal_is_part_of_the_trace() -> None:
    exchange, _ = log_in(Script(statuses={0: 0x0101}, moved_to=("10.0.0.1",)))
    lines = exchange.trace.take()
    assert "status 0101 (target moved temporarily)" in lines[-2]
    assert lines[-1] == "<     TargetAddress=10.0.0.1"


def test_the_trace_of_chap_holds_neither_secrets_nor_what_gives_them_away() -> None:
    knowing = script()
    exchange, target = log_in(knowing, MUTUAL)
    text = "\n".join(exchange.trace.take())
    response = hashlib.md5(bytes([7]) + OURS + knowing.challenge).hexdigest()
    hidden = (OURS.decode(), THEIRS.decode(), response, knowing.challenge.hex(), RANDOM[1:].hex())
    assert b"CHAP_R=0x" + response.encode() in b"".join(target.login_requests)
    for each in hidden:
        assert each not in text
    assert text.count("CHAP_R=********") == text.count("CHAP_C=********") == 2
    assert "CHAP_N=alice" in text and "CHAP_N=bob" in text


def test_every_trace_line_is_printable_and_bounded() -> None:
    hostile = ("TargetAlias", "\x1b[2J\r\nroot:x:0:0\u202e" + "%s" * 100)
    exchange, _ = log_in(Script(edit=add(0, hostile)))
    lines = exchange.trace.take()
    assert all(line.isprintable() and len(line) < 300 for line in lines)
    assert any("TargetAlias=\\x1b[2J\\r\\nroot" in line for line in lines)


def test_a_trace_is_bounded_and_counts_what_it_left_out() -> None:
    exchange = LoginExchange(make_plan(), RANDOM)
    carry(exchange, ScriptedTarget(Script(operational_rounds=200)))
    lines = exchange.trace.take()
    assert len(lines) < 1000
    assert lines[-1].startswith("... ")


def test_a_flood_of_pairs_is_bounded_too() -> None:
    trace = Trace()
    trace.received(tuple((f"X-key{number}", "1") for number in range(10_000)))
    assert len(trace.take()) == MAX_LINES_OF_PAIRS
    for _ in range(MAX_ENTRIES + 5):
        trace.sent((("X-key", "1"),))
    assert trace.take()[-1] == "... 5 more"
    assert trace.take() == ()
