"""What lines mean together: entries twice, burst lengths, and above all credentials."""

from __future__ import annotations

import pytest

from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors

NAME = "iqn.2001-04.com.example:disk"
ONE, TWO, THREE = "first-secret-1", "second-secret-2", "third-secret-3"


def diagnostics(*lines: str) -> list[str]:
    try:
        parse_configuration("\n".join(lines), "f")
    except ConfigurationErrors as errors:
        return list(errors.lines)
    return []


@pytest.mark.parametrize(
    "first, second, diagnostic",
    [
        (
            "DiscoveryAddress=10.0.0.1",
            "TargetIpAddr=10.0.0.1:3260",
            "f:2:14: DiscoveryAddress 10.0.0.1:3260 has an entry already, on line 1; "
            "expected one entry for each",
        ),
        (
            f"TargetName={NAME}",
            f"TargetName={NAME.upper()}",
            f"f:2:12: TargetName {NAME} has an entry already, on line 1; "
            "expected one entry for each",
        ),
        (
            "Subnet=10.0.0.1/32",
            "Address=10.0.0.1",
            "f:2:9: Subnet 10.0.0.1/32 has an entry already, on line 1; "
            "expected one entry for each",
        ),
    ],
)
def test_two_entries_for_the_same_thing_are_refused(
    first: str, second: str, diagnostic: str
) -> None:
    assert diagnostics(first, second) == [diagnostic]


@pytest.mark.parametrize(
    "lines, diagnostic",
    [
        (
            ["FirstBurstLength=1M", "MaxBurstLength=512K"],
            "f:1:18: FirstBurstLength 1048576 exceeds MaxBurstLength 524288 of line 2; "
            "expected at most 524288",
        ),
        (
            ["FirstBurstLength=16777215"],
            "f:1:18: FirstBurstLength 16777215 exceeds MaxBurstLength 16776192 (the default); "
            "expected at most 16776192",
        ),
        (
            ["FirstBurstLength=1M", f"TargetName={NAME}", " MaxBurstLength=512"],
            "f:1:18: FirstBurstLength 1048576 exceeds MaxBurstLength 512 of line 3; "
            "expected at most 512",
        ),
    ],
)
def test_a_first_burst_longer_than_any_burst_is_refused(lines: list[str], diagnostic: str) -> None:
    assert diagnostics(*lines) == [diagnostic]


def test_a_default_first_burst_follows_a_smaller_longest_burst() -> None:
    assert diagnostics("MaxBurstLength=4096") == []
    assert diagnostics(f"TargetName={NAME}", " MaxBurstLength=4096") == []


HALVES = [
    ("OutgoingUsername=a", "OutgoingUsername without OutgoingPassword", "OutgoingPassword", 18),
    (f"Password={ONE}", "OutgoingPassword without OutgoingUsername", "OutgoingUsername", 10),
]


@pytest.mark.parametrize("line, what, missing, column", HALVES)
@pytest.mark.parametrize(
    "opener, where",
    [
        ("DiscoveryAddress=10.0.0.1", " for DiscoveryAddress 10.0.0.1:3260"),
        (f"TargetName={NAME}", f" for TargetName {NAME}"),
        (None, ""),
    ],
)
def test_half_a_pair_of_credentials_is_refused(
    line: str, what: str, missing: str, column: int, opener: str | None, where: str
) -> None:
    lines = [opener, f" {line}"] if opener else [line]
    place = f"{len(lines)}:{column + len(lines) - 1}"
    assert diagnostics(*lines) == [f"f:{place}: {what}{where}; expected {missing}"]


def test_a_global_half_that_several_entries_inherit_is_refused_once() -> None:
    assert diagnostics("Username=a", "DiscoveryAddress=10.0.0.1", "DiscoveryAddress=10.0.0.2") == [
        "f:1:10: OutgoingUsername without OutgoingPassword for DiscoveryAddress 10.0.0.1:3260; "
        "expected OutgoingPassword",
    ]


def test_a_global_name_may_be_completed_by_each_entry() -> None:
    assert (
        diagnostics(
            "Username=a",
            "DiscoveryAddress=10.0.0.1",
            f" Password={ONE}",
            f"TargetName={NAME}",
            " Address=10.0.0.2",
            " Username=a",
            f" Password={TWO}",
        )
        == []
    )


def test_credentials_below_a_target_must_be_whole_by_themselves() -> None:
    """From which DiscoveryAddress the other half would come is not known."""
    whole = ["Username=a", f"Password={ONE}", "DiscoveryAddress=10.0.0.1"]
    assert diagnostics(*whole, f"TargetName={NAME}", " Username=b") == [
        f"f:5:11: OutgoingUsername without OutgoingPassword for TargetName {NAME}; "
        "expected OutgoingPassword"
    ]


INCOMING = ["IncomingUsername=t", f"IncomingPassword={TWO}"]
ONE_SIDED = "the target shall prove itself, but the initiator has no credentials"
BOTH = "expected OutgoingUsername and OutgoingPassword as well"


def test_a_target_that_shall_prove_itself_alone_is_refused() -> None:
    assert diagnostics(*INCOMING) == [f"f:1:18: {ONE_SIDED}; {BOTH}"]
    below = [f" {line}" for line in INCOMING]
    assert diagnostics("DiscoveryAddress=10.0.0.1", *below) == [
        f"f:2:19: {ONE_SIDED} for DiscoveryAddress 10.0.0.1:3260; {BOTH}"
    ]
    assert diagnostics(f"TargetName={NAME}", *below) == [
        f"f:2:19: {ONE_SIDED} for TargetName {NAME}; {BOTH}"
    ]


