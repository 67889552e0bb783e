"""Which entry a line belongs to, and the complaint if it belongs to none."""

from __future__ import annotations

import pytest

from iscsid.config.grammar import EntryKind, ParsedFile, Setting
from iscsid.config.keywords import DEFAULTS
from iscsid.config.lexer import lex
from iscsid.config.parser import Parser

NAME = "iqn.2001-04.com.example:disk"


def read(text: str) -> tuple[ParsedFile, list[str], list[str]]:
    """Return what is in the lines, the complaints, and the notes."""
    reader = Parser("f")
    contents = reader.read(lex(text, "f"))
    return contents, list(map(str, reader.diagnostics)), list(map(str, reader.notes))


def clean(text: str) -> ParsedFile:
    contents, diagnostics, notes = read(text)
    assert (diagnostics, notes) == ([], [])
    return contents


def login(contents: ParsedFile) -> list[object]:
    """Return LoginTimeout as each entry's own, as each inherits it, and as it is at the end."""
    own = [entry.own["timeouts.login"].value for entry in contents.entries if entry.own]
    inherited = [entry.inherited["timeouts.login"].value for entry in contents.entries]
    return [own, inherited, contents.globals["timeouts.login"].value]


def test_lines_indented_farther_belong_to_the_entry_and_the_first_other_line_ends_it() -> None:
    text = f"TargetName={NAME}\n LoginTimeout=1\nLoginTimeout=2\nTargetName={NAME}2\n"
    assert login(clean(text)) == [[1], [15, 2], 2]


def test_an_entry_may_itself_be_indented() -> None:
    contents = clean(f"   TargetName={NAME}\n     LoginTimeout=1\n  Subnet=10.0.0.0/8\n")
    assert [entry.kind for entry in contents.entries] == [EntryKind.TARGET, EntryKind.SUBNET]
    assert login(contents) == [[1], [15, 15], 15]


def test_equal_indentation_ends_an_entry() -> None:
    contents, diagnostics, notes = read(f"  TargetName={NAME}\n  LoginTimeout=1\n")
    assert login(contents) == [[], [15], 1] and diagnostics == []
    assert notes == ["f:2:3: LoginTimeout is indented but belongs to no entry: it is a global"]


def test_tabs_and_blanks_may_mix() -> None:
    text = f"\tTargetName={NAME}\n         LoginTimeout=1\n\t LoginTimeout=2\n"
    _, diagnostics, _ = read(text)
    assert diagnostics == [
        "f:3:3: LoginTimeout stands twice in this entry, first on line 2; "
        "expected one of the two lines"
    ]


def test_comments_and_blank_lines_end_no_entry() -> None:
    contents = clean(f"TargetName={NAME}\n# here\n\n   \n LoginTimeout=1\n")
    assert login(contents) == [[1], [15], 15]


def test_an_entry_remembers_the_globals_in_force_where_it_stands() -> None:
    text = (
        f"LoginTimeout=1\nTargetName={NAME}\n\nLoginTimeout=2\nSubnet=10.0.0.0/8\n\nLoginTimeout=3"
    )
    assert login(clean(text)) == [[], [1, 2], 3]


def test_an_indented_line_after_a_global_is_global_and_noted() -> None:
    """Linux-iSCSI's trap: the unindented line has closed the entry."""
    text = "DiscoveryAddress=10.0.0.1\nLoginTimeout=7\n  Username=bob\n"
    contents, diagnostics, notes = read(text)
    assert diagnostics == []
    assert contents.globals["outgoing_username"].value == "bob" and not contents.entries[0].own
    assert notes == [
        "f:2:1: LoginTimeout is not indented: it does not belong to this DiscoveryAddress",
        "f:3:3: OutgoingUsername is indented but belongs to no entry: it is a global",
    ]


def test_a_global_that_no_entry_ever_sees_is_noted() -> None:
    contents, diagnostics, notes = read("LoginTimeout=1\nIdleTimeout=1\nLoginTimeout=2\n")
    assert diagnostics == [] and contents.globals["timeouts.login"].value == 2
    assert notes == ["f:3:1: LoginTimeout of line 1 has no effect: this line replaces it"]


