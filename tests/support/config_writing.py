"""Writes configuration files: from what was parsed, and at random for properties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from iscsid.config.grammar import SCOPE_OF, EntryKind, Keyword, ParsedFile, Scope, Setting
from iscsid.config.keywords import BY_FIELD, BY_NAME
from iscsid.secret import Secret


@dataclass(frozen=True)
class Statement:
    """One line to be: how it is indented, its keyword, and its value without quotes."""

    below: bool
    row: Keyword
    value: str


# --- from what was parsed -----------------------------------------------------------------------


def render(contents: ParsedFile) -> bytes:
    """Return a file with the same meaning, secrets included."""
    lines = [
        f'{"  " if each.below else ""}{each.row.name}="{each.value.replace(chr(34), chr(34) * 2)}"'
        for each in statements_of(contents)
    ]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def statements_of(contents: ParsedFile) -> Iterator[Statement]:
    """Yield globals and entries in the order of the file they were read from."""
    settings = {
        (setting.line, field): setting
        for inherited in (*(entry.inherited for entry in contents.entries), contents.globals)
        for field, setting in inherited.items()
        if not setting.is_default
    }
    waiting = sorted(settings)
    for entry in contents.entries:
        while waiting and waiting[0][0] < entry.line:
            yield _statement(waiting[0][1], settings[waiting.pop(0)], below=False)
        subject = entry.spelling or str(entry.subject)
        yield Statement(False, BY_NAME[entry.kind.value.lower()], subject)
        yield from (Statement(True, BY_NAME["address"], str(each)) for each in entry.addresses)
        yield from (_statement(field, each, below=True) for field, each in entry.own.items())
    for line, field in waiting:
        yield _statement(field, settings[line, field], below=False)


def _statement(field: str, setting: Setting, *, below: bool) -> Statement:
    return Statement(below, BY_FIELD[field], _written(BY_FIELD[field], setting))


def _written(row: Keyword, setting: Setting) -> str:
    if isinstance(setting.value, Secret):
        return setting.value.reveal().decode("utf-8", "surrogateescape")
    return row.syntax.format(setting.value)


# --- at random ----------------------------------------------------------------------------------

_BOOLEANS = st.sampled_from(["yes", "no", "YES", "0", "1"])
_TIMES = st.sampled_from(["1", "7", "90s", "2m", "1h", "0x10", "500"])
_TEXTS = st.sampled_from(
    ["", "x", " two  words ", '"', '""', "#", " # no comment", "=", "gr\u00fcn", "\t", "0x", "\\n"]
)
_DIGESTS = st.sampled_from(["always", "never", "prefer-on", "Prefer-Off", "none", "CRC32C"])
_IPV4 = st.sampled_from(["10.0.0.1", "10.1.2.3", "10.255.0.200", "192.168.250.7"])
_IPV6 = st.sampled_from(["2001:db8::1", "2001:DB8:0::2", "2001:db8::ffff:0:1"])
_PORTALS = st.one_of(
    _IPV4,
    st.builds("{}:{}".format, _IPV4, st.integers(1, 65535)),
    st.builds("[{}]".format, _IPV6),
    st.sampled_from(["storage", "Storage.example:3260", "storage.example:860"]),
)
_NETWORKS = st.one_of(
    st.builds("{}/{}".format, _IPV4, st.integers(0, 32)),
    st.builds("{}/{}".format, _IPV6, st.integers(0, 128)),
)
_ADDRESSES = st.one_of(_PORTALS, st.builds("{},{}".format, _IPV4, st.integers(0, 65535)))
_NAMES = st.builds(
    "iqn.2001-04.com.{}:{}".format, st.sampled_from(["example", "Example"]), st.integers(0, 99)
)
_LUN_LISTS = st.sampled_from(["0", "0, 3, 5-7", "65535,1-300"])
_LENGTHS = st.sampled_from(["65536", "256K", "1M", "16777215"])

VALUES: dict[str, st.SearchStrategy[str]] = {
    "initiator_name": _NAMES,
    "outgoing_username": _TEXTS.map("u{}".format),
    "outgoing_password": _TEXTS.map("outgoing-secret{}".format),
    "incoming_username": _TEXTS.map("#{}".format),
    "incoming_password": _TEXTS.map('"incoming" secret{}'.format),
    "chap_algorithms": st.sampled_from(["MD5", "sha256, MD5", "SHA3-256,SHA1"]),
    "poll_interval": _TIMES,
    "network_entity": st.sampled_from(["none", "array-1", "Array_2.x"]),
    "luns": st.one_of(st.just("all"), _LUN_LISTS),
    "multipath": st.sampled_from(["no", "yes", "portal", "portalgroup"]),
    "sessions": st.integers(1, 32).map(str),
    "preferred_portal": st.one_of(st.just("none"), _IPV4, st.builds("[{}]".format, _IPV6)),
    "preferred_subnet": st.one_of(st.just("none"), _NETWORKS),
    "login_retries": st.integers(0, 1000).map(str),
    "header_digest": _DIGESTS,
    "data_digest": _DIGESTS,
    "max_recv_data_segment_length": _LENGTHS,
    "first_burst_length": st.integers(512, 65536).map(str),
    "max_burst_length": _LENGTHS,
    "tcp_window_size": st.integers(0, 2**30).map(str),
    "socket_options.interface": st.sampled_from(["any", "eth0", "bond0.100", "enp3s0f1"]),
    "socket_options.source_address": st.one_of(st.just("any"), _IPV4, _IPV6),
    "socket_options.dscp": st.sampled_from(["0", "63", "af21", "EF"]),
    "commands_max": st.sampled_from(["16", "128", "4096"]),
    "queue_depth": st.integers(1, 1024).map(str),
}
"""Texts for each field that is neither a boolean nor a time."""

VALUES |= {
    f"discovery_{field.removeprefix('outgoing_')}": VALUES[field] for field in list(VALUES)[1:5]
}

CREDENTIALS = tuple(
    f"{purpose}{way}{what}"
    for purpose, ways in (("", ("outgoing_", "incoming_")), ("discovery_", ("", "incoming_")))
    for way in ways
    for what in ("username", "password")
)

_FLAGS = {"discovery_chap", "continuous", "send_async_text", "enabled", "portal_failover"}
_FLAGS |= {"initial_r2t", "immediate_data"}
_SUBJECTS = {
    EntryKind.DISCOVERY: _PORTALS,
    EntryKind.TARGET: _NAMES,
    EntryKind.SUBNET: _NETWORKS,
}


def _values(row: Keyword) -> st.SearchStrategy[str]:
    return _BOOLEANS if row.field in _FLAGS else VALUES.get(row.field, _TIMES)


def _settings(scope: Scope, *, below: bool) -> st.SearchStrategy[list[Statement]]:
    """Settings of one place: each at most once, credentials whole or not at all."""
    rows = [row for row in BY_FIELD.values() if scope in row.scope]
    plain = [row for row in rows if row.field not in CREDENTIALS]
    singles = st.lists(
        st.sampled_from(plain).flatmap(
            lambda row: st.builds(Statement, st.just(below), st.just(row), _values(row))
        ),
        max_size=4,
        unique_by=lambda statement: statement.row.field,
    )
    rows = [BY_FIELD[field] for field in CREDENTIALS if scope in BY_FIELD[field].scope]
    credentials = st.tuples(
        *(st.builds(Statement, st.just(below), st.just(row), _values(row)) for row in rows)
    ).map(list)
    none: list[Statement] = []
    if scope is Scope.SUBNET:
        return singles
    some = st.one_of(st.just(none), st.just(none), credentials)
    return st.builds(lambda first, second: [*first, *second], singles, some)


@st.composite
def _entry(draw: st.DrawFn, kind: EntryKind) -> list[Statement]:
    subject = draw(_SUBJECTS[kind])
    entry = [Statement(False, BY_NAME[kind.value.lower()], subject)]
    entry += draw(_settings(SCOPE_OF[kind], below=True))
    if kind is EntryKind.TARGET:
        addresses = draw(st.lists(_ADDRESSES, max_size=2))
        entry += [Statement(True, BY_NAME["address"], address) for address in addresses]
    return entry


files: st.SearchStrategy[list[Statement]] = st.lists(
    st.one_of(
        _settings(Scope.GLOBAL, below=False),
        *(_entry(kind) for kind in EntryKind),
    ),
    max_size=6,
).map(lambda parts: [statement for part in parts for statement in part])
"""Files that are right but for an address or an entry that comes twice by chance."""


@st.composite
def spellings(draw: st.DrawFn, statements: list[Statement]) -> bytes:
    """One of the many ways to write the same file."""
    end = draw(st.sampled_from(["\n", "\r\n", " \t\n"]))
    margin = draw(st.sampled_from([" ", "    ", "\t", " \t"]))
    noise = st.sampled_from(
        ["", "", f"# LoginTimeout=3{end}", end, f"   \t{end}", f"\t# \x07{end}"]
    )
    text = draw(st.sampled_from(["", "\ufeff"]))
    for statement in statements:
        name = draw(st.sampled_from(statement.row.names))
        name = draw(st.sampled_from([name, name.lower(), name.upper()]))
        equals = draw(st.sampled_from(["=", " = ", "\t=", "=  "]))
        value = draw(st.sampled_from(_ways_to_write(statement.value)))
        comment = draw(st.sampled_from(["", "", " # why", '\t#"']))
        text += draw(noise)
        text += f"{margin if statement.below else ''}{name}{equals}{value}{comment}{end}"
    return text.removesuffix(draw(st.sampled_from(["", end]))).encode()


def _ways_to_write(value: str) -> list[str]:
    doubled = value.replace('"', '""')
    ways = [f'"{doubled}"']
    if value.isascii() and not set(value) & set(' \t"#'):
        ways.append(value)
    return ways