def test_mutual_authentication_is_accepted() -> None:
    outgoing = ["Username=a", f"Password={ONE}"]
    assert diagnostics(*outgoing, *INCOMING, "DiscoveryAddress=10.0.0.1") == []
    below = [f" {line}" for line in (*outgoing, *INCOMING)]
    assert diagnostics("DiscoveryAddress=10.0.0.1", *below) == []
    assert diagnostics(f"TargetName={NAME}", *below) == []


@pytest.mark.parametrize(
    "lines, line, column, of_line",
    [
        (["Username=a", f"Password={ONE}", "UsernameIn=t", f"PasswordIn={ONE}"], 4, 12, 2),
        (
            [
                "DiscoveryAddress=10.0.0.1",
                " Username=a",
                f' Password="{ONE}"',
                f"TargetName={NAME}",
                " Username=b",
                f" Password={TWO}",
                " IncomingUsername=t",
                f" IncomingPassword={ONE}",
            ],
            8,
            19,
            3,
        ),
        (
            [
                "Username=a",
                f"Password={ONE}",
                "DiscoveryAddress=10.0.0.1",
                f"Password={TWO}",
                "DiscoveryAddress=10.0.0.2",
                f"Password={THREE}",
                "IncomingUsername=t",
                f"IncomingPassword={ONE}",
            ],
            8,
            18,
            2,
        ),
    ],
)
def test_a_secret_that_serves_both_directions_is_refused_wherever_it_stands(
    lines: list[str], line: int, column: int, of_line: int
) -> None:
    (diagnostic,) = diagnostics(*lines)
    assert diagnostic == (
        f"f:{line}:{column}: the IncomingPassword is the OutgoingPassword of line {of_line}; "
        "expected two different secrets"
    )
    assert ONE not in diagnostic


def test_the_same_secret_may_serve_several_targets() -> None:
    entry = [" Username=a", f" Password={ONE}"]
    assert diagnostics(f"TargetName={NAME}", *entry, f"TargetName={NAME}2", *entry) == []


@pytest.mark.parametrize(
    "broken",
    ["Password=short", 'Password="open', "Pasword=whatever-it-is", "Password whatever-it-is"],
)
def test_a_broken_line_does_not_make_its_neighbour_half_a_pair(broken: str) -> None:
    for lines in (
        ["Username=a", broken],
        ["DiscoveryAddress=10.0.0.1", " Username=a", f" {broken}"],
        [f"TargetName={NAME}", f" {broken}", " Username=a"],
    ):
        assert len(diagnostics(*lines)) == 1


def test_broken_lengths_are_not_compared() -> None:
    assert len(diagnostics("FirstBurstLength=1M", "MaxBurstLength=1")) == 1
    assert len(diagnostics("FirstBurstLength=99M", "MaxBurstLength=512")) == 1


def test_a_target_name_outside_the_grammar_is_noted() -> None:
    text = "TargetName=iqn.2017.11.com.example:disk\n Address=192.0.2.1\n"
    configuration = parse_configuration(text, "f")
    (target,) = configuration.static_targets
    assert target.target_name == "iqn.2017.11.com.example:disk"
    (note,) = configuration.notes
    assert str(note).startswith(
        "f:1:12: note: the name is against the rules for iSCSI names (iqn. is "
    )


def test_a_target_that_nothing_finds_is_noted() -> None:
    notes = parse_configuration(f"TargetName={NAME}", "f").notes
    assert list(map(str, notes)) == [
        f"f:1:12: note: nothing in this file finds the target {NAME}; "
        "expected a DiscoveryAddress, or Address below the TargetName"
    ]
    for line in (" Address=10.0.0.1", "DiscoveryAddress=10.0.0.1"):
        assert parse_configuration(f"TargetName={NAME}\n{line}", "f").notes == ()


@pytest.mark.parametrize("second", ["", " InitiatorName=iqn.2001-04.com.example:b"])
def test_addresses_of_one_array_have_one_initiator_name(second: str) -> None:
    """A session fails over from the portals of one to those of the other: it has one name."""
    first = ["DiscoveryAddress=10.0.0.1", " InitiatorName=iqn.2001-04.com.example:a"]
    entity = [" NetworkEntity=array"]
    lines = [*first, *entity, "DiscoveryAddress=10.0.0.2", *entity, *([second] if second else [])]
    place = "f:6:16" if second else "f:5:16"
    assert diagnostics(*lines) == [
        f"{place}: DiscoveryAddress 10.0.0.1:3260 (line 1) has the same NetworkEntity and another "
        "InitiatorName; expected the same InitiatorName below both, or none"
    ]
    assert diagnostics(*first, *lines[3:4], *([second] if second else [])) == []


def test_an_initiator_name_with_capitals_or_without_a_date_is_noted() -> None:
    text = "DiscoveryAddress=10.0.0.1\n InitiatorName=Host"
    notes = [str(note) for note in parse_configuration(text, "f").notes]
    assert notes == [
        "f:2:16: note: the name is against the rules for iSCSI names (it begins with none of iqn., "
        "eui. and naa.); it is used as it is",
        "f:2:16: note: the name is sent as it is written here, not as host: some targets "
        "distinguish",
    ]
