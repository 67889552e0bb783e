"""The ISIDs of our sessions, discovery sessions and test logins.

A target that sees an ISID a second time ends the session that had it (RFC 7143, section 6.3.5). So
no two logins that may run at one time share one, and a session has the same one at every start.
Pure.
"""

from __future__ import annotations

from zlib import crc32

from iscsid.bindings.binding import Binding
from iscsid.protocol.names import IscsiName, Portal, parse_iscsi_name
from iscsid.protocol.parameters import Isid

_RANDOM_FORMAT = 0x80  # T field 10b: the B and C fields are random (RFC 7143, section 11.12.5)
_DISCOVERY = b"discovery "
_CHECK = b"trial "


def session_isid(initiator_name: IscsiName, binding: Binding) -> Isid:
    """Return the ISID of the session with this binding: the same at every start.

    Reinstatement and persistent reservations depend on that. The random field is a checksum of the
    initiator's name, the qualifier is the binding, so that no two of our sessions share an ISID.
    """
    return _isid(_seed(initiator_name), bytes((binding.bus, binding.target)))


def discovery_isid(initiator_name: IscsiName, portal: Portal) -> Isid:
    """Return the ISID for discovery at ``portal``, which differs from every normal session's."""
    qualifier = crc32(str(portal).encode()) & 0xFFFF
    return _isid(_DISCOVERY + _seed(initiator_name), qualifier.to_bytes(2, "big"))


def check_isid(initiator_name: IscsiName, number: int) -> Isid:
    """Return the ISID of the test login (``--check --login``) with this number.

    It differs from that of every session and discovery: a login with the ISID of a session that is
    up would end that session while its disks are in use.
    """
    name = _seed(initiator_name)
    taken = {_random_field(name), _random_field(_DISCOVERY + name)}
    seed = _CHECK + name
    while _random_field(seed) in taken:
        seed = _CHECK + seed
    return _isid(seed, (number & 0xFFFF).to_bytes(2, "big"))


def _seed(initiator_name: IscsiName) -> bytes:
    """Return the folded name: its spelling does not change an ISID."""
    return parse_iscsi_name(initiator_name).encode()


def _isid(seed: bytes, qualifier: bytes) -> Isid:
    return Isid(bytes((_RANDOM_FORMAT,)) + _random_field(seed) + qualifier)


def _random_field(seed: bytes) -> bytes:
    return crc32(seed).to_bytes(4, "big")[:3]
