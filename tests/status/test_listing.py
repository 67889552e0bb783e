"""iscsi-ls prints a table that a person likes to read, and the driver's blocks with -l and -c."""

from __future__ import annotations

import re
from dataclasses import replace

from iscsid.status.listing import Wanted, format_listing
from tests.support.statuses import NOW, STATUS, UP

PLAIN, LUNS, PARAMETERS = Wanted(), Wanted(luns=True), Wanted(parameters=True)
ESCAPE = re.compile("\x1b\\[[0-9]+m")


def test_table_has_a_line_per_session_and_then_the_troubles() -> None:
    assert format_listing(STATUS, PLAIN, NOW) == (
        "BUS  TGT  STATE       FOR  LUNS  PORTAL              TARGET\n"
        "  0    0  up       10 min     2  192.0.2.1:3260      iqn.2003-02.org.example:red\n"
        "  0   12  waiting     1 d     0  [2001:db8::1]:3261  iqn.2003-02.org.example:green\n"
        "\n"
        "discovery at 192.0.2.9:3260: no route to host (next attempt in 1 min)\n"
        "bus0/target0 via 192.0.2.1:3260: LUN 5 is another logical unit than before and has no"
        " links\n"
        "bus0/target12 via [2001:db8::1]:3261: connecting: connection refused (next attempt in"
        " 30 s)\n"
    )


def test_error_of_the_past_is_no_trouble_of_a_session_that_is_up() -> None:
    healthy = replace(UP, last_error="connection lost", luns=[])
    text = format_listing(replace(STATUS, sessions=[healthy], discoveries=[]), PLAIN, NOW)
    assert "connection lost" not in text and len(text.splitlines()) == 2


def test_session_that_is_kept_says_what_for() -> None:
    kept = replace(UP, kept_because=["/dev/sda1 is mounted on /data"], luns=[])
    text = format_listing(replace(STATUS, sessions=[kept], discoveries=[]), PLAIN, NOW)
    assert "no longer wanted, but in use: /dev/sda1 is mounted on /data" in text


def test_unit_that_is_gone_and_kept_is_a_trouble() -> None:
    gone = replace(UP, luns=[replace(UP.luns[0], gone=True)])
    status = replace(STATUS, sessions=[gone], discoveries=[])
    trouble = format_listing(status, PLAIN, NOW).splitlines()[-1]
    assert trouble.endswith("LUN 1 is gone at the target, but in use and therefore kept")
    assert "The target has it no more" in format_listing(status, LUNS, NOW)


def test_nodes_are_no_links_where_no_daemon_runs() -> None:
    text = format_listing(replace(STATUS, basedir=""), LUNS, NOW)
    assert "Links in" not in text and "  part1   -> /dev/sda1\n" in text


def test_nothing_to_show_is_said() -> None:
    assert format_listing(replace(STATUS, sessions=[], discoveries=[]), PLAIN, NOW) == (
        "no sessions\n"
    )


def test_session_of_another_program_has_dashes_for_numbers() -> None:
    foreign = replace(UP, bus=None, target=None, since=None, luns=[])
    text = format_listing(replace(STATUS, sessions=[foreign], discoveries=[]), PLAIN, NOW)
    assert text.splitlines()[1].split()[:3] == ["-", "-", "up"]


def test_colours_change_nothing_but_the_colour() -> None:
    for wanted in (PLAIN, LUNS, PARAMETERS):
        coloured = format_listing(STATUS, replace(wanted, colour=True), NOW)
        assert ESCAPE.sub("", coloured) == format_listing(STATUS, wanted, NOW)
    assert "\x1b[32mup     \x1b[0m" in format_listing(STATUS, replace(PLAIN, colour=True), NOW)


def test_blocks_have_the_drivers_keys() -> None:
    text = format_listing(STATUS, LUNS, NOW)
    pairs = dict(re.findall(r"^([A-Z ]+?) *: (.+)$", text.split("red")[0] + text, re.MULTILINE))
    assert {"TARGET NAME", "HOST NO", "BUS ID", "TARGET ID", "TARGET ADDRESS"} <= pairs.keys()
    block = text[text.index("TARGET NAME") : text.index("green")]
    assert "TARGET NAME      : iqn.2003-02.org.example:red\n" in block
    assert "TARGET ALIAS     : the red one\n" in block
    assert "TARGET ADDRESS   : 192.0.2.1:3260,1\n" in block
    assert "SESSION STATUS   : ESTABLISHED AT 2023-11-14T22:13:20Z\n" in block
    assert "SESSION ID       : ISID 800000000000 TSIH 7\n" in block
    assert "DEVICE DETAILS:\n" in block and "LUN ID           : 1\n" in block
    assert "  Vendor: IET Model: VIRTUAL-DISK Rev: 0001\n" in block
    assert "  Size: 64.0 MiB (67108864 bytes)\n  Device: /dev/sda\n" in block
    assert "  Links in /dev/iscsi/bus0/target0/lun1:\n  disk    -> /dev/sda\n" in block
    assert "  part1   -> /dev/sda1\n" in block
    assert "it has no links" in block
    assert "PARAMETERS" not in text


def test_session_that_is_down_says_since_when_and_why() -> None:
    block = format_listing(STATUS, LUNS, NOW).split("green")[1]
    assert "SESSION STATUS   : WAITING SINCE 2023-11-13T21:23:20Z\n" in block
    assert "LAST ERROR       : connecting: connection refused\n" in block
    assert "NEXT ATTEMPT     : 2023-11-14T22:23:50Z\n" in block
    assert "no logical units\n" in block


def test_parameters_are_shown_when_asked_for() -> None:
    text = format_listing(STATUS, PARAMETERS, NOW)
    assert "HeaderDigest                        : CRC32C\n" in text
    assert "MaxBurstLength                      : 262144\n" in text
    assert "not known: the session is not up\n" in text
    assert "DEVICE DETAILS" not in text
    both = format_listing(STATUS, replace(LUNS, parameters=True), NOW)
    assert "PARAMETERS:" in both and "DEVICE DETAILS:" in both
