"""Which programs have a socket to the kernel's iSCSI interface. Touches /proc/net/netlink.

A session in the kernel says which netlink port its maker had; where nobody has that port any more,
the maker is gone.
"""

from __future__ import annotations

from pathlib import Path

from iscsid.kernel.iscsi_if import NETLINK_ISCSI

_TABLE = Path("/proc/net/netlink")
_PROTOCOL, _PORT = 1, 2


def open_ports(table: Path = _TABLE) -> frozenset[int]:
    """Return the port of every such socket on the machine. Raises ``OSError``."""
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return frozenset(int(row[_PORT]) for row in rows if int(row[_PROTOCOL]) == NETLINK_ISCSI)
