"""The table of keywords: every row, against the settings it fills and the places it may stand."""

from __future__ import annotations

import dataclasses
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest

from iscsid.config import foreign_keywords
from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.grammar import PLACES, SCOPE_OF, EntryKind, Keyword, Scope
from iscsid.config.keywords import ALL_NAMES, BY_FIELD, BY_NAME, DEFAULTS, KEYWORDS
from iscsid.config.settings import DiscoverySettings, SessionSettings, SocketOptions, Timeouts
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Authentication
from tests.support.config_writing import CREDENTIALS

_G, _D, _T, _S = Scope.GLOBAL, Scope.DISCOVERY, Scope.TARGET, Scope.SUBNET

CLASSIC = {
    # keyword: (aliases, default, where it may stand), as in the old manual pages and program
    "DiscoveryAddress": ("TargetIpAddr", "", _G),
    "TargetName": ("", "", _G),
    "Subnet": ("", "", _G),
    "Address": ("", "", _G | _T),
    "OutgoingUsername": ("Username UsernameOut", "", _G | _D | _T),
    "OutgoingPassword": ("Password PasswordOut", "", _G | _D | _T),
    "IncomingUsername": ("UsernameIn", "", _G | _D | _T),
    "IncomingPassword": ("PasswordIn", "", _G | _D | _T),
    "HeaderDigest": ("", "prefer-off", _G | _T),
    "DataDigest": ("", "prefer-off", _G | _T),
    "InitialR2T": ("", "no", _G | _T),
    "ImmediateData": ("", "yes", _G | _T),
    "MaxRecvDataSegmentLength": ("", "131072", _G | _T),
    "FirstBurstLength": ("", "262144", _G | _T),
    "MaxBurstLength": ("", "16776192", _G | _T),
    "TCPWindowSize": ("", "262144", _G | _T | _S),
    "LoginTimeout": ("", "15s", _G | _D | _T | _S),
    "AuthTimeout": ("", "45s", _G | _D | _T | _S),
    "ActiveTimeout": ("", "5s", _G | _D | _T | _S),
    "IdleTimeout": ("", "60s", _G | _D | _T | _S),
    "PingTimeout": ("", "5s", _G | _D | _T | _S),
    "ConnFailTimeout": ("", "0", _G | _T),
    "AbortTimeout": ("", "10s", _G | _T | _S),
    "ResetTimeout": ("", "30s", _G | _T | _S),
    "DiskCommandTimeout": ("", "0", _G | _T),
    "Continuous": ("", "yes", _G | _D),
    "SendAsyncText": ("", "yes", _G | _D),
    "Enabled": ("", "yes", _G | _D | _T | _S),
    "LUNs": ("", "all", _G | _T),
    "PreferredPortal": ("", "none", _G | _T),
    "PreferredSubnet": ("", "none", _G | _T),
    "PortalFailover": ("", "yes", _G | _T),
    "Multipath": ("", "no", _G | _T),
    "PollInterval": ("", "0", _G | _D),
}
EXTENSIONS = {
    "InitiatorName": ("", "", _D | _T),
    "DiscoveryCHAP": ("", "yes", _G | _D),
    "DiscoveryUsername": ("", "", _G | _D),
    "DiscoveryPassword": ("", "", _G | _D),
    "DiscoveryIncomingUsername": ("", "", _G | _D),
    "DiscoveryIncomingPassword": ("", "", _G | _D),
    "CHAPAlgorithms": ("", "MD5", _G | _D | _T),
    "NetworkEntity": ("", "none", _D),
    "Interface": ("", "any", _G | _D | _T | _S),
    "SourceAddress": ("", "any", _G | _D | _T | _S),
    "DSCP": ("", "0", _G | _D | _T | _S),
    "CommandsMax": ("", "128", _G | _T),
    "QueueDepth": ("", "32", _G | _T),
    "Sessions": ("", "1", _G | _T | _S),
    "LoginRetries": ("", "0", _G | _T),
    "LoginRetryInterval": ("", "0", _G | _T),
}
EXTENDED = {
    "OutgoingUsername": _T,
    "OutgoingPassword": _T,
    "IncomingUsername": _T,
    "IncomingPassword": _T,
    "Address": _T,
    "Enabled": _D,
    "PollInterval": _G | _D,
}

OPENERS = {
    EntryKind.DISCOVERY: "DiscoveryAddress=10.0.0.1",
    EntryKind.TARGET: "TargetName=iqn.2001-04.com.example:disk",
    EntryKind.SUBNET: "Subnet=10.0.0.0/8",
}