def test_an_entry_that_is_indented_below_another_stands_for_itself() -> None:
    contents = clean(f"DiscoveryAddress=10.0.0.1\n  TargetName={NAME}\n    LoginTimeout=1\n")
    assert [bool(entry.own) for entry in contents.entries] == [False, True]


def test_address_below_a_target_is_where_the_target_is() -> None:
    contents = clean(
        f"TargetName={NAME}\n Address=10.0.0.1,3\n LoginTimeout=1\n address = [::1]:9\nAddress=::1"
    )
    target, subnet = contents.entries
    assert [str(each) for each in target.addresses] == ["10.0.0.1:3260,3", "[::1]:9"]
    assert login(contents) == [[1], [15, 15], 15]
    assert (subnet.kind, str(subnet.subject)) == (EntryKind.SUBNET, "::1/128")


def test_address_that_is_not_indented_below_a_target_opens_an_entry() -> None:
    contents = clean(f"TargetName={NAME}\nAddress=10.0.0.1\n LoginTimeout=1\n")
    assert [entry.kind for entry in contents.entries] == [EntryKind.TARGET, EntryKind.SUBNET]
    assert contents.entries[0].addresses == ()


def test_the_same_address_twice_is_refused() -> None:
    _, diagnostics, _ = read(f"TargetName={NAME}\n Address=10.0.0.1\n Address=10.0.0.1:3260\n")
    assert diagnostics == [
        "f:3:2: this target has the address 10.0.0.1:3260 already, on line 2; "
        "expected one of the two lines"
    ]


def test_the_spelling_of_a_target_s_name_is_kept() -> None:
    contents = clean(f"TargetName={NAME.upper()}\nTargetName=iqn.2001-04.com.example:b\n")
    assert [(str(entry.subject), entry.spelling) for entry in contents.entries] == [
        (NAME, NAME.upper()),
        ("iqn.2001-04.com.example:b", ""),
    ]


def test_origins_are_kept_and_do_not_count_in_comparisons() -> None:
    first = clean(f"TargetName={NAME}\n LoginTimeout=1")
    second = clean(f"\n\n  TargetName = {NAME}\n    LoginTimeout = 1")
    setting = second.entries[0].own["timeouts.login"]
    assert (setting.line, setting.column, setting.is_default) == (4, 20, False)
    assert (second.entries[0].line, second.entries[0].column) == (3, 16)
    assert first == second
    assert clean("") != clean("LoginTimeout=1") and clean("").globals == DEFAULTS


def test_enabled_as_a_global_does_not_reach_discovery() -> None:
    text = f"Enabled=no\nDiscoveryAddress=10.0.0.1\nTargetName={NAME}\nSubnet=10.0.0.0/8\n"
    inherited = [entry.inherited["enabled"].value for entry in clean(text).entries]
    assert inherited == [True, False, False]


@pytest.mark.parametrize(
    "text, diagnostics",
    [
        (
            "LoginTimout=5",
            ["f:1:1: unknown keyword 'LoginTimout'; did you mean LoginTimeout?"],
        ),
        (
            "node.startup = automatic",
            [
                "f:1:1: a setting of open-iscsi's iscsid.conf; expected nothing in its place: "
                "all targets found are used, but for Enabled=no"
            ],
        ),
        (
            "include=/etc/iscsi.d",
            ["f:1:1: unknown keyword 'include'; expected a keyword of iscsi.conf(5)"],
        ),
        (
            "LoginTimeout=15 seconds",
            [
                "f:1:16: LoginTimeout: a blank in the value; "
                "expected one setting per line, and quotes around a value with blanks"
            ],
        ),
        (
            "Password=my secret words",
            [
                "f:1:12: Password: a blank in the value; "
                "expected one setting per line, and quotes around a value with blanks"
            ],
        ),
        (
            "HeaderDigest=alway",
            [
                "f:1:14: HeaderDigest: 'alway' is none of its words; expected always, never, "
                "prefer-on or prefer-off; did you mean always?"
            ],
        ),
        (
            "Password=hunter2",
            [
                "f:1:10: Password: a secret of 7 octets is too short; "
                "expected a CHAP secret of 12 to 255 octets"
            ],
        ),
        (
            "DiscoveryAddress=2001:db8::1",
            [
                "f:1:18: DiscoveryAddress: '2001:db8::1' is no portal: an IPv6 address stands in "
                "brackets; expected host, host:port, or [IPv6-address]:port"
            ],
        ),
        (
            "TargetName=a/disk\nSubnet=net\nLUNs=\nFoo\n",
            [
                "f:1:12: TargetName: 'a/disk' is no iSCSI name: the character U+002F is forbidden "
                "in names; expected an iSCSI name",
                "f:2:8: Subnet: 'net' is no IP address; "
                "expected address/bits, address&hexmask, or one address",
                "f:3:6: no value after '='; expected Keyword=value",
                "f:4:1: no '=' in this line; expected Keyword=value",
            ],
        ),
    ],
)
def test_all_complaints_with_their_text_and_place(text: str, diagnostics: list[str]) -> None:
    assert read(text)[1] == diagnostics


