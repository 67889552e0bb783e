"""The translation of a session into the kernel's parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import IscsidError
from iscsid.kernel.kernel_parameters import Parameter, session_settings, timeout_settings
from iscsid.orders import KernelTimeouts, SessionDescription
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import AgreedParameters, Digest

DESCRIPTION = SessionDescription(
    target_name=IscsiName("iqn.2004-09.org.example:disks"),
    initiator_name=IscsiName("iqn.2004-09.org.example:initiator"),
    portal=Portal("2001:db8::1", 3261),
    portal_group_tag=7,
    session_tag="iscsid:0:3:800000000003",
    cmd_sn=5,
    exp_stat_sn=0xFFFFFFFF,
    parameters=AgreedParameters(
        header_digest=Digest.CRC32C,
        data_digest=Digest.NONE,
        initial_r2t=False,
        immediate_data=True,
        max_recv_data_segment_length=131072,
        target_max_recv_data_segment_length=65536,
        first_burst_length=262144,
        max_burst_length=16776192,
        max_outstanding_r2t=1,
        data_pdu_in_order=True,
        data_sequence_in_order=False,
        error_recovery_level=0,
    ),
    timeouts=KernelTimeouts(
        recovery=120, abort=15, lun_reset=30, target_reset=31, ping_interval=60, ping_timeout=5
    ),
)

# By the kernel's own numbers (include/scsi/iscsi_if.h), which are what matters.
TABLE = {
    2: "1",
    3: "0",
    0: "131072",
    1: "65536",
    4: "0",
    5: "1",
    6: "1",
    7: "262144",
    8: "16776192",
    9: "1",
    10: "0",
    11: "0",
    14: "4294967295",
    15: "iqn.2004-09.org.example:disks",
    34: "iqn.2004-09.org.example:initiator",
    17: "2001:db8::1",
    18: "3261",
    32: "iscsid:0:3:800000000003",
    16: "7",
    19: "120",
    27: "15",
    28: "30",
    35: "31",
    30: "5",
    31: "60",
}


def as_numbers(description: SessionDescription) -> dict[int, str]:
    return {int(s.parameter): s.text for s in session_settings(description)}


def test_session_gets_every_parameter_and_nothing_else() -> None:
    assert as_numbers(DESCRIPTION) == TABLE


def test_no_parameter_is_sent_twice() -> None:
    assert len(session_settings(DESCRIPTION)) == len(TABLE)


def test_digests_come_before_all_else() -> None:
    first, second, *_ = session_settings(DESCRIPTION)
    assert {first.parameter, second.parameter} == {Parameter.HDRDGST_EN, Parameter.DATADGST_EN}


def test_chap_credentials_have_no_number_here() -> None:
    assert not {22, 23, 24, 25} & set(Parameter)


def test_target_without_portal_group_tag_gets_none() -> None:
    assert 16 not in as_numbers(replace(DESCRIPTION, portal_group_tag=None))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0"), (-1, "-1"), (-5, "-1"), (86400, "86400")])
def test_recovery_that_never_ends_is_minus_one(seconds: int, text: str) -> None:
    settings = timeout_settings(replace(DESCRIPTION.timeouts, recovery=seconds))
    assert {s.text for s in settings if s.parameter is Parameter.SESS_RECOVERY_TMO} == {text}


@given(st.integers(1, 65535))
def test_outstanding_r2ts_are_a_power_of_two_with_room_for_all(number: int) -> None:
    parameters = replace(DESCRIPTION.parameters, max_outstanding_r2t=number)
    sent = int(as_numbers(replace(DESCRIPTION, parameters=parameters))[5])
    assert sent.bit_count() == 1 and number <= sent < 2 * number


LONGEST = [("target_name", 223), ("initiator_name", 223), ("session_tag", 1023)]


@pytest.mark.parametrize(("field", "most"), LONGEST)
def test_text_of_one_octet_too_many_is_refused_by_name(field: str, most: int) -> None:
    session_settings(replace(DESCRIPTION, **{field: "x" * most}))  # type: ignore[arg-type]
    for text in ("x" * (most + 1), "\u00fc" * (most // 2 + 1)):
        with pytest.raises(IscsidError, match=f"1 to {most} octets"):
            session_settings(replace(DESCRIPTION, **{field: text}))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "a\0b", "a\nb", "a\x7fb", "\ud800"])
def test_text_that_sysfs_could_not_show_is_refused(text: str) -> None:
    with pytest.raises(IscsidError, match="IFACE_NAME"):
        session_settings(replace(DESCRIPTION, session_tag=text))


def test_address_too_long_for_the_kernel_is_refused() -> None:
    with pytest.raises(IscsidError, match="PERSISTENT_ADDRESS"):
        session_settings(replace(DESCRIPTION, portal=Portal("h" * 256)))
