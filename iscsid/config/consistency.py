"""Checks of the whole file: duplicate entries, burst lengths and initiator names that contradict
each other, and credentials that are incomplete or unsafe. Pure; linear in the number of entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import pairwise

from iscsid.config.diagnostics import Diagnostic
from iscsid.config.grammar import (
    INVALID,
    ConfigEntry,
    EntryKind,
    ParsedFile,
    Scope,
    Setting,
    Settings,
)
from iscsid.config.initiatorname import remarks_on
from iscsid.config.keywords import BY_FIELD
from iscsid.protocol.names import IscsiName, why_irregular
from iscsid.secret import Secret

OUTGOING = ("outgoing_username", "outgoing_password")
INCOMING = ("incoming_username", "incoming_password")
DISCOVERY_OUTGOING = ("discovery_username", "discovery_password")
DISCOVERY_INCOMING = ("discovery_incoming_username", "discovery_incoming_password")
_CREDENTIALS = frozenset({*OUTGOING, *INCOMING, *DISCOVERY_OUTGOING, *DISCOVERY_INCOMING})


def check(contents: ParsedFile) -> list[Diagnostic]:
    """Return what is wrong with a file whose every line is right by itself."""
    checks = (_doubled_entries, _burst_lengths, _initiator_names, _credentials, _shared_secrets)
    # Many entries may inherit one mistake: it is reported once, for the first of them.
    found: dict[tuple[int, int, str], Diagnostic] = {}
    for each in checks:
        for diagnostic in each(contents):
            found.setdefault((diagnostic.line, diagnostic.column, diagnostic.expected), diagnostic)
    return list(found.values())


def check_effects(contents: ParsedFile) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Return errors and notes about lines without effect, in a file without other errors.

    It is an error if it is certainly a mistake: credentials, or the address of a target, that
    belong to an entry above and are not indented.
    """
    errors: list[Diagnostic] = []
    remarks = [
        *_irregular_names(contents),
        *_unusual_initiator_names(contents),
        *_unused_subnets(contents),
        *_unused_discovery_credentials(contents),
        *_targets_not_found(contents),
    ]
    for field, setting in _unused_globals(contents):
        above = [entry for entry in contents.entries if entry.line < setting.line]
        what = f"{BY_FIELD[field].name} has no effect: it is a global, and no entry below uses it"
        if field in _CREDENTIALS and above:
            name = f"{above[-1].kind.value} (line {above[-1].line})"
            errors.append(_diagnostic_at(contents, setting, what, f"it indented below {name}"))
        else:
            remarks.append(_diagnostic_at(contents, setting, what, ""))
    for before, entry in pairwise((None, *contents.entries)):
        if entry is None or entry.kind is not EntryKind.SUBNET or entry.own:
            continue
        what = f"an entry for {entry.subject} without settings has no effect"
        is_address = isinstance(entry.subject, IPv4Network | IPv6Network) and (
            entry.subject.prefixlen == entry.subject.max_prefixlen
        )
        if is_address and before is not None and before.kind is EntryKind.TARGET:
            expected = f"Address indented below {before.kind.value} (line {before.line})"
            errors.append(_diagnostic_at(contents, entry, what, expected))
        else:
            remarks.append(_diagnostic_at(contents, entry, what, "settings indented below it"))
    if not contents.entries:
        what = "the file has no DiscoveryAddress and no TargetName: there is nothing to do"
        remarks.append(Diagnostic(contents.filename, 0, 0, what))
    return errors, remarks


def _unused_globals(contents: ParsedFile) -> Iterator[tuple[str, Setting]]:
    """Yield globals that reach no session and no discovery, in no order."""
    has_discovery = any(entry.kind is EntryKind.DISCOVERY for entry in contents.entries)
    # Entries below the same globals share one mapping of them: each is looked at once.
    groups: dict[tuple[int, bool], list[ConfigEntry]] = {}
    for entry in contents.entries:
        groups.setdefault((id(entry.inherited), bool(entry.addresses)), []).append(entry)
    unused: dict[tuple[str, int], Setting] = {}
    used: set[tuple[str, int]] = set()
    for (_, has_addresses), entries in groups.items():
        overridden = Counter(field for entry in entries for field in entry.own)
        is_target = entries[0].kind is EntryKind.TARGET
        for field, setting in entries[0].inherited.items():
            unused[field, setting.line] = setting
            reaches = has_addresses or (has_discovery and field not in _CREDENTIALS)
            if overridden[field] < len(entries) and (reaches or not is_target):
                used.add((field, setting.line))
    for field, setting in contents.globals.items():
        unused[field, setting.line] = setting
        # Targets without an entry have the globals at the end of the file, but for credentials.
        is_session = Scope.TARGET in BY_FIELD[field].scope and field not in _CREDENTIALS
        if has_discovery and is_session:
            used.add((field, setting.line))
    for key in unused.keys() - used:
        if not unused[key].is_default and contents.entries:
            yield key[0], unused[key]