SAMPLES = {
    # field: a text that is not the default; a text that is wrong and the complaint about it
    "initiator_name": ("iqn.2001-04.com.example:Host", "iqn.2001-04.com.example:ho/st"),
    "chap_algorithms": ("SHA256", "MD4"),
    "continuous": ("no", "maybe"),
    "send_async_text": ("no", "maybe"),
    "poll_interval": ("10m", "-1"),
    "network_entity": ("array-1", "array/1"),
    "enabled": ("no", "maybe"),
    "luns": ("0,3,5-7", "x"),
    "multipath": ("portal", "maybe"),
    "sessions": ("2", "33"),
    "portal_failover": ("no", "maybe"),
    "preferred_portal": ("10.0.0.9", "10.0.0.9:1"),
    "preferred_subnet": ("10.0.0.0/8", "10.0.0.0/33"),
    "login_retries": ("7", "1000001"),
    "login_retry_interval": ("9", "2147484"),
    "timeouts.login": ("20", "2147484"),
    "timeouts.auth": ("20", "2147484"),
    "timeouts.active": ("20", "2147484"),
    "timeouts.idle": ("20", "2147484"),
    "timeouts.ping": ("20", "2147484"),
    "conn_fail_timeout": ("20", "2147484"),
    "abort_timeout": ("20", "0"),
    "reset_timeout": ("20", "0"),
    "disk_command_timeout": ("20", "2147484"),
    "header_digest": ("always", "maybe"),
    "data_digest": ("never", "maybe"),
    "initial_r2t": ("yes", "maybe"),
    "immediate_data": ("no", "maybe"),
    "max_recv_data_segment_length": ("8192", "511"),
    "first_burst_length": ("65536", "16777216"),
    "max_burst_length": ("1M", "16777216"),
    "tcp_window_size": ("0", "1073741825"),
    "socket_options.interface": ("eth1", "eth0/1"),
    "socket_options.source_address": ("10.0.0.9", "storage"),
    "socket_options.dscp": ("af21", "64"),
    "commands_max": ("256", "100"),
    "queue_depth": ("64", "0"),
}

each_row = pytest.mark.parametrize("row", KEYWORDS, ids=lambda row: row.name)
each_setting = pytest.mark.parametrize("field", SAMPLES)


def test_the_table_is_the_classic_s_and_our_extensions() -> None:
    table = {row.name: (" ".join(row.aliases), row.default, row.scope) for row in KEYWORDS}
    assert table == CLASSIC | EXTENSIONS


def test_extensions_are_marked_as_such_and_nothing_else() -> None:
    expected = EXTENDED | {name: scope for name, (_, _, scope) in EXTENSIONS.items()}
    assert {row.name: row.extension for row in KEYWORDS if row.extension} == expected
    assert {row.name for row in KEYWORDS if row.is_extension} == {*EXTENSIONS, "PollInterval"}


def test_no_name_stands_for_two_things() -> None:
    lowered = [name.lower() for name in (*ALL_NAMES, *foreign_keywords.WITHOUT_EFFECT)]
    assert len(set(lowered)) == len(lowered)
    assert set(BY_NAME) | set(foreign_keywords.BY_NAME) == set(lowered)


@each_row
def test_a_row_has_a_summary_of_one_sentence(row: Keyword) -> None:
    assert row.summary[0].isupper() and row.summary.endswith(".")
    assert len(row.summary) < 90


def test_every_field_of_the_settings_has_a_row_and_every_row_a_field() -> None:
    settings = {
        field.name
        for each in (SessionSettings, DiscoverySettings)
        for field in dataclasses.fields(each)
    }
    fields = settings - {"authentication", "timeouts", "socket_options", "portal"}
    fields |= {f"timeouts.{field.name}" for field in dataclasses.fields(Timeouts)}
    fields |= {f"socket_options.{field.name}" for field in dataclasses.fields(SocketOptions)}
    credentials = {*CREDENTIALS, "discovery_chap"}
    assert set(BY_FIELD) == fields | credentials | {"chap_algorithms"}
    assert set(SAMPLES) == fields | {"chap_algorithms"}


def test_the_defaults_of_the_table_are_those_of_the_settings() -> None:
    configuration = parse_configuration("DiscoveryAddress=10.0.0.1", "f")
    name = "iqn.2001-04.com.example:disk"
    assert configuration.discoveries == (DiscoverySettings(portal=Portal("10.0.0.1")),)
    settings = configuration.session_settings(name, Portal("10.0.0.2"), None)  # type: ignore[arg-type]
    assert settings == SessionSettings()
    assert settings.authentication == Authentication()


