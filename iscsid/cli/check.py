"""``--check`` and ``--show-config``: what needs the files and no daemon, and no root either.

A thin caller: ``system`` reads, ``config`` judges, and here it is printed. It creates nothing,
connects to nothing, and asks the kernel nothing. ``--check --login`` goes on in ``trial``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.file import BindingsFile
from iscsid.cli.command import write_lines
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.effective import format_json, format_text, report
from iscsid.exit_status import ExitStatus
from iscsid.facts import BindingsNotRead
from iscsid.process.config_files import read_configuration, read_identity
from iscsid.protocol.names import IscsiName


def run_check(config_path: str, initiatorname_path: str, stdout: TextIO) -> int:
    """Judge both files, print every complaint and note, and return the exit status."""
    files: tuple[tuple[Callable[[str], list[str]], str], ...] = (
        (_judge_configuration, config_path),
        (_judge_initiator_name, initiatorname_path),
    )
    errors = 0
    for judge, path in files:
        try:
            lines = judge(path)
        except ConfigurationErrors as error:
            lines = list(error.lines)
            errors += len(lines)
        write_lines(stdout, lines)
    if errors:
        write_lines(stdout, [f"{errors} {'error' if errors == 1 else 'errors'}"])
    return ExitStatus.FAILURE if errors else ExitStatus.SUCCESS


def _judge_configuration(path: str) -> list[str]:
    configuration = read_configuration(path)
    notes = [f"note: {note}" for note in configuration.notes]
    asked, named = len(configuration.discoveries), len(configuration.static_targets)
    counts = f"DiscoveryAddress: {asked}, targets with Address: {named}"
    return [*notes, f"{path}: no errors ({counts})"]


def _judge_initiator_name(path: str) -> list[str]:
    identity = read_identity(path)
    notes = [f"note: {note}" for note in identity.notes]
    return [*notes, f"{path}: no errors (this initiator is {identity.name})"]


def run_show_config(
    config_path: str,
    target_names: Iterable[IscsiName] = (),
    *,
    as_json: bool,
    stdout: TextIO,
) -> int:
    """Print what holds where and which line says so, and return the exit status.

    ``target_names``: targets that are known although the file does not name them. With errors in
    the file nothing holds: they are printed instead.
    """
    try:
        configuration = read_configuration(config_path)
    except ConfigurationErrors as error:
        write_lines(stdout, error.lines)
        return ExitStatus.FAILURE
    sections = report(configuration, target_names)
    written = (format_json if as_json else format_text)(configuration, sections)
    write_lines(stdout, written.splitlines())
    return ExitStatus.SUCCESS


def known_targets(bindings_path: str, stderr: TextIO) -> tuple[IscsiName, ...]:
    """Return the names in the bindings file; where it cannot be read, say so and return none."""
    bindings = BindingsFile(bindings_path).read()
    if isinstance(bindings, BindingsNotRead):
        what = "targets that only the bindings file names are not shown"
        write_lines(stderr, [f"iscsid: note: {bindings.reason}; {what}"])
        return ()
    entries = Bindings.parse(bindings.text, bindings_path)
    return tuple(dict.fromkeys(entry.name for entry in entries))
