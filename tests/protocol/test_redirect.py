"""Redirections: what an address may look like, and how far a target is followed."""

from __future__ import annotations

import pytest

from iscsid.errors import LoginRejected, Retry
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Redirection
from iscsid.protocol.redirect import (
    MAX_PORTALS,
    MAX_REDIRECTIONS,
    RedirectTrail,
    read_redirection,
)

A, B, C, D = (Portal(f"10.0.0.{number}") for number in range(1, 5))


def temporarily(*portals: Portal) -> Redirection:
    return Redirection(portals, permanent=False)


def for_good(*portals: Portal) -> Redirection:
    return Redirection(portals, permanent=True)


@pytest.mark.parametrize(
    ("text", "portal"),
    [
        ("10.0.0.1", Portal("10.0.0.1", 3260)),
        ("10.0.0.1:3261", Portal("10.0.0.1", 3261)),
        ("[2001:db8::1]", Portal("2001:db8::1", 3260)),
        ("[2001:db8::1]:3261", Portal("2001:db8::1", 3261)),
        ("[::1]", Portal("::1", 3260)),
        ("host.example", Portal("host.example", 3260)),
        ("host.example:3261", Portal("host.example", 3261)),
        ("10.0.0.1:3261,1", Portal("10.0.0.1", 3261)),
        ("[2001:db8::1]:3261,65535", Portal("2001:db8::1", 3261)),
    ],
)
@pytest.mark.parametrize("status", [0x0101, 0x0102])
def test_every_form_of_an_address_is_followed(text: str, portal: Portal, status: int) -> None:
    redirection = read_redirection(status, (("TargetAddress", text),))
    assert redirection == Redirection((portal,), permanent=status == 0x0102)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "::1:13260",
        "::1",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:-1",
        "10.0.0.1:abc",
        "10.0.0.1:",
        "[2001:db8::1",
        "[]",
        "host example",
        "../../etc",
        "10.0.0.1;reboot",
        "\x1b[31m",
        "0.0.0.0",
        "224.0.0.1",
    ],
    ids=ascii,
)
def test_an_address_of_no_use_ends_the_login_and_is_shown_safely(text: str) -> None:
    with pytest.raises(LoginRejected) as raised:
        read_redirection(0x0101, (("TargetAddress", text),))
    assert raised.value.status == 0x0101
    assert raised.value.retry is Retry.LATER
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("pairs", [(), (("TargetAlias", "moved"),)])
def test_a_redirection_without_an_address_ends_the_login(
    pairs: tuple[tuple[str, str], ...],
) -> None:
    with pytest.raises(LoginRejected, match="moved permanently"):
        read_redirection(0x0102, pairs)


def test_several_addresses_are_kept_in_order_without_the_useless_and_the_repeated() -> None:
    texts = ("10.0.0.2", "nowhere:0", "10.0.0.1", "10.0.0.2:3260", "0.0.0.0")
    redirection = read_redirection(0x0101, tuple(("TargetAddress", text) for text in texts))
    assert redirection.portals == (B, A)


def test_only_so_many_addresses_are_taken_from_one_redirection() -> None:
    pairs = tuple(("TargetAddress", f"10.1.0.{number}") for number in range(200))
    portals = read_redirection(0x0101, pairs).portals
    assert portals == tuple(Portal(f"10.1.0.{number}") for number in range(MAX_PORTALS))


# --- following ----------------------------------------------------------------------------------


def test_a_chain_is_followed_to_its_end() -> None:
    trail = RedirectTrail(A)
    for portal in (B, C, D):
        (trail,) = trail.follow(temporarily(portal))
    assert (trail.portal, trail.origin, trail.visited) == (D, A, (A, B, C))


def test_all_addresses_of_a_redirection_are_tried_in_order() -> None:
    trails = RedirectTrail(A).follow(temporarily(C, B))
    assert [trail.portal for trail in trails] == [C, B]


def test_a_portal_on_the_way_is_not_tried_again() -> None:
    (first,) = RedirectTrail(A).follow(temporarily(B))
    assert [trail.portal for trail in first.follow(temporarily(A, B, C))] == [C]


@pytest.mark.parametrize(
    "chain", [[A], [B, A], [B, B], [B, C, A], [B, C, B]], ids=["AA", "ABA", "ABB", "ABCA", "ABCB"]
)
@pytest.mark.parametrize("permanent", [False, True])
def test_a_circle_ends_the_login_and_is_shown(chain: list[Portal], permanent: bool) -> None:
    trail = RedirectTrail(A)
    for portal in chain[:-1]:
        (trail,) = trail.follow(Redirection((portal,), permanent))
    with pytest.raises(LoginRejected, match="circle") as raised:
        trail.follow(Redirection((chain[-1],), permanent))
    assert f"-> {chain[-1]}" in raised.value.what
    assert raised.value.retry is Retry.LATER


def test_an_endless_chain_ends_the_login() -> None:
    trail = RedirectTrail(A)
    for number in range(MAX_REDIRECTIONS):
        (trail,) = trail.follow(temporarily(Portal(f"10.1.0.{number}")))
    with pytest.raises(LoginRejected, match=f"more than {MAX_REDIRECTIONS} times"):
        trail.follow(temporarily(B))


@pytest.mark.parametrize(
    ("chain", "remembered"),
    [
        ([], None),
        ([temporarily(B)], None),
        ([for_good(B)], B),
        ([for_good(B), for_good(C)], C),
        ([for_good(B), temporarily(C)], B),
        ([temporarily(B), for_good(C)], None),
        ([for_good(B), temporarily(C), for_good(D)], B),
    ],
)
def test_what_is_remembered_is_where_the_target_moved_for_good(
    chain: list[Redirection], remembered: Portal | None
) -> None:
    """A temporary redirection is forgotten after use, and all that hangs on it."""
    trail = RedirectTrail(A)
    for redirection in chain:
        (trail,) = trail.follow(redirection)
    assert trail.moved_to == remembered
