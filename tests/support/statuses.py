"""Statuses: a daemon with a healthy session, one that is down, and some troubles."""

from __future__ import annotations

from iscsid.status.model import DiscoveryStatus, LunStatus, SessionStatus, Status

NOW = 1_700_000_600.0
"""2023-11-14T22:23:20Z"""

DISK = LunStatus(
    lun=1,
    links={"disk": "/dev/sda", "part1": "/dev/sda1", "generic": "/dev/sg1"},
    size=64 << 20,
    vendor="IET",
    model="VIRTUAL-DISK",
    revision="0001",
    kind="Direct-Access",
    identity="naa.60000000000000000e00000000010001",
)
UP = SessionStatus(
    bus=0,
    target=0,
    target_name="iqn.2003-02.org.example:red",
    target_alias="the red one",
    state="up",
    since=NOW - 600,
    portal="192.0.2.1:3260",
    portal_group_tag=1,
    portals=["192.0.2.1:3260", "[2001:db8::1]:3260"],
    connected_to="192.0.2.1:3260",
    found_at="192.0.2.1:3260",
    initiator_name="iqn.2003-02.org.example:me",
    isid="800000000000",
    tsih=7,
    sid=1,
    host_no=6,
    negotiated={"HeaderDigest": "CRC32C", "MaxBurstLength": 262144},
    luns=[DISK, LunStatus(lun=5, replaced=True)],
)
DOWN = SessionStatus(
    bus=0,
    target=12,
    target_name="iqn.2003-02.org.example:green",
    state="waiting",
    since=NOW - 90000,
    portal="[2001:db8::1]:3261",
    is_tried=True,
    last_error="connecting: connection refused",
    next_attempt=NOW + 30,
)
STATUS = Status(
    version="4.0.0",
    pid=4711,
    written=NOW,
    initiator_name="iqn.2003-02.org.example:me",
    basedir="/dev/iscsi",
    bindings=2,
    discoveries=[
        DiscoveryStatus(address="192.0.2.1:3260", state="logged in", since=NOW - 700, targets=2),
        DiscoveryStatus(
            address="192.0.2.9:3260",
            state="waiting",
            since=NOW - 5,
            last_error="no route to host",
            next_attempt=NOW + 100,
        ),
    ],
    sessions=[UP, DOWN],
)
