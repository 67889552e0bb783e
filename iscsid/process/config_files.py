"""The administrator's two files, read as they are now.

May read /etc/iscsi.conf and /etc/initiatorname.iscsi (or those that the options name) and look at
their modes; what they mean is the business of ``config``. Writes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from shlex import quote

from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic
from iscsid.config.initiatorname import (
    InitiatorIdentity,
    missing_initiator_name,
    parse_initiator_name,
)
from iscsid.facts import ConfigurationRead, ConfigurationRefused, FileContents
from iscsid.process.files import read_file
from iscsid.protocol.names import Portal


@dataclass(frozen=True, slots=True)
class ConfigurationFiles:
    """Where the files are."""

    config: str
    initiatorname: str
    address: Portal | None = None
    """A DiscoveryAddress that the configuration gets in any case; the file may be missing then."""

    def read(self) -> ConfigurationRead | ConfigurationRefused:
        """Read both files, and return either what they contain or all that is wrong in them."""
        return parse_files(read_file(self.config), read_file(self.initiatorname), self.address)


def parse_files(
    config: FileContents, initiatorname: FileContents, address: Portal | None = None
) -> ConfigurationRead | ConfigurationRefused:
    """Return either what the files contain or all that is wrong in them."""
    diagnostics: list[str] = []
    configuration = identity = None
    try:
        configuration = _parse_configuration(config, address)
    except ConfigurationErrors as error:
        diagnostics += error.lines
    try:
        identity = _parse_identity(initiatorname)
    except ConfigurationErrors as error:
        diagnostics += error.lines
    if configuration is None or identity is None:
        return ConfigurationRefused(tuple(diagnostics))
    remarks = tuple(map(str, identity.notes))
    return ConfigurationRead(configuration, identity.name, identity.alias, remarks)


def read_configuration(filename: str, address: Portal | None = None) -> Configuration:
    """Return the parsed file; raises ``ConfigurationErrors``, also for its permissions.

    If it does not name the DiscoveryAddress ``address``, this is added, with the settings that are
    in force at the end of the file.
    """
    return _parse_configuration(read_file(filename), address)


def read_identity(filename: str) -> InitiatorIdentity:
    """Return the initiator's name; raises ``ConfigurationErrors``, with the command that helps."""
    return _parse_identity(read_file(filename))


def _parse_configuration(contents: FileContents, address: Portal | None) -> Configuration:
    if address is not None and contents.is_missing:
        return parse_configuration(f"DiscoveryAddress={address}", contents.path)
    _refuse_unread(contents)
    configuration = _parse(contents)
    if address in (None, *(discovery.portal for discovery in configuration.discoveries)):
        return configuration
    return _parse(
        replace(contents, octets=contents.octets + f"\nDiscoveryAddress={address}\n".encode())
    )


def _parse(contents: FileContents) -> Configuration:
    try:
        configuration = parse_configuration(contents.octets, contents.path)
    except ConfigurationErrors as error:
        exposed = _exposed(contents, error.has_secrets)
        raise ConfigurationErrors(
            [*error.diagnostics, *exposed], has_secrets=error.has_secrets
        ) from None
    exposed = _exposed(contents, configuration.has_secrets)
    if exposed:
        raise ConfigurationErrors(exposed, has_secrets=True)
    return configuration


def _parse_identity(contents: FileContents) -> InitiatorIdentity:
    if contents.is_missing:
        raise ConfigurationErrors([missing_initiator_name(contents.path)])
    _refuse_unread(contents)
    return parse_initiator_name(contents.octets, contents.path)


def _refuse_unread(contents: FileContents) -> None:
    if contents.error:
        raise ConfigurationErrors([Diagnostic(contents.path, 0, 0, contents.error)])


def _exposed(contents: FileContents, has_secrets: bool) -> list[Diagnostic]:
    diagnostic = check_permissions(
        contents.mode, contents.owner, has_secrets, contents.path, reader=os.geteuid()
    )
    return [diagnostic] if diagnostic else []


ROOT = 0


def check_permissions(
    mode: int, uid: int, has_secrets: bool, filename: str, *, reader: int = ROOT
) -> Diagnostic | None:
    """Return what is wrong with a file's ``st_mode`` and ``st_uid``, or ``None``.

    ``reader`` is the user id we run as, who may own the file instead of root, so that a draft can
    be checked without root.
    """
    if not has_secrets:
        return None
    readers = [
        log_prefix for log_prefix, bit in (("group", 0o040), ("others", 0o004)) if mode & bit
    ]
    writers = [
        log_prefix for log_prefix, bit in (("group", 0o020), ("others", 0o002)) if mode & bit
    ]
    rights = [
        f"{right} by {' and '.join(log_prefix)}"
        for right, log_prefix in (("readable", readers), ("writable", writers))
        if log_prefix
    ]
    if rights:
        what = f"the file holds passwords and is {', '.join(rights)} (mode {mode & 0o7777:04o})"
        return Diagnostic(filename, 0, 0, what, expected=f"mode 0600: chmod 600 {quote(filename)}")
    if uid not in (ROOT, reader):
        what = f"the file holds passwords and belongs to user id {uid}"
        return Diagnostic(filename, 0, 0, what, expected=f"root: chown root {quote(filename)}")
    return None
