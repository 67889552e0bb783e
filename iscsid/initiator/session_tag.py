"""The session tag: the text by which a session in the kernel is recognised as ours.

The kernel keeps one free text for each session, the interface name, for as long as the session
exists. A session tag holds the binding, the ISID, with Multipath the path, and the DiscoveryAddress
that reported the target. So a daemon that starts again can adopt its sessions from the kernel
alone, even if the bindings file is lost.

The form has a version. What begins with ``iscsid:`` or ``iscsid-leaving:`` is version 1, which all
daemons write and read. A later form must begin with ``iscsid`` and any other character than a
letter or digit; this one then leaves the session alone. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import LONGEST_PATH
from iscsid.errors import InvalidName
from iscsid.protocol.names import Portal, parse_portal
from iscsid.protocol.parameters import Isid

_FORM = re.compile(
    r"iscsid(-leaving)?:(\d{1,3}):(\d{1,3}):([0-9a-f]{12})"
    rf"(?:/([!\"$-?A-~][!-?A-~]{{0,{LONGEST_PATH - 1}}}))?(?:@(\S+))?",
    re.ASCII,
)
_ANY_VERSION = re.compile(r"iscsid(?![A-Za-z0-9_])")


@dataclass(frozen=True, slots=True)
class SessionTag:
    """What a session tag holds. ``found_at`` is ``None`` for targets that the file names."""

    binding: Binding
    isid: Isid
    found_at: Portal | None
    path: str = ""
    """Which path of its target it is, as the bindings file has it; empty for the only one."""
    is_logging_out: bool = False
    """Whether a Logout Request was sent. The kernel then sends no further command and no ping, yet
    shows the session as logged in; only a new connection ends that."""

    def __str__(self) -> str:
        path = f"/{self.path}" if self.path else ""
        found_at = f"@{self.found_at}" if self.found_at else ""
        number = f"{self.binding.bus}:{self.binding.target}"
        ours = "iscsid-leaving" if self.is_logging_out else "iscsid"
        return f"{ours}:{number}:{self.isid.hex()}{path}{found_at}"


def parse_session_tag(text: str) -> SessionTag | None:
    """Return what ``text`` holds, or ``None`` if it is no session tag."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    leaving, bus, target, isid, path, found_at = match.groups()
    try:
        return SessionTag(
            Binding(int(bus), int(target)),
            Isid(bytes.fromhex(isid)),
            parse_portal(found_at) if found_at else None,
            path or "",
            bool(leaving),
        )
    except (ValueError, InvalidName):
        return None


def is_of_later_version(text: str) -> bool:
    """Whether a daemon that knows another form of session tag has written ``text``."""
    return _ANY_VERSION.match(text) is not None and parse_session_tag(text) is None