def _irregular_names(contents: ParsedFile) -> Iterator[Diagnostic]:
    for entry in contents.entries:
        if entry.kind is EntryKind.TARGET and (why := why_irregular(IscsiName(str(entry.subject)))):
            what = f"the name is against the rules for iSCSI names ({why}); it is used as it is"
            yield Diagnostic(contents.filename, entry.line, entry.column, what)


def _unusual_initiator_names(contents: ParsedFile) -> Iterator[Diagnostic]:
    for entry in contents.entries:
        if setting := entry.own.get("initiator_name"):
            for what in remarks_on(setting.value):
                yield _diagnostic_at(contents, setting, what, "")


def _unused_subnets(contents: ParsedFile) -> Iterator[Diagnostic]:
    """Note networks that no portal can be in, if the file alone determines the portals."""
    if any(entry.kind is EntryKind.DISCOVERY for entry in contents.entries):
        return
    subnets = [
        (entry, entry.subject)
        for entry in contents.entries
        if isinstance(entry.subject, IPv4Network | IPv6Network) and entry.own
    ]
    used: set[tuple[int, int, int]] = set()
    lengths = {(network.version, network.prefixlen) for _, network in subnets}
    for target in contents.entries:
        for address in target.addresses:
            with suppress(ValueError):  # A portal known by name only is in no subnet.
                host = ip_address(address.portal.host)
                used |= {
                    (version, length, int(host) >> (host.max_prefixlen - length))
                    for version, length in lengths
                    if version == host.version
                }
    for entry, network in subnets:
        bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
        if (network.version, network.prefixlen, bits) not in used:
            what = f"no Address of this file is in {network}: the settings have no effect"
            yield _diagnostic_at(contents, entry, what, "")


def _unused_discovery_credentials(contents: ParsedFile) -> Iterator[Diagnostic]:
    for entry in contents.entries:
        chap = {**entry.inherited, **entry.own}.get("discovery_chap")
        if chap is None or chap.value:
            continue
        for field in (*DISCOVERY_OUTGOING, *DISCOVERY_INCOMING):
            if setting := entry.own.get(field):
                what = f"{BY_FIELD[field].name} has no effect: DiscoveryCHAP is no"
                yield _diagnostic_at(contents, setting, what, "")


def _targets_not_found(contents: ParsedFile) -> Iterator[Diagnostic]:
    if any(entry.kind is EntryKind.DISCOVERY for entry in contents.entries):
        return
    for entry in contents.entries:
        if entry.kind is EntryKind.TARGET and not entry.addresses:
            what = f"nothing in this file finds the target {entry.subject}"
            expected = "a DiscoveryAddress, or Address below the TargetName"
            yield _diagnostic_at(contents, entry, what, expected)


def _diagnostic_at(
    contents: ParsedFile, at: Setting | ConfigEntry, what: str, expected: str
) -> Diagnostic:
    return Diagnostic(contents.filename, at.line, at.column, what, expected=expected)


def _doubled_entries(contents: ParsedFile) -> Iterator[Diagnostic]:
    first: dict[tuple[EntryKind, object], int] = {}
    for entry in contents.entries:
        line = first.setdefault((entry.kind, entry.subject), entry.line)
        if line != entry.line:
            what = f"{entry.kind.value} {entry.subject} has an entry already, on line {line}"
            yield _diagnostic_at(contents, entry, what, "one entry for each")


def _burst_lengths(contents: ParsedFile) -> Iterator[Diagnostic]:
    targets = (entry for entry in contents.entries if entry.kind is EntryKind.TARGET)
    places: list[tuple[Settings, Settings]] = [(each.own, each.inherited) for each in targets]
    for own, others in (*places, ({}, contents.globals)):
        first = own.get("first_burst_length", others["first_burst_length"])
        most = own.get("max_burst_length", others["max_burst_length"])
        if INVALID in (first.value, most.value) or first.is_default:
            continue  # A default FirstBurstLength follows a smaller MaxBurstLength.
        if first.value > most.value:
            where = f"of line {most.line}" if most.line else "(the default)"
            what = f"FirstBurstLength {first.value} exceeds MaxBurstLength {most.value} {where}"
            yield _diagnostic_at(contents, first, what, f"at most {most.value}")


