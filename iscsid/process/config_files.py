"""The administrator's two files, read as they are now.

May read /etc/iscsi.conf and /etc/initiatorname.iscsi (or those that the options name) and look at
their modes; what they mean is the business of ``config``. Writes nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from shlex import quote

from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic
from iscsid.config.initiatorname import (
    InitiatorIdentity,
    missing_initiator_name,
    parse_initiator_name,
)
from iscsid.facts import ConfigurationRead, ConfigurationRefused
from iscsid.protocol.names import Portal

LONGEST = 16 << 20
"""Bytes; a file beyond that was not written by a person."""


@dataclass(frozen=True, slots=True)
class ConfigurationFiles:
    """Where the files are."""

    config: str
    initiatorname: str
    address: Portal | None = None
    """A DiscoveryAddress that the configuration gets in any case; the file may be missing then."""

    def read(self) -> tuple[ConfigurationRead | ConfigurationRefused]:
        """Read both files, and return either what they contain or all that is wrong in them."""
        diagnostics: list[str] = []
        configuration = identity = None
        try:
            configuration = read_configuration(self.config, self.address)
        except ConfigurationErrors as error:
            diagnostics += error.lines
        try:
            identity = read_identity(self.initiatorname)
        except ConfigurationErrors as error:
            diagnostics += error.lines
        if configuration is None or identity is None:
            return (ConfigurationRefused(tuple(diagnostics)),)
        remarks = tuple(map(str, identity.notes))
        return (ConfigurationRead(configuration, identity.name, identity.alias, remarks),)


def read_configuration(filename: str, address: Portal | None = None) -> Configuration:
    """Return the parsed file; raises ``ConfigurationErrors``, also for its permissions.

    If it does not name the DiscoveryAddress ``address``, this is added, with the settings that are
    in force at the end of the file.
    """
    if address is not None and not os.path.lexists(filename):
        return parse_configuration(f"DiscoveryAddress={address}", filename)
    text, status = _read(filename)
    configuration = _parse(text, status, filename)
    if address in (None, *(discovery.portal for discovery in configuration.discoveries)):
        return configuration
    return _parse(text + f"\nDiscoveryAddress={address}\n".encode(), status, filename)


def _parse(text: bytes, status: os.stat_result, filename: str) -> Configuration:
    try:
        configuration = parse_configuration(text, filename)
    except ConfigurationErrors as error:
        exposed = _exposed(status, error.has_secrets, filename)
        raise ConfigurationErrors(
            [*error.diagnostics, *exposed], has_secrets=error.has_secrets
        ) from None
    exposed = _exposed(status, configuration.has_secrets, filename)
    if exposed:
        raise ConfigurationErrors(exposed, has_secrets=True)
    return configuration


def read_identity(filename: str) -> InitiatorIdentity:
    """Return the initiator's name; raises ``ConfigurationErrors``, with the command that helps."""
    if not os.path.exists(filename):
        raise ConfigurationErrors([missing_initiator_name(filename)])
    return parse_initiator_name(_read(filename)[0], filename)


def _read(filename: str) -> tuple[bytes, os.stat_result]:
    """Return the octets of a regular file, and the status of that very file."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(filename, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationErrors([Diagnostic(filename, 0, 0, "this is no regular file")])
            text = file.read(LONGEST + 1)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise ConfigurationErrors([Diagnostic(filename, 0, 0, what)]) from None
    if len(text) > LONGEST:
        what = f"the file is longer than {LONGEST >> 20} MiB"
        raise ConfigurationErrors([Diagnostic(filename, 0, 0, what)])
    return text, status


def _exposed(status: os.stat_result, has_secrets: bool, filename: str) -> list[Diagnostic]:
    diagnostic = check_permissions(
        status.st_mode, status.st_uid, has_secrets, filename, reader=os.geteuid()
    )
    return [diagnostic] if diagnostic else []


ROOT = 0


def check_permissions(
    mode: int, uid: int, has_secrets: bool, filename: str, *, reader: int = ROOT
) -> Diagnostic | None:
    """Return what is wrong with a file's ``st_mode`` and ``st_uid``, or ``None``.

    ``reader`` is the user id we run as, who may own the file instead of root: to check a draft
    nobody need be root.
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
