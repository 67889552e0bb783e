"""Who has a socket to the kernel's iSCSI interface, as the kernel lists it."""

from __future__ import annotations

import socket
from pathlib import Path

from iscsid.kernel.netlink_ports import open_ports

# From Linux 6.1: the columns' names, a socket of the kernel itself, iscsid's two, one of udev's.
LISTED = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000002a5ef0a4 8   0          00000000 0        0        0     2        0        16390
00000000c1b7dd05 8   1201       00000001 0        0        0     2        0        17110
0000000059a7cb41 8   3301294816 00000000 0        0        0     2        0        17111
000000005fdc3a97 15  415        00000002 0        0        0     2        0        11207
"""


def test_ports_of_other_protocols_do_not_count(tmp_path: Path) -> None:
    table = tmp_path / "netlink"
    table.write_text(LISTED)
    assert open_ports(table) == {0, 1201, 3301294816}


def test_the_table_of_this_machine_can_be_read() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
        other.bind((0, 0))
        assert other.getsockname()[0] not in open_ports()
