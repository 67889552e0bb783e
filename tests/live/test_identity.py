"""Asking real targets, between login and hand-over, whether their disks are what they were."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.errors import Decision, Failure
from iscsid.protocol.identity import IdentityExchange, lower_cmd_sn
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Digest, LoginPlan, Offer
from iscsid.protocol.scsi import ScsiCommand, ScsiDataIn, encode_lun, inquiry, scsi_pdu
from iscsid.protocol.serial import add
from iscsid.protocol.vpd import DEVICE_IDENTIFICATION, Identity
from tests.live.conftest import UNITS, tgtd_name
from tests.live.driver import Session, log_in
from tests.live.istgt import Istgt
from tests.live.tgtd import LiveTgtd
from tests.target.joined import make_plan

CMD_SN = 1
"""The kernel's own, in these tests: so that our commands come from the other end of the circle."""
LENGTH = 255
RED, BLUE, GREEN = "c0ffee0000000001", "c0ffee0000000002", "c0ffee0000000003"
"""In tgtd's pages as text, and as the digits of an NAA designator."""
CRC = (Digest.CRC32C,)
NO = (Digest.NONE,)

both_ways = pytest.mark.parametrize(
    ("header", "data"), [(NO, NO), (CRC, NO), (NO, CRC), (CRC, CRC)], ids=str
)
at_once_or_again = pytest.mark.parametrize(
    "immediate", [False, True], ids=["ordinary", "immediate"]
)


def make(name: IscsiName, header: Sequence[Digest] = NO, data: Sequence[Digest] = NO) -> LoginPlan:
    offer = Offer(header_digest=tuple(header), data_digest=tuple(data))
    return replace(make_plan(offer=offer, cmd_sn=CMD_SN), target_name=name)


def ask(session: Session, lun: int, *, immediate: bool = True) -> ScsiDataIn:
    """Ask one LUN for its page, without the exchange."""
    command = ScsiCommand(
        immediate=immediate,
        read=True,
        lun=encode_lun(lun),
        initiator_task_tag=0x77,
        expected_data_transfer_length=LENGTH,
        cmd_sn=session.result.cmd_sn,
        exp_stat_sn=session.result.exp_stat_sn,
        cdb=inquiry(DEVICE_IDENTIFICATION, LENGTH),
    )
    answer = scsi_pdu(session._ask(command))
    assert isinstance(answer, ScsiDataIn) and answer.has_status, answer
    exp_stat_sn = add(answer.stat_sn)
    session.result = replace(session.result, exp_stat_sn=exp_stat_sn, cmd_sn=answer.exp_cmd_sn)
    return answer


def pages(portal: Portal, plan: LoginPlan, *luns: int) -> tuple[Identity, ...]:
    with log_in(portal, plan) as session:
        found = tuple((lun, ask(session, lun).data) for lun in luns)
        session.log_out()
    return found


@contextmanager
def identified(
    portal: Portal, plan: LoginPlan, identities: tuple[Identity, ...]
) -> Iterator[tuple[Session, Failure | None]]:
    """A session on which all LUNs have been asked, and what came of it."""
    with log_in(portal, lower_cmd_sn(plan, identities)) as session:
        exchange = IdentityExchange(session.result, identities)
        while exchange.result is None:
            if data := exchange.data_to_send():
                session.connection.sendall(data)
            exchange.receive_data(session.connection.recv(exchange.bytes_wanted))
        assert nothing_waits(session.connection)
        session.result = exchange.result
        yield session, exchange.failure


