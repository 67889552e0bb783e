"""Names and addresses as iSCSI writes them.

Everything received is validated here before it can reach a path, a log line, the bindings file or
the kernel. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NewType

from iscsid.errors import InvalidName, ProtocolError
from iscsid.protocol.nameprep import IRREGULAR, prepare
from iscsid.protocol.printable import printable
from iscsid.protocol.text import parse_number

DEFAULT_PORT = 3260
MAX_NAME_LENGTH = 223
"""Octets of an iSCSI name (RFC 7143, section 4.2.7.2)."""

IscsiName = NewType("IscsiName", str)
"""An iSCSI name that has been checked and folded."""


@dataclass(frozen=True, slots=True, order=True)
class Portal:
    """A network portal: a host (IPv4, IPv6 without brackets, or a name) and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """A portal and the tag of the portal group it belongs to, ``None`` if none was given."""

    portal: Portal
    portal_group_tag: int | None = None

    def __str__(self) -> str:
        tag = self.portal_group_tag
        return str(self.portal) if tag is None else f"{self.portal},{tag}"


@dataclass(frozen=True, slots=True)
class DiscoveryRecord:
    """One target as SendTargets reported it."""

    target_name: IscsiName
    addresses: tuple[TargetAddress, ...]
    spelling: str = ""
    """The name as the target writes it, if it differs from its folded form.

    Synology's and other arrays have capital letters in their names and compare octets: a login
    must then send exactly this, while the daemon knows the target by ``target_name``.
    """

    @property
    def name_to_send(self) -> str:
        """The value of the TargetName key of a login."""
        return self.spelling or self.target_name


_NAME_FORMS = {
    "iqn.": re.compile(r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])(\.[^.:]+)+(:.*)?"),
    "eui.": re.compile(r"eui\.[0-9a-f]{16}"),
    "naa.": re.compile(r"naa\.([0-9a-f]{16}|[0-9a-f]{32})"),
}
_NAME_RULES = {
    "iqn.": "iqn. is followed by year-month, a reversed domain name and perhaps a colon and more",
    "eui.": "eui. is followed by 16 hexadecimal digits",
    "naa.": "naa. is followed by 16 or 32 hexadecimal digits",
}


def parse_iscsi_name(text: str) -> IscsiName:
    """Return the folded form of an iSCSI name that another machine has (RFC 3722).

    Length and characters are checked, so that the name is safe in paths, files and log lines. The
    grammar is not: targets in the field have names without a type, without a date, or with a month
    of one digit, and other initiators accept them; see ``why_irregular``. Raises ``InvalidName``,
    whose message is fit for a log line.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH:
        raise _no_name(text, f"it has more than {MAX_NAME_LENGTH} octets")
    try:
        name = prepare(text)
    except ValueError as error:
        raise _no_name(text, str(error)) from None
    if len(name.encode()) > MAX_NAME_LENGTH:
        raise _no_name(text, f"normalised it has more than {MAX_NAME_LENGTH} octets")
    if not any(map(str.isalnum, name)):
        raise _no_name(text, "it has no letter and no digit")
    return IscsiName(name)


def why_irregular(name: IscsiName) -> str:
    """Return how a folded name deviates from RFC 7143, section 4.2.7; empty if it does not."""
    for character in name:
        if character in IRREGULAR:
            return f"names do not have the character {character}"
    form = _NAME_FORMS.get(name[:4])
    if form is None:
        return "it begins with none of iqn., eui. and naa."
    return "" if form.fullmatch(name) else _NAME_RULES[name[:4]]


def parse_new_name(text: str) -> IscsiName:
    """Return the folded form of a name that is made here, which must be regular.

    Raises ``InvalidName``.
    """
    name = parse_iscsi_name(text)
    why = why_irregular(name)
    if why:
        raise _no_name(text, why)
    return name


def _no_name(text: str, why: str) -> InvalidName:
    return InvalidName(f"'{printable(text)}' is no iSCSI name: {why}")


_PORTAL = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*))(?::(?P<port>[^:]*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$){_LABEL}\.?")
"""The last label is no number: a resolver would take 10.1 for an address."""


def parse_portal(text: str, default_port: int = DEFAULT_PORT) -> Portal:
    """Return the portal that ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port`` names.

    Addresses come out in their canonical form, host names in lower case; nothing is resolved.
    Raises ``InvalidName``.
    """
    parts = _PORTAL.fullmatch(text)
    if parts is None:
        why = "an IPv6 address stands in brackets" if text.count(":") > 1 else "it is malformed"
        raise _no_portal(text, why)
    host = (
        _parse_host(text, parts["plain"])
        if parts["bracketed"] is None
        else _parse_ipv6(text, parts["bracketed"])
    )
    return Portal(host, default_port if parts["port"] is None else _parse_port(text, parts["port"]))


def _parse_port(text: str, port: str) -> int:
    if not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise _no_portal(text, "a port is a number from 1 to 65535")
    return int(port)


def _parse_ipv6(text: str, host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise _no_portal(text, "there is no IPv6 address in the brackets") from None
    if address.scope_id is not None and not _SCOPE.fullmatch(address.scope_id):
        raise _no_portal(text, "what follows the % is no interface")
    # One way to write it: the IPv4 address that connecting to it reaches.
    return str(address.ipv4_mapped or address)


def _parse_host(text: str, host: str) -> str:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        pass
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise _no_portal(text, "the host is neither an address nor a name")
    return host.lower().rstrip(".")


def _no_portal(text: str, why: str) -> InvalidName:
    return InvalidName(f"'{printable(text)}' is no portal: {why}")


def parse_target_address(text: str) -> TargetAddress:
    """Parse a TargetAddress: a portal, and a portal group tag if one is given.

    A redirection's may not have a tag, but targets send it. Raises ``InvalidName``.
    """
    portal, comma, tag = text.partition(",")
    if not comma:
        return TargetAddress(parse_portal(portal))
    try:
        number = parse_number(tag)
    except ProtocolError:
        number = -1
    if not 0 <= number <= 0xFFFF:
        raise InvalidName(f"'{printable(text)}' has no portal group tag after the comma")
    return TargetAddress(parse_portal(portal), number)


def is_numeric(portal: Portal) -> bool:
    """Whether the host is an address, and no name."""
    try:
        ipaddress.ip_address(portal.host)
    except ValueError:
        return False
    return True


def why_unusable(portal: Portal) -> str | None:
    """Return why nothing can be reached at a portal; ``None`` if something might be.

    A target may announce any address it has; whether it answers is another matter.
    """
    if not 1 <= portal.port <= 0xFFFF:
        return f"{portal.port} is no port"
    try:
        address = ipaddress.ip_address(portal.host)
    except ValueError:
        return None
    if address.is_unspecified or address in _THIS_NETWORK:
        return "the address is unspecified"
    if address.is_multicast:
        return "the address is a multicast group"
    if address == _BROADCAST:
        return "the address is the broadcast address"
    if address.version == 4 and address.is_reserved:
        return "the address is reserved"
    if lacks_scope(portal):
        return "the address is link-local and names no interface"
    return None


def lacks_scope(portal: Portal) -> bool:
    """Whether the host is a link-local IPv6 address without the interface it needs."""
    try:
        address = ipaddress.IPv6Address(portal.host)
    except ValueError:
        return False
    return address.is_link_local and address.scope_id is None


_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
