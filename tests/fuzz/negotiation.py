"""Fuzz target: a whole login with a target that sends any text.

``python -m tests.fuzz.negotiation -max_total_time=60``. The input is a plan and the texts of the
target's responses. The oracle: a result that the plan allows, or an error of the target's in one
printable line without a secret; never more requests than the bound.
"""

from __future__ import annotations

from iscsid.errors import IscsidError
from iscsid.protocol.chap import RANDOM_OCTETS
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_exchange import MAX_ROUNDS, LoginExchange
from iscsid.protocol.names import IscsiName
from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Credentials,
    Digest,
    Isid,
    LoginPlan,
    LoginResult,
    Offer,
)
from iscsid.protocol.pdu import LoginResponse
from iscsid.secret import Secret
from tests.fuzz import engine

SECRET = "open-tiger-gate"
ISID = Isid(bytes(6))
CREDENTIALS = Credentials("alice", Secret(SECRET))
INCOMING = Credentials("vault", Secret("the-vault-secret"))
AUTHENTICATIONS = (
    Authentication(),
    Authentication(CREDENTIALS, None, (ChapAlgorithm.MD5,)),
    Authentication(CREDENTIALS, INCOMING, tuple(ChapAlgorithm)),
)
DIGESTS = ((Digest.NONE,), (Digest.CRC32C,), (Digest.CRC32C, Digest.NONE))


def make_plan(choice: int) -> LoginPlan:
    return LoginPlan(
        initiator_name=IscsiName("iqn.2001-04.com.example:a"),
        target_name=None if choice & 1 else IscsiName("iqn.2001-04.com.example:t"),
        isid=ISID,
        authentication=AUTHENTICATIONS[(choice >> 1) % 3],
        offer=Offer(
            header_digest=DIGESTS[(choice >> 3) % 3],
            initial_r2t=bool(choice & 0x20),
            immediate_data=bool(choice & 0x40),
        ),
        skip_security=bool(choice & 0x80),
    )


def test_one_input(data: bytes) -> None:
    """Answer with the texts: each begins with an octet for the flags and the stages."""
    choice, rest = data[:1].ljust(1, b"\0")[0], data[1:]
    plan = make_plan(choice)
    exchange = LoginExchange(plan, bytes(range(RANDOM_OCTETS)))
    try:
        for number, text in enumerate(rest.split(b"\n\n")):
            assert number <= MAX_ROUNDS
            assert SECRET.encode() not in exchange.data_to_send()
            flags, keys = text[:1].ljust(1, b"\0")[0], text[1:].replace(b"\n", b"\0")
            response = LoginResponse(
                transit=bool(flags & 1),
                continue_=bool(flags & 2),
                current_stage=Stage(flags >> 2 & 3),
                next_stage=Stage(flags >> 4 & 3),
                isid=ISID,
                tsih=0 if flags & 0x40 else 1,
                status_class=flags >> 7,
                initiator_task_tag=0,
                stat_sn=number,
                exp_cmd_sn=1,
                max_cmd_sn=1,
                data=keys,
            ).encode()
            while response and exchange.bytes_wanted:
                piece = response[: exchange.bytes_wanted]
                response = response[len(piece) :]
                exchange.receive_data(piece)
            if exchange.result is not None:
                break
        else:
            raise exchange.connection_closed()
    except IscsidError as error:
        assert str(error).isprintable() and SECRET not in str(error)
        return
    if isinstance(exchange.result, LoginResult):
        agreed = exchange.result.parameters
        assert agreed.header_digest in plan.offer.header_digest
        assert agreed.first_burst_length <= agreed.max_burst_length
        assert agreed.max_connections == 1 and agreed.error_recovery_level == 0
    assert all(line.isprintable() and SECRET not in line for line in exchange.trace.take())


if __name__ == "__main__":
    engine.run(__file__)