@pytest.mark.parametrize(
    "opener",
    ["DiscoveryAdress=10.0.0.1", "DiscoveryAddress=10.0.0.1:0", "DiscoveryAddress 10.0.0.1"],
)
def test_a_mistake_in_an_entry_s_first_line_causes_no_more_complaints(opener: str) -> None:
    text = f"TargetName={NAME}\n{opener}\n  Continuous=no\n  Username=bob\nLoginTimeout=1\n"
    contents, diagnostics, notes = read(text)
    assert len(diagnostics) == 1 and notes == []
    assert contents.globals["outgoing_username"].value is None
    assert contents.globals["timeouts.login"].value == 1
    assert [entry.own for entry in contents.entries] == [{}]


def test_lines_below_a_broken_entry_are_judged_all_the_same() -> None:
    _, diagnostics, _ = read("TargetName=a/x\n LUNs=y\nFrobnicate=1\n Enabled=z\n Continuous=no\n")
    assert [diagnostic.split(":")[1] for diagnostic in diagnostics] == ["1", "2", "3", "4"]


def test_a_mistyped_keyword_in_the_wrong_place_is_one_mistake() -> None:
    _, diagnostics, notes = read("DiscoveryAddress=10.0.0.1\n HeaderDiges=never\n  Luns=0\n")
    assert diagnostics == [
        "f:2:2: unknown keyword 'HeaderDiges'; did you mean HeaderDigest?",
        "f:3:3: LUNs cannot stand below DiscoveryAddress (line 1); "
        "expected outside of entries or below TargetName",
    ]
    assert notes == []


def test_an_unknown_keyword_within_an_entry_does_not_end_it() -> None:
    contents, diagnostics, _ = read(f"TargetName={NAME}\n  Foo=1\n  LoginTimeout=1\n")
    assert len(diagnostics) == 1 and login(contents) == [[1], [15], 15]


def test_entries_of_old_are_passed_over_with_all_their_lines() -> None:
    text = (
        "SLPUnicast=10.0.0.1\n  Username=bob\n  Password=short\n  PollInterval=x\n"
        "DiscoveryFile=/tmp/x\n  ReadSize=5\n  DefaultAddress=a\n"
        "Target,Lun=5,6\nLoginTimeout=9\n"
    )
    contents, diagnostics, notes = read(text)
    assert diagnostics == [] and contents.entries == ()
    assert contents.globals == {**DEFAULTS, "timeouts.login": Setting(9)}
    assert [note.split(":", 3)[3].split()[0] for note in notes] == [
        "SLPUnicast",
        "DiscoveryFile",
        "ReadSize",
        "DefaultAddress",
        "Target,Lun",
    ]


def test_a_typing_mistake_below_an_entry_of_old_is_still_named() -> None:
    _, diagnostics, _ = read("SLPMulticast=all\n  Usrname=bob\n")
    assert diagnostics == ["f:2:3: unknown keyword 'Usrname'; did you mean Username?"]
