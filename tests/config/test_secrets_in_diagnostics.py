"""No part of a secret is in an error or a note, however the line with the secret is broken."""

from __future__ import annotations

from itertools import product

import pytest

from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic
from iscsid.config.initiatorname import parse_initiator_name

SECRETS = (
    "c2VjcmV0c2Vzr21l",
    "Zm9vYmFyYmF6cXV4==",
    "xK9-tR4:vQ7/wZ2+mN5",
    "open tiger gate 77",
    'half"open"tiger77',
    "tiger#gate#lamp77",
    "TigerGateLampRiver",
)

KEYWORDS = (
    "OutgoingPassword",
    "Password",
    "PasswordOut",
    "IncomingPassword",
    "OutgoingPasswrd",
    "Pasword",
    "IncommingPassword",
    "OutgoingPass",
    "outgoing_password",
    "node.session.auth.password",
    "chapSecret",
    "Passwd",
    "OutgoingPsswd",
)

SEPARATORS = (" ", ":", ": ", "\t", "", "->", "=>", "==", " - ", "\u00a0", "\uff1a", ",", ";", '"')

LINES = (
    "{keyword}{separator}{secret}",
    "  {keyword}{separator}{secret}  # comment",
    "LoginTimeout=5{separator}{keyword}={secret}",
    "LoginTimeout=5; {keyword} = {secret}",
    "Username=alice {keyword}={secret}",
    'Username="alice" {keyword}="{secret}"',
    "LUNs=0,1,{keyword}={secret}",
    "HeaderDigest=never,{keyword}={secret}",
    "DiscoveryAddress=192.0.2.1,{keyword}={secret}",
    "Frobnicate={keyword}={secret}",
    "{keyword}\n{secret}",
    "{keyword}=\n  {secret}",
    "{keyword}=\n# here it is\n\n{secret}",
    "{keyword}=\\\n{secret}",
    '{keyword}="\n{secret}"',
    '{keyword}="twelve-letters\n{secret}"',
    "{keyword}=twelve-letters\n{secret}",
    "{keyword}=twelve-letters\n{secret}\n{secret}=",
    "{secret}\n{keyword}=",
    "{secret}={keyword}",
    "DiscoveryAddress=192.0.2.1\n {keyword}{separator}{secret}\n {secret}\nContinuous=perhaps",
    "TargetName=iqn.2001-04.com.example:a\n {keyword} {secret}",
    '{keyword}="{secret}" "{secret}"',
    "{keyword}={secret} {secret}",
    "InitiatorName=iqn.2001-04.com.example:a{separator}{keyword}={secret}",
    "InitiatorName=iqn.2001-04.com.example:a {keyword}={secret}",
)


def parts(secret: str) -> set[str]:
    """Return every run of six characters: fewer may stand in a message by chance."""
    return {secret[at : at + 6] for at in range(len(secret) - 5)}


def complaints(text: str) -> list[Diagnostic]:
    """Return all errors and notes about the text as either of the two files."""
    found: list[Diagnostic] = []
    try:
        found += parse_configuration(text, "f").notes
    except ConfigurationErrors as errors:
        found += errors.diagnostics
    try:
        parse_initiator_name(text, "f")
    except ConfigurationErrors as errors:
        found += errors.diagnostics
    return found


@pytest.mark.parametrize("line", LINES)
def test_no_part_of_a_secret_is_reported(line: str) -> None:
    texts = {
        line.format(keyword=keyword, separator=separator, secret=secret): secret
        for keyword, separator, secret in product(KEYWORDS, SEPARATORS, SECRETS)
    }
    leaks = [
        (text, str(diagnostic))
        for text, secret in texts.items()
        for diagnostic in complaints(text)
        if any(part in str(diagnostic) for part in parts(secret))
    ]
    assert leaks == []


def test_a_mistyped_keyword_beside_a_secret_is_still_corrected() -> None:
    text = (
        "DiscoveryAddress=192.0.2.1\n Username=alice\n Password=open-tiger-gate\n LoginTimout=5\n"
    )
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(text, "f")
    assert caught.value.lines == ("f:4:2: unknown keyword; did you mean LoginTimeout?",)
