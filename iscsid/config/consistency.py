"""Checks of the whole file: duplicate entries, burst lengths that contradict each other, and
credentials that are incomplete or unsafe. Pure; linear in the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterator

from iscsid.config.diagnostics import Diagnostic
from iscsid.config.grammar import INVALID, ConfigEntry, EntryKind, ParsedFile, Setting, Settings
from iscsid.config.keywords import BY_FIELD
from iscsid.protocol.names import IscsiName, why_irregular
from iscsid.secret import Secret

OUTGOING = ("outgoing_username", "outgoing_password")
INCOMING = ("incoming_username", "incoming_password")


def check(contents: ParsedFile) -> list[Diagnostic]:
    """Return what is wrong with a file whose every line is right by itself."""
    checks = (_doubled_entries, _burst_lengths, _credentials, _shared_secrets)
    # Many entries may inherit one mistake: it is reported once, for the first of them.
    found: dict[tuple[int, int, str], Diagnostic] = {}
    for each in checks:
        for diagnostic in each(contents):
            found.setdefault((diagnostic.line, diagnostic.column, diagnostic.expected), diagnostic)
    return list(found.values())


def notes(contents: ParsedFile) -> list[Diagnostic]:
    """Return remarks about the file as a whole that are no errors."""
    return [*_irregular_names(contents), *_targets_not_found(contents)]


def _irregular_names(contents: ParsedFile) -> Iterator[Diagnostic]:
    for entry in contents.entries:
        if entry.kind is EntryKind.TARGET and (why := why_irregular(IscsiName(str(entry.subject)))):
            what = f"the name is against the rules for iSCSI names ({why}); it is used as it is"
            yield Diagnostic(contents.filename, entry.line, entry.column, what)


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


def _credentials(contents: ParsedFile) -> Iterator[Diagnostic]:
    """Report half pairs, and incoming credentials without outgoing ones."""
    used: set[int] = set()
    for entry in contents.entries:
        for settings in _credential_sets(entry):
            used.update(setting.line for setting in settings.values())
            yield from _check_credentials(
                contents, settings, f" for {entry.kind.value} {entry.subject}"
            )
    # A global name that each entry completes with a secret of its own is not half a pair.
    for diagnostic in _check_credentials(contents, contents.globals, ""):
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
    given = {
        field: settings[field]
        for field in (*OUTGOING, *INCOMING)
        if field in settings and settings[field].value is not None
    }
    for pair in (OUTGOING, INCOMING):
        for present, absent in (pair, pair[::-1]):
            if present in given and absent not in given:
                missing = BY_FIELD[absent].name
                what = f"{BY_FIELD[present].name} without {missing}{where}"
                yield _diagnostic_at(contents, given[present], what, missing)
    if given.keys() & set(INCOMING) and not given.keys() & set(OUTGOING):
        at = next(given[field] for field in INCOMING if field in given)
        what = f"the target shall prove itself, but the initiator has no credentials{where}"
        yield _diagnostic_at(contents, at, what, "OutgoingUsername and OutgoingPassword as well")


def _shared_secrets(contents: ParsedFile) -> Iterator[Diagnostic]:
    """Report a secret that serves both directions (RFC 7143, section 9.2.1).

    Anywhere in the file: a target that knows the secret could pose as another target.
    """
    seen: dict[str, dict[Secret, Setting]] = {OUTGOING[1]: {}, INCOMING[1]: {}}
    for entry in contents.entries:
        for settings in (entry.inherited, entry.own):
            _collect_secrets(settings, seen)
    _collect_secrets(contents.globals, seen)
    for secret, incoming in seen[INCOMING[1]].items():
        outgoing = seen[OUTGOING[1]].get(secret)
        if outgoing:
            what = f"the IncomingPassword is the OutgoingPassword of line {outgoing.line}"
            yield _diagnostic_at(contents, incoming, what, "two different secrets")


def _collect_secrets(settings: Settings, seen: dict[str, dict[Secret, Setting]]) -> None:
    for field, settings_seen in seen.items():
        setting = settings.get(field)
        if setting and setting.value is not None and setting.value is not INVALID:
            settings_seen.setdefault(setting.value, setting)