def promised_types(field: str) -> set[object]:
    """Return the types a settings class declares for a field."""
    hints: dict[str, object] = {"chap_algorithms": get_type_hints(Authentication)["algorithms"]}
    for each in (SessionSettings, DiscoverySettings):
        hints |= get_type_hints(each)
    groups: dict[str, type] = {"timeouts": Timeouts, "socket_options": SocketOptions}
    for group, kind in groups.items():
        hints |= {f"{group}.{name}": hint for name, hint in get_type_hints(kind).items()}
    hint = hints[field]
    union = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return {get_origin(each) or getattr(each, "__supertype__", each) for each in union}


@each_setting
def test_every_value_has_a_type_that_the_settings_promise(field: str) -> None:
    for value in (DEFAULTS[field].value, BY_FIELD[field].syntax.parse(SAMPLES[field][0])):
        assert type(value) in promised_types(field)


def value_of(settings: object, field: str) -> object:
    if field == "chap_algorithms":
        field = "authentication.algorithms"
    for part in field.split("."):
        settings = getattr(settings, part)
    return settings


def effect(text: str, kind: EntryKind | None, field: str) -> object:
    """Return what ``text`` makes of ``field``, where a setting of ``kind`` shows."""
    configuration = parse_configuration(text, "f")
    row = BY_FIELD[field]
    if kind is EntryKind.DISCOVERY or (kind is None and Scope.TARGET not in row.scope):
        return value_of(configuration.discoveries[0], field)
    name = "iqn.2001-04.com.example:disk"
    settings = configuration.session_settings(name, Portal("10.0.0.7"), None)  # type: ignore[arg-type]
    return value_of(settings, field)


@each_setting
def test_a_global_setting_reaches_what_it_is_for(field: str) -> None:
    row, (sample, _) = BY_FIELD[field], SAMPLES[field]
    wanted = row.syntax.parse(sample)
    assert wanted != DEFAULTS[field].value
    if Scope.GLOBAL not in row.scope:
        with pytest.raises(ConfigurationErrors) as caught:
            parse_configuration(f"{row.name}={sample}\n{OPENERS[EntryKind.DISCOVERY]}", "f")
        (line,) = caught.value.lines
        assert line.startswith(f"f:1:1: {row.name} cannot stand outside of entries; expected below")
        return
    for name in row.names:
        for keyword in (name, name.lower(), name.upper()):
            text = f"{keyword}={sample}\n{OPENERS[EntryKind.DISCOVERY]}"
            assert effect(text, None, field) == wanted


@each_setting
@pytest.mark.parametrize("kind", EntryKind)
def test_a_setting_stands_below_the_entries_it_may_and_no_others(
    field: str, kind: EntryKind
) -> None:
    row, (sample, _) = BY_FIELD[field], SAMPLES[field]
    text = f"{OPENERS[kind]}\n {row.name}={sample}\n"
    if SCOPE_OF[kind] in row.scope:
        assert effect(text, kind, field) == row.syntax.parse(sample)
        return
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(text, "f")
    allowed = " or ".join(place for scope, place in PLACES.items() if scope in row.scope)
    assert caught.value.lines == (
        f"f:2:2: {row.name} cannot stand below {kind.value} (line 1); expected {allowed}",
    )


@each_setting
def test_an_invalid_value_is_reported_with_position_and_expectation(field: str) -> None:
    row, (_, wrong) = BY_FIELD[field], SAMPLES[field]
    above = "# first" if Scope.GLOBAL in row.scope else OPENERS[EntryKind.DISCOVERY]
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(f"{above}\n  {row.name} = {wrong}", "f")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.line, diagnostic.column) == (2, len(row.name) + 6)
    assert diagnostic.what.startswith(f"{row.name}: ")
    assert diagnostic.expected == row.syntax.expected


@pytest.mark.parametrize("name", foreign_keywords.WITHOUT_EFFECT)
def test_a_keyword_of_old_brings_a_note_and_no_error(name: str) -> None:
    configuration = parse_configuration(f"{name.lower()}=all", "f")
    note = next(note for note in configuration.notes if note.line)
    assert (
        str(note) == f"f:1:1: note: {name} has no effect: {foreign_keywords.WITHOUT_EFFECT[name]}"
    )
