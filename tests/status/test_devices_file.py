"""/run/iscsid/devices has the columns of the Linux-iSCSI driver's /proc/scsi/iscsi."""

from __future__ import annotations

from dataclasses import replace

from iscsid.status.devices_file import format_devices
from tests.support.statuses import STATUS, UP

HEADER = """\
# iscsid version: 4.0.0
#
# SCSI:               iSCSI:
# Bus Tgt LUN         IP address   Port  TargetName
"""


def test_columns_stand_under_their_heads() -> None:
    assert format_devices(STATUS) == HEADER + (
        "    0   0   1          192.0.2.1   3260  iqn.2003-02.org.example:red\n"
        "    0   0   5          192.0.2.1   3260  iqn.2003-02.org.example:red\n"
        "    0  12   ?                  ?      ?  iqn.2003-02.org.example:green\n"
    )


def test_every_line_has_six_fields_whatever_is_known() -> None:
    ipv6 = replace(UP, connected_to="[2001:db8:1:2:3:4:5:6]:860")
    foreign = replace(UP, bus=None, target=None, connected_to="", luns=[])
    lines = format_devices(replace(STATUS, sessions=[ipv6, foreign])).splitlines()[4:]
    assert [line.split() for line in lines] == [
        ["0", "0", "1", "2001:db8:1:2:3:4:5:6", "860", UP.target_name],
        ["0", "0", "5", "2001:db8:1:2:3:4:5:6", "860", UP.target_name],
        ["?", "?", "?", "192.0.2.1", "3260", UP.target_name],
    ]


def test_no_sessions_are_a_header_alone() -> None:
    assert format_devices(replace(STATUS, sessions=[])) == HEADER
