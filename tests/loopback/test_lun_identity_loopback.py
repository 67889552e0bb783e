"""Asking real targets, between login and full feature phase, whether their disks are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from iscsid.errors import Retry
from iscsid.protocol.names import IscsiName
from iscsid.protocol.parameters import Digest
from tests.loopback.conftest import UNITS
from tests.loopback.driver import log_in
from tests.loopback.inquiry import (
    BLUE,
    CMD_SN,
    CRC,
    GREEN,
    NO,
    RED,
    ask,
    goes_on,
    identified,
    make,
    pages,
)
from tests.loopback.istgt import Istgt
from tests.loopback.plans import full_name
from tests.loopback.tgtd_loopback import LiveTgtd

both_ways = pytest.mark.parametrize(
    ("header", "data"), [(NO, NO), (CRC, NO), (NO, CRC), (CRC, CRC)], ids=str
)


# --- tgtd ---------------------------------------------------------------------------------------


@pytest.fixture
def two_disks(tgtd: LiveTgtd, disk: Path) -> Iterator[IscsiName]:
    """A target that takes any digest, with LUNs 1 and 2."""
    name = full_name("identity")
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


def test_tgtd_counts_every_question(tgtd: LiveTgtd, two_disks: IscsiName) -> None:
    with log_in(tgtd.portal, make(two_disks)) as session:
        for expected in (CMD_SN + 1, CMD_SN + 2):
            assert ask(session, 1).exp_cmd_sn == expected
        session.ping()


def test_tgtd_with_its_disks_exchanged_is_found_out(
    tgtd: LiveTgtd, two_disks: IscsiName, disk: Path
) -> None:
    plan = make(two_disks)
    known = pages(tgtd.portal, plan, 1, 2)
    tgtd.remove_lun(two_disks, 1)
    tgtd.add_lun(two_disks, 1, disk, serial=GREEN)
    with identified(tgtd.portal, plan, known) as (session, failure):
        assert failure is not None and failure.retry is Retry.LATER
        assert "LUN 1: another logical unit" in failure.what
        assert f"{RED}' and is" in failure.what and f"{GREEN}'" in failure.what
        assert "LUN 2" not in failure.what
        session.log_out()


def test_tgtd_without_one_of_its_disks_is_found_out(tgtd: LiveTgtd, two_disks: IscsiName) -> None:
    plan = make(two_disks)
    known = pages(tgtd.portal, plan, 1, 2)
    tgtd.remove_lun(two_disks, 2)
    with identified(tgtd.portal, plan, known) as (session, failure):
        assert failure is not None and failure.retry is Retry.SOON
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


def test_istgt_counts_every_question(istgt: Istgt) -> None:
    with log_in(istgt.portal, make(IscsiName(UNITS[0].target_name))) as session:
        for expected in (CMD_SN + 1, CMD_SN + 2):
            assert ask(session, 0).exp_cmd_sn == expected
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
