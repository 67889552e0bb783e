"""Lines of other programs' files are errors that name what to write instead."""

from __future__ import annotations

import pytest

from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.foreign_keywords import whose
from iscsid.config.keywords import BY_NAME

OPEN_ISCSI = """\
# node.startup = manual
node.startup = automatic
node.session.auth.username = alice
node.session.auth.password = open-tiger-gate
node.session.timeo.replacement_timeout = 120
node.conn[0].iscsi.HeaderDigest = CRC32C,None
iscsid.safe_logout = Yes
"""

FREEBSD = """\
t0 {
        TargetAddress   = 192.0.2.10
        TargetName      = iqn.2012-06.com.example:target0
        AuthMethod      = CHAP
        chapIName       = alice
        chapSecret      = open-tiger-gate
}
"""


def errors(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(text, "f")
    return caught.value.lines


def test_a_file_of_open_iscsi_gets_the_keywords_to_use_instead() -> None:
    of = "a setting of open-iscsi's iscsid.conf; expected"
    assert errors(OPEN_ISCSI) == (
        f"f:2:1: {of} nothing in its place: all targets found are used, but for Enabled=no",
        f"f:3:1: {of} OutgoingUsername",
        f"f:4:1: {of} OutgoingPassword",
        f"f:5:1: {of} ConnFailTimeout, where 0 waits for ever",
        f"f:6:1: {of} HeaderDigest",
        f"f:7:1: {of} nothing in its place",
    )


def test_a_file_of_freebsd_gets_the_keywords_to_use_instead() -> None:
    of = "a setting of FreeBSD's iscsi.conf; expected"
    braces = (
        "braces, as in FreeBSD's iscsi.conf; "
        "expected TargetName=..., and Address=... and other settings indented below it"
    )
    assert errors(FREEBSD) == (
        f"f:1:1: {braces}",
        f"f:2:9: {of} Address, indented below TargetName",
        f"f:4:9: {of} OutgoingUsername and OutgoingPassword: with them CHAP is used",
        f"f:5:9: {of} OutgoingUsername",
        f"f:6:9: {of} OutgoingPassword",
        f"f:7:1: {braces}",
    )


def test_the_name_of_this_machine_is_sent_to_its_file() -> None:
    name, alias = errors("InitiatorName=iqn.2001-04.com.example:host\nInitiatorAlias=me")
    assert name == (
        "f:1:1: InitiatorName cannot stand outside of entries; expected below DiscoveryAddress or "
        "below TargetName; the name of this machine is in /etc/initiatorname.iscsi"
    )
    assert alias == (
        "f:2:1: a setting of the file of the initiator's name; "
        "expected it there: /etc/initiatorname.iscsi"
    )


@pytest.mark.parametrize("name", BY_NAME)
def test_no_keyword_of_ours_is_taken_for_another_program_s(name: str) -> None:
    assert whose(name) is None
