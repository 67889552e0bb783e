"""``--check`` and ``--show-config``: they need the files, but neither a daemon nor root.

The files are read and parsed by ``process.config_files``; here the result is printed. Nothing is
created or connected to. ``--check --login`` continues in ``login_check``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from iscsid.bindings.allocation import Bindings
from iscsid.cli.command import write_lines
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.effective import format_json, format_text, report
from iscsid.exit_status import ExitStatus
from iscsid.facts import BindingsNotRead
from iscsid.process.bindings_file import BindingsFile
from iscsid.process.config_files import read_configuration, read_identity
from iscsid.protocol.names import IscsiName


def run_check(config_path: str, initiatorname_path: str, stdout: TextIO) -> int:
    """Check both files, print every error and note, and return the exit status."""
    files: tuple[tuple[Callable[[str], list[str]], str], ...] = (
        (_check_configuration, config_path),
        (_check_initiator_name, initiatorname_path),
    )
    errors = 0
    for check, path in files:
        try:
            lines = check(path)
        except ConfigurationErrors as error:
            lines = list(error.lines)
            errors += len(lines)
        write_lines(stdout, lines)
    if errors:
        write_lines(stdout, [f"{errors} {'error' if errors == 1 else 'errors'}"])
    return ExitStatus.FAILURE if errors else ExitStatus.SUCCESS


def _check_configuration(path: str) -> list[str]:
    configuration = read_configuration(path)
    notes = list(map(str, configuration.notes))
    discoveries, targets = len(configuration.discoveries), len(configuration.static_targets)
    counts = f"DiscoveryAddress: {discoveries}, targets with Address: {targets}"
    return [*notes, f"{path}: no errors ({counts})"]


def _check_initiator_name(path: str) -> list[str]:
    identity = read_identity(path)
    notes = list(map(str, identity.notes))
    return [*notes, f"{path}: no errors (this initiator is {identity.name})"]


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
