"""The whole way from text to configuration: the classic's own examples, and property P-12."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.settings import SessionSettings
from iscsid.protocol.names import IscsiName, Portal
from tests.fuzz import configuration as fuzz_configuration
from tests.support.config_writing import files, render, spellings

TARGET = IscsiName("iqn.1987-05.com.cisco:00.01c82dc85b33.fc8disk1")


def login_timeout(configuration: Configuration, name: IscsiName, host: str) -> int:
    return configuration.session_settings(name, Portal(host), None).timeouts.login


# --- what Linux-iSCSI made of its own examples --------------------------------------------------

SCOPING = """\
OutgoingUsername=alice
OutgoingPassword={alice}
LoginTimeout=20
DiscoveryAddress=192.168.250.230
  OutgoingUsername=bob
  OutgoingPassword={bob}
LoginTimeout=15
DiscoveryAddress=192.168.250.240
"""


def test_the_scoping_example_gives_bob_twenty_seconds_and_alice_fifteen() -> None:
    text = SCOPING.format(alice="wonderland1342", bob="nyet12345678")
    configuration = parse_configuration(text, "f")
    first, second = configuration.discoveries
    assert (first.portal, second.portal) == (Portal("192.168.250.230"), Portal("192.168.250.240"))
    assert first.authentication.outgoing and second.authentication.outgoing
    assert first.authentication.outgoing.username == "bob"
    assert first.authentication.outgoing.password.reveal() == b"nyet12345678"
    assert first.timeouts.login == 20
    assert second.authentication.outgoing.username == "alice"
    assert second.authentication.outgoing.password.reveal() == b"wonderland1342"
    assert second.timeouts.login == 15
    assert login_timeout(configuration, TARGET, "192.168.250.231") == 15


def test_the_example_s_own_short_secret_is_the_one_thing_refused_today() -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(SCOPING.format(alice="wonderland1342", bob="nyet1234"), "f")
    assert caught.value.lines == (
        "f:6:20: OutgoingPassword: a secret of 8 octets is too short; "
        "expected a CHAP secret of 12 to 255 octets",
    )
    assert caught.value.has_secrets


@pytest.mark.parametrize("blank", ["", " "])
def test_the_subnet_example_gives_twenty_as_in_the_manual(blank: str) -> None:
    """With the blank after the equals sign that the manual prints, too."""
    configuration = parse_configuration(
        f"LoginTimeout=25\nSubnet=192.168.250.0/24\n  LoginTimeout=20\n"
        f"TargetName={blank}{TARGET}\n  LoginTimeout=30\n",
        "f",
    )
    assert login_timeout(configuration, TARGET, "192.168.250.1") == 20
    assert login_timeout(configuration, TARGET, "10.0.0.1") == 30
    assert login_timeout(configuration, IscsiName("iqn.2001-04.com.example:x"), "10.0.0.1") == 25


def test_the_example_of_red_hat_9() -> None:
    configuration = parse_configuration(
        "# a comment\nUsername=alice\nPassword=nty57nbe-longer\n"
        "DiscoveryAddress=10.4.100.0\nDiscoveryAddress=10.4.100.1\n"
        "  Username=bob\n  Password=another-secret\n",
        "f",
    )
    users = [each.authentication.outgoing for each in configuration.discoveries]
    assert [user.username for user in users if user] == ["alice", "bob"]


def test_the_file_of_suse_s_initial_ram_disk() -> None:
    configuration = parse_configuration(
        "Continuous=no\nImmediateData=no\nDiscoveryAddress=192.168.1.5:3260\n", "f"
    )
    assert not configuration.discoveries[0].continuous
    settings = configuration.session_settings(TARGET, Portal("192.168.1.5"), None)
    assert not settings.immediate_data


@pytest.mark.parametrize("line", ["DiscoveryAddress=storage:3260", "\nDiscoveryAddress=storage\n"])
def test_the_one_line_that_other_programs_wrote(line: str) -> None:
    assert [each.portal for each in parse_configuration(line, "f").discoveries] == [
        Portal("storage")
    ]


def test_two_bugs_of_old_are_gone() -> None:
    text = "ResetTimeout=7\nSubnet=192.168.250.128/25\n LoginTimeout=9\n"
    configuration = parse_configuration(text, "f")
    settings = configuration.session_settings(TARGET, Portal("192.168.250.200"), None)
    assert (settings.abort_timeout, settings.reset_timeout) == (10, 7)
    assert settings.timeouts.login == 9


# --- what the caller gets -----------------------------------------------------------------------


def test_an_empty_file_is_a_configuration_of_defaults() -> None:
    for text in ("", "\n", b"", b"\xef\xbb\xbf", "# nothing\n", "\r\n\r\n"):
        configuration = parse_configuration(text, "f")
        assert configuration == parse_configuration("", "g")
        assert not configuration.discoveries and not configuration.static_targets
        settings = configuration.session_settings(TARGET, Portal("10.0.0.1"), None)
        assert settings == SessionSettings()
        assert not configuration.has_secrets
        (note,) = configuration.notes
        assert str(note) == (
            "f: note: the file has no DiscoveryAddress and no TargetName: there is nothing to do"
        )


def test_a_static_target_keeps_the_spelling_of_its_name() -> None:
    name = "iqn.2001-05.com.equallogic:Disk-A"
    (target,) = parse_configuration(f"TargetName={name}\n Address=10.0.0.1,1\n", "f").static_targets
    assert (target.target_name, target.name_to_send) == (name.lower(), name)
    assert [str(address) for address in target.addresses] == ["10.0.0.1:3260,1"]


@pytest.mark.parametrize(
    "text, has_secrets",
    [
        ("Username=a\nPassword=long-enough-1", True),
        ("SLPUnicast=10.0.0.1\n  password=x", True),
        ('Password="never closed', True),
        ("Password hunter2", True),
        ("\tOutgoingPassword=x", True),
        ("# Password=x", False),
        ("TargetName=iqn.2001-04.com.example:password=", False),
        ("LoginTimeout=5", False),
    ],
)
def test_secrets_are_recognised_in_broken_files_too(text: str, has_secrets: bool) -> None:
    try:
        assert parse_configuration(text, "f").has_secrets == has_secrets
    except ConfigurationErrors as errors:
        assert errors.has_secrets == has_secrets


def test_all_complaints_come_in_one_run_and_in_order() -> None:
    text = "Foo=1\nTargetName=a/x\n LUNs=y\nDiscoveryAddress=10.0.0.1\n Username=a\nBar\n"
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(text, "f")
    assert [diagnostic.line for diagnostic in caught.value.diagnostics] == [1, 2, 3, 5, 6]


def test_no_secret_is_ever_shown() -> None:
    secret = "sesame-sesame-sesame"
    for first, second in product(
        ("Username=a", "IncomingUsername=b", "Foo=1", ""),
        (
            f"Password={secret}",
            f"IncomingPassword={secret}",
            f'Password="{secret}',
            f'Password="{secret}" {secret}',
            f"Password={secret} {secret}",
            f"Password={secret * 20}",
            f"Password {secret}",
            f"Passwort={secret}",
        ),
    ):
        for text in (f"{first}\n{second}", f"DiscoveryAddress=10.0.0.1\n {first}\n {second}"):
            try:
                shown = repr(parse_configuration(text, "f"))
            except ConfigurationErrors as errors:
                shown = f"{errors} {errors!r} {errors.failure()} {errors.diagnostics}"
            assert "sesame" not in shown


# --- P-12 ---------------------------------------------------------------------------------------


def parsed(octets: bytes) -> Configuration:
    try:
        return parse_configuration(octets, "f")
    except ConfigurationErrors as errors:
        # Two entries for the same, or an address twice: chance may bring them.
        # So may credentials that no entry below uses.
        assume(not any("already" in line or "no effect" in line for line in errors.lines))
        raise


@settings(max_examples=30)
@given(files.flatmap(lambda file: st.tuples(spellings(file), spellings(file))))
def test_comments_blanks_quotes_case_and_aliases_do_not_change_the_meaning(
    texts: tuple[bytes, bytes],
) -> None:
    first, second = map(parsed, texts)
    assert first == second


@settings(max_examples=40)
@given(files.flatmap(spellings))
def test_what_is_rendered_and_parsed_again_is_the_same(text: bytes) -> None:
    configuration = parsed(text)
    again = parse_configuration(render(configuration.contents), "again")
    assert again == configuration
    for address in ("10.1.2.3", "2001:db8::1"):
        for found_at in (None, *(discovery.portal for discovery in configuration.discoveries)):
            question = (TARGET, Portal(address), found_at)
            assert again.session_settings(*question) == configuration.session_settings(*question)


def judge(octets: bytes) -> None:
    """Any octets give a configuration, or complaints that each name a place there is."""
    fuzz_configuration.test_one_input(octets)
    try:
        parse_configuration(octets, "f")
    except ConfigurationErrors as errors:
        lines = octets.split(b"\n")
        for diagnostic in errors.diagnostics:
            assert 1 <= diagnostic.line <= len(lines)
            assert 1 <= diagnostic.column <= len(lines[diagnostic.line - 1]) + 1


@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b'=\n==\n"="\n#=\n =')
@example(b"Password=\xff\xfe\xfd" + b"x" * 20)
@example(b"Username=\xff\nPassword=long-enough-1")
@example(b"TargetName=iqn.2001-04.com.example:\xc3\n Address=1")
@settings(max_examples=300)
def test_any_octets_are_a_configuration_or_complaints_with_line_numbers(octets: bytes) -> None:
    judge(octets)


@settings(max_examples=40)
@given(files.flatmap(spellings), st.data())
def test_damaged_files_are_a_configuration_or_complaints_with_line_numbers(
    text: bytes, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 10))
    judge(text[:position] + data.draw(st.binary(max_size=5)) + text[position + length :])


def test_a_file_means_the_same_however_often_it_is_read() -> None:
    text = "LoginTimeout=9\nDiscoveryAddress=10.0.0.1\n"
    assert parse_configuration(text, "f") == parse_configuration(text.encode(), "elsewhere")
    assert parse_configuration(text, "f") != parse_configuration(text.replace("9", "8"), "f")
