"""How a session in the kernel tells whose it is.

The kernel keeps one free text per session, the interface name, for as long as the session lives.
Ours holds the binding, the ISID, with Multipath the path, and the DiscoveryAddress the target was
found at, so that a daemon that starts again can adopt its sessions from the kernel alone, whatever
has become of the bindings file. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

from iscsid.bindings.binding import Binding
from iscsid.errors import InvalidName
from iscsid.protocol.names import IscsiName, Portal, parse_portal
from iscsid.protocol.parameters import Isid

_FORM = re.compile(
    r"iscsid(-leaving)?:(\d{1,3}):(\d{1,3}):([0-9a-f]{12})(?:/([!\"$-?A-~][!-?A-~]{0,299}))?(?:@(\S+))?",
    re.ASCII,
)
_RANDOM_FORMAT = 0x80  # T field 10b: the B and C fields are random (RFC 7143, section 11.12.5)
_DISCOVERY = b"discovery "
_TRIAL = b"trial "


@dataclass(frozen=True, slots=True)
class SessionTag:
    """What our sessions carry in the kernel. ``found_at`` is ``None`` for static targets."""

    binding: Binding
    isid: Isid
    found_at: Portal | None
    path: str = ""
    """Which path of its target it is, as the bindings file has it; empty for the only one."""
    is_logging_out: bool = False
    """Whether a Logout Request was sent. The kernel lets no command through any more and pings no
    more, and yet shows the session as logged in; only a new connection ends that."""

    def __str__(self) -> str:
        path = f"/{self.path}" if self.path else ""
        found_at = f"@{self.found_at}" if self.found_at else ""
        number = f"{self.binding.bus}:{self.binding.target}"
        ours = "iscsid-leaving" if self.is_logging_out else "iscsid"
        return f"{ours}:{number}:{self.isid.hex()}{path}{found_at}"


def parse_session_tag(text: str) -> SessionTag | None:
    """Return what ``text`` says, or ``None`` where the session is not ours."""
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


def session_isid(initiator_name: IscsiName, binding: Binding) -> Isid:
    """Return the ISID of the session with this binding: the same at every start.

    Reinstatement and persistent reservations depend on that. The initiator's name fills the random
    field, the binding the qualifier, so no two sessions of ours share an ISID.
    """
    return _isid(initiator_name.encode(), bytes((binding.bus, binding.target)))


def discovery_isid(initiator_name: IscsiName, portal: Portal) -> Isid:
    """Return the ISID for discovery at ``portal``, apart from every normal session's."""
    qualifier = crc32(str(portal).encode()) & 0xFFFF
    return _isid(_DISCOVERY + initiator_name.encode(), qualifier.to_bytes(2, "big"))


def check_isid(initiator_name: IscsiName, number: int) -> Isid:
    """Return the ISID of the trial login with this number: nobody else's, whatever the name.

    With that of a session that is up, the login would reinstate it, which ends it under whoever
    uses its disks (RFC 7143, section 6.3.5).
    """
    name = initiator_name.encode()
    taken = {_random_field(name), _random_field(_DISCOVERY + name)}
    seed = _TRIAL + name
    while _random_field(seed) in taken:
        seed = _TRIAL + seed
    return _isid(seed, (number & 0xFFFF).to_bytes(2, "big"))


def _isid(seed: bytes, qualifier: bytes) -> Isid:
    return Isid(bytes((_RANDOM_FORMAT,)) + _random_field(seed) + qualifier)


def _random_field(seed: bytes) -> bytes:
    return crc32(seed).to_bytes(4, "big")[:3]
