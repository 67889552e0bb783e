"""iscsi-ls prints the driver's blocks with -l and -c."""

from __future__ import annotations

import re
from dataclasses import replace

from iscsid.status.details import format_details
from iscsid.status.model import Status
from tests.support.statuses import STATUS, UP


def details(status: Status = STATUS, *, luns: bool = False, parameters: bool = False) -> str:
    lines = format_details(status, luns=luns, parameters=parameters)
    return "".join(f"{line}\n" for line in lines)


def test_nodes_are_no_links_if_no_daemon_runs() -> None:
    text = details(replace(STATUS, basedir=""), luns=True)
    assert "Links in" not in text and "  part1   -> /dev/sda1\n" in text


def test_a_unit_that_is_gone_and_kept_is_marked() -> None:
    gone = replace(UP, luns=[replace(UP.luns[0], gone=True)])
    assert "The target has removed it" in details(replace(STATUS, sessions=[gone]), luns=True)


def test_blocks_have_the_drivers_keys() -> None:
    text = details(luns=True)
    pairs = dict(re.findall(r"^([A-Z ]+?) *: (.+)$", text.split("red")[0] + text, re.MULTILINE))
    assert {"TARGET NAME", "HOST NO", "BUS ID", "TARGET ID", "TARGET ADDRESS"} <= pairs.keys()
    block = text[text.index("TARGET NAME") : text.index("green")]
    assert "TARGET NAME      : iqn.2003-02.org.example:red\n" in block
    assert "TARGET ALIAS     : the red one\n" in block
    assert "INITIATOR NAME   : iqn.2003-02.org.example:me\n" in block
    assert "TARGET ADDRESS   : 192.0.2.1:3260,1\n" in block
    assert "SESSION STATUS   : ESTABLISHED AT 2023-11-14T22:13:20Z\n" in block
    assert "SESSION ID       : ISID 800000000000 TSIH 7\n" in block
    assert "DEVICE DETAILS:\n" in block and "LUN ID           : 1\n" in block
    assert "  Vendor: IET Model: VIRTUAL-DISK Rev: 0001\n" in block
    assert "  Size: 64.0 MiB (67108864 bytes)\n  Device: /dev/sda\n" in block
    assert "  Links in /dev/iscsi/bus0/target0/lun1:\n  disk    -> /dev/sda\n" in block
    assert "  part1   -> /dev/sda1\n" in block
    assert "there are no links" in block
    assert "PARAMETERS" not in text


def test_a_session_that_is_down_has_a_time_and_a_reason() -> None:
    block = details(luns=True).split("green")[1]
    assert "SESSION STATUS   : WAITING SINCE 2023-11-13T21:23:20Z\n" in block
    assert "LAST ERROR       : connecting: connection refused\n" in block
    assert "NEXT ATTEMPT     : 2023-11-14T22:23:50Z\n" in block
    assert "no logical units\n" in block


def test_parameters_are_shown_when_asked_for() -> None:
    text = details(parameters=True)
    assert "HeaderDigest                        : CRC32C\n" in text
    assert "MaxBurstLength                      : 262144\n" in text
    assert "not known: the session is not up\n" in text
    assert "DEVICE DETAILS" not in text
    both = details(luns=True, parameters=True)
    assert "PARAMETERS:" in both and "DEVICE DETAILS:" in both