def _initiator_names(contents: ParsedFile) -> Iterator[Diagnostic]:
    """Report different names for addresses of one array: a session may use the portals of all."""
    first: dict[str, ConfigEntry] = {}
    for entry in contents.entries:
        if not (entity := entry.own.get("network_entity")) or entity.value in ("", INVALID):
            continue
        other = first.setdefault(entity.value, entry)
        names = [each.own.get("initiator_name", Setting(None)) for each in (other, entry)]
        if names[0] != names[1]:
            at = entry.own.get("initiator_name", entity)
            what = f"DiscoveryAddress {other.subject} (line {other.line}) has the same "
            what += "NetworkEntity and another InitiatorName"
            yield _diagnostic_at(contents, at, what, "the same InitiatorName below both, or none")


def _credentials(contents: ParsedFile) -> Iterator[Diagnostic]:
    """Report half pairs, and incoming credentials without outgoing ones."""
    used: set[int] = set()
    for entry in contents.entries:
        for settings in _credential_sets(entry):
            used.update(setting.line for setting in settings.values())
            where = f" for {entry.kind.value} {entry.subject}"
            yield from _check_credentials(contents, settings, where)
            yield from _check_discovery_credentials(contents, settings, where)
    # A global name that each entry completes with a secret of its own is not half a pair.
    for check_pairs in (_check_credentials, _check_discovery_credentials):
        for diagnostic in check_pairs(contents, contents.globals, ""):
            if diagnostic.line not in used:
                yield diagnostic


def _credential_sets(entry: ConfigEntry) -> Iterator[Settings]:
    """Yield the settings whose credentials a session may come to use.

    Those below a TargetName must be whole by themselves: which DiscoveryAddress will report the
    target, and with which credentials, is not known.
    """
    if entry.kind is EntryKind.TARGET and (OUTGOING + INCOMING) & entry.own.keys():
        yield entry.own
    if entry.kind is EntryKind.DISCOVERY or entry.addresses:
        yield {**entry.inherited, **entry.own}


def _check_credentials(
    contents: ParsedFile, settings: Settings, where: str
) -> Iterator[Diagnostic]:
    yield from _check_pairs(contents, settings, where, OUTGOING, INCOMING)


def _check_discovery_credentials(
    contents: ParsedFile, settings: Settings, where: str
) -> Iterator[Diagnostic]:
    yield from _check_pairs(contents, settings, where, DISCOVERY_OUTGOING, DISCOVERY_INCOMING)


def _check_pairs(
    contents: ParsedFile,
    settings: Settings,
    where: str,
    outgoing: tuple[str, str],
    incoming: tuple[str, str],
) -> Iterator[Diagnostic]:
    given = {
        field: settings[field]
        for field in (*outgoing, *incoming)
        if field in settings and settings[field].value is not None
    }
    for pair in (outgoing, incoming):
        for present, absent in (pair, pair[::-1]):
            if present in given and absent not in given:
                missing = BY_FIELD[absent].name
                what = f"{BY_FIELD[present].name} without {missing}{where}"
                yield _diagnostic_at(contents, given[present], what, missing)
    if given.keys() & set(incoming) and not given.keys() & set(outgoing):
        at = next(given[field] for field in incoming if field in given)
        what = f"the target shall prove itself, but the initiator has no credentials{where}"
        expected = " and ".join(BY_FIELD[field].name for field in outgoing)
        yield _diagnostic_at(contents, at, what, f"{expected} as well")


def _shared_secrets(contents: ParsedFile) -> Iterator[Diagnostic]:
    """Report a secret that serves both directions (RFC 7143, section 9.2.1).

    Anywhere in the file: a target that knows the secret could pose as another target.
    """
    outgoing_seen: dict[Secret, Setting] = {}
    incoming_seen: dict[Secret, Setting] = {}
    seen = {
        **dict.fromkeys((OUTGOING[1], DISCOVERY_OUTGOING[1]), outgoing_seen),
        **dict.fromkeys((INCOMING[1], DISCOVERY_INCOMING[1]), incoming_seen),
    }
    for entry in contents.entries:
        for settings in (entry.inherited, entry.own):
            _collect_secrets(settings, seen)
    _collect_secrets(contents.globals, seen)
    for secret, incoming in incoming_seen.items():
        outgoing = outgoing_seen.get(secret)
        if outgoing:
            what = f"the IncomingPassword is the OutgoingPassword of line {outgoing.line}"
            yield _diagnostic_at(contents, incoming, what, "two different secrets")


def _collect_secrets(settings: Settings, seen: dict[str, dict[Secret, Setting]]) -> None:
    for field, settings_seen in seen.items():
        setting = settings.get(field)
        if setting and setting.value is not None and setting.value is not INVALID:
            settings_seen.setdefault(setting.value, setting)
