"""Which credentials discovery uses, and which the sessions with the targets found there."""

from __future__ import annotations

import pytest

from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Authentication

NAME = IscsiName("iqn.2001-04.com.example:disk")
HERE = Portal("192.0.2.1")
SESSION = "Username=alice\nPassword=open-tiger-gate\n"
DISCOVERY = "DiscoveryUsername=finder\nDiscoveryPassword=a-finder-secret\n"
INCOMING = "IncomingUsername=vault\nIncomingPassword=the-vault-secret\n"


def users(text: str) -> tuple[str, str]:
    """Return the CHAP names of discovery at ``HERE`` and of a session found there."""
    configuration = parse_configuration(text, "f")
    (discovery,) = configuration.discoveries
    session = configuration.session_settings(NAME, Portal("192.0.2.9"), HERE)
    return _name(discovery.authentication), _name(session.authentication)


def _name(authentication: Authentication) -> str:
    names = [each.username for each in (authentication.outgoing, authentication.incoming) if each]
    return "+".join(names)


def below(*settings: str) -> str:
    lines = "".join(settings).splitlines()
    return "".join(
        f"{line}\n" for line in ["DiscoveryAddress=192.0.2.1", *(f" {each}" for each in lines)]
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", ("", "")),
        (SESSION, ("alice", "alice")),
        (SESSION + INCOMING, ("alice+vault", "alice+vault")),
        (SESSION + "DiscoveryCHAP=no\n", ("", "alice")),
        (SESSION + INCOMING + "DiscoveryCHAP=no\n", ("", "alice+vault")),
        (DISCOVERY, ("finder", "")),
        (SESSION + DISCOVERY, ("finder", "alice")),
        (SESSION + INCOMING + DISCOVERY, ("finder", "alice+vault")),
    ],
)
def test_discovery_and_sessions_have_one_place_each_for_their_credentials(
    settings: str, expected: tuple[str, str]
) -> None:
    assert users(below(settings)) == expected
    assert users(f"{settings}{below()}") == expected


def test_open_discovery_is_a_global_that_an_address_may_contradict() -> None:
    assert users(f"{SESSION}DiscoveryCHAP=no\n{below('DiscoveryCHAP=yes')}") == ("alice", "alice")


def test_the_target_may_have_to_prove_itself_in_discovery_alone() -> None:
    incoming = "DiscoveryIncomingUsername=vault\nDiscoveryIncomingPassword=the-vault-secret\n"
    assert users(below(SESSION, DISCOVERY, incoming)) == ("finder+vault", "alice")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ("DiscoveryUsername=finder\n", "DiscoveryUsername without DiscoveryPassword for "),
        ("DiscoveryPassword=a-finder-secret\n", "DiscoveryPassword without DiscoveryUsername for "),
        (
            "DiscoveryIncomingUsername=vault\nDiscoveryIncomingPassword=the-vault-secret\n",
            "the target shall prove itself, but the initiator has no credentials for ",
        ),
        (
            SESSION + INCOMING + DISCOVERY.replace("a-finder-secret", "the-vault-secret"),
            "the IncomingPassword is the OutgoingPassword of line ",
        ),
    ],
)
def test_credentials_of_discovery_are_whole_and_safe(settings: str, what: str) -> None:
    with pytest.raises(ConfigurationErrors, match=what):
        parse_configuration(below(settings), "f")
