"""``--check`` and ``--show-config``: they need the files, but neither a daemon nor root.

The files are read and parsed by ``process.config_files``; here the result is printed. Nothing is
created or connected to. ``--check --login`` continues in ``login_check``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TextIO

from iscsid.bindings.allocation import Bindings
from iscsid.cli.command import write_lines
from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic
from iscsid.config.effective import format_json, format_text, report
from iscsid.exit_status import ExitStatus
from iscsid.facts import BindingsNotRead
from iscsid.process.bindings_file import BindingsFile
from iscsid.process.config_files import read_configuration, read_identity
from iscsid.protocol.names import IscsiName


def run_check(
    config_path: str, initiatorname_path: str, stdout: TextIO, *, as_json: bool = False
) -> int:
    """Check both files, print every error and note, and return the exit status."""
    errors: list[Diagnostic] = []
    notes: list[Diagnostic] = []
    lines: list[str] = []
    for check, path in ((_configuration, config_path), (_initiator_name, initiatorname_path)):
        try:
            summary, remarks = check(path)
            notes += remarks
            lines += [*map(str, remarks), f"{path}: no errors ({summary})"]
        except ConfigurationErrors as error:
            errors += error.diagnostics
            lines += error.lines
    if errors:
        lines.append(f"{len(errors)} {'error' if len(errors) == 1 else 'errors'}")
    write_lines(stdout, _as_json(errors, notes).splitlines() if as_json else lines)
    return ExitStatus.FAILURE if errors else ExitStatus.SUCCESS


def _configuration(path: str) -> tuple[str, tuple[Diagnostic, ...]]:
    """Return what the file contains, in short, and the notes about it."""
    configuration = read_configuration(path)
    discoveries, targets = len(configuration.discoveries), len(configuration.static_targets)
    counts = f"DiscoveryAddress: {discoveries}, targets with Address: {targets}"
    return counts, configuration.notes


def _initiator_name(path: str) -> tuple[str, tuple[Diagnostic, ...]]:
    identity = read_identity(path)
    return f"this initiator is {identity.name}", identity.notes


def _as_json(errors: list[Diagnostic], notes: list[Diagnostic]) -> str:
    """Return all diagnostics as JSON; a line of 0 is the whole file."""
    parts = ("filename", "line", "column", "what", "expected", "nearest")

    def plain(diagnostics: list[Diagnostic]) -> list[dict[str, object]]:
        return [{part: getattr(each, part) for part in parts} for each in diagnostics]

    report = {"ok": not errors, "errors": plain(errors), "notes": plain(notes)}
    return json.dumps(report, indent=2)


def run_show_config(
    config_path: str,
    target_names: Iterable[IscsiName] = (),
    *,
    as_json: bool,
    stdout: TextIO,
) -> int:
    """Print the settings in force and the line that sets each; return the exit status.

    ``target_names``: known targets that the file does not name. If the file has errors, they are
    printed instead.
    """
    try:
        configuration = read_configuration(config_path)
    except ConfigurationErrors as error:
        write_lines(stdout, error.lines)
        return ExitStatus.FAILURE
    sections = report(configuration, target_names)
    write_lines(stdout, (format_json if as_json else format_text)(configuration, sections))
    return ExitStatus.SUCCESS


def known_targets(bindings_path: str, stderr: TextIO) -> tuple[IscsiName, ...]:
    """Return the names in the bindings file; if it cannot be read, print a note and return none."""
    bindings = BindingsFile(bindings_path).read()
    if isinstance(bindings, BindingsNotRead):
        what = "targets that only the bindings file names are not shown"
        write_lines(stderr, [f"iscsid: note: {bindings.reason}; {what}"])
        return ()
    entries = Bindings.parse(bindings.text, bindings_path)
    return tuple(dict.fromkeys(entry.name for entry in entries))