def nothing_waits(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        connection.settimeout(20)


def goes_on(session: Session) -> None:
    """The next command has the kernel's own number, and the status the number it expects."""
    assert session.result.cmd_sn == CMD_SN
    session.ping()
    session.log_out()


# --- tgtd ---------------------------------------------------------------------------------------


@pytest.fixture
def two_disks(tgtd: LiveTgtd, disk: Path) -> Iterator[IscsiName]:
    """A target that takes any digest, with LUNs 1 and 2."""
    name = tgtd_name("identity")
    digests = {"HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"}
    tgtd.add_target(name, {}, parameters=digests)
    tgtd.add_lun(name, 1, disk, serial=RED)
    tgtd.add_lun(name, 2, disk, serial=BLUE)
    yield name
    tgtd.remove_target(name)


@both_ways
def test_tgtd_confirms_its_disks_and_the_session_goes_on(
    tgtd: LiveTgtd, two_disks: IscsiName, header: Sequence[Digest], data: Sequence[Digest]
) -> None:
    plan = make(two_disks, header, data)
    known = pages(tgtd.portal, plan, 0, 1, 2)
    with identified(tgtd.portal, plan, known) as (session, failure):
        assert session.result.parameters.header_digest in header
        assert session.result.parameters.data_digest in data
        assert failure is None
        goes_on(session)


@at_once_or_again
@both_ways
def test_tgtd_answers_ordinary_and_immediate_questions(
    tgtd: LiveTgtd,
    two_disks: IscsiName,
    header: Sequence[Digest],
    data: Sequence[Digest],
    immediate: bool,
) -> None:
    with log_in(tgtd.portal, make(two_disks, header, data)) as session:
        for expected in (CMD_SN, CMD_SN) if immediate else (CMD_SN + 1, CMD_SN + 2):
            assert ask(session, 1, immediate=immediate).exp_cmd_sn == expected
        session.ping()


def test_tgtd_with_its_disks_exchanged_is_found_out(
    tgtd: LiveTgtd, two_disks: IscsiName, disk: Path
) -> None:
    plan = make(two_disks)
    known = pages(tgtd.portal, plan, 1, 2)
    tgtd.remove_lun(two_disks, 1)
    tgtd.add_lun(two_disks, 1, disk, serial=GREEN)
    with identified(tgtd.portal, plan, known) as (session, failure):
        assert failure is not None and failure.decision is Decision.RETRY_SLOWLY
        assert "LUN 1: another logical unit" in failure.what
        assert f"{RED}' and is" in failure.what and f"{GREEN}'" in failure.what
        assert "LUN 2" not in failure.what
        session.log_out()


def test_tgtd_without_one_of_its_disks_is_found_out(tgtd: LiveTgtd, two_disks: IscsiName) -> None:
    plan = make(two_disks)
    known = pages(tgtd.portal, plan, 1, 2)
    tgtd.remove_lun(two_disks, 2)
    with identified(tgtd.portal, plan, known) as (session, failure):
        assert failure is not None and failure.decision is Decision.RETRY
        assert failure.what.startswith("LUN 2: no logical unit answers here any more")
        session.log_out()


# --- istgt --------------------------------------------------------------------------------------


@both_ways
def test_istgt_confirms_its_disk_and_the_session_goes_on(
    istgt: Istgt, header: Sequence[Digest], data: Sequence[Digest]
) -> None:
    plan = make(IscsiName(UNITS[0].target_name), header, data)
    known = pages(istgt.portal, plan, 0)
    with identified(istgt.portal, plan, known) as (session, failure):
        assert session.result.parameters.header_digest in header
        assert failure is None
        goes_on(session)


@at_once_or_again
def test_istgt_counts_ordinary_questions_and_no_immediate_ones(
    istgt: Istgt, immediate: bool
) -> None:
    with log_in(istgt.portal, make(IscsiName(UNITS[0].target_name))) as session:
        for expected in (CMD_SN, CMD_SN) if immediate else (CMD_SN + 1, CMD_SN + 2):
            assert ask(session, 0, immediate=immediate).exp_cmd_sn == expected
        session.ping()


def test_a_disk_of_istgt_is_the_same_through_another_portal_group(istgt: Istgt) -> None:
    plan = make(IscsiName(UNITS[0].target_name))
    known = pages(istgt.portal, plan, 0)
    assert known != pages(istgt.second_portal, plan, 0), "the ports are named in the page, too"
    with identified(istgt.second_portal, plan, known) as (session, failure):
        assert failure is None
        goes_on(session)


def test_another_target_of_istgt_in_its_place_is_found_out(istgt: Istgt) -> None:
    known = pages(istgt.portal, make(IscsiName(UNITS[0].target_name)), 0)
    digests = make(IscsiName(UNITS[3].target_name), CRC, CRC)
    with identified(istgt.portal, digests, known) as (session, failure):
        assert failure is not None and "LUN 0: another logical unit" in failure.what
        session.log_out()


def test_a_lun_that_istgt_never_had_is_missing(istgt: Istgt) -> None:
    plan = make(IscsiName(UNITS[0].target_name))
    ((_, page),) = pages(istgt.portal, plan, 0)
    with identified(istgt.portal, plan, ((7, page),)) as (session, failure):
        assert failure is not None and failure.what.startswith("LUN 7: no logical unit")
        session.log_out()
