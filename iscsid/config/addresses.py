"""Values that name a place: iSCSI names, portals, target addresses, networks.

``protocol.names`` reads names and portals; here its errors become ``InvalidValue``, and
networks are added, which iSCSI itself does not know. Pure; resolves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from iscsid.config.diagnostics import quoted
from iscsid.config.values import InvalidValue, Syntax, T, parse_number
from iscsid.errors import InvalidName
from iscsid.protocol.names import (
    IscsiName,
    Portal,
    TargetAddress,
    parse_iscsi_name,
    parse_portal,
    parse_target_address,
    why_unusable,
)

Network = IPv4Network | IPv6Network

_PORT = re.compile(r":[0-9]+$")
_MASK = re.compile(r"[0-9a-fA-F]{8}")


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    def wrapper(text: str) -> T:
        try:
            return parse(text)
        except InvalidName as error:
            raise InvalidValue(error.what) from None

    return wrapper


TARGET_NAME: Syntax[IscsiName] = Syntax("an iSCSI name", _checked(parse_iscsi_name), str)


def _parse_initiator_name(text: str) -> IscsiName:
    _checked(parse_iscsi_name)(text)
    return IscsiName(text)  # as it is written: some targets compare octets


INITIATOR_NAME: Syntax[IscsiName] = Syntax("an iSCSI name", _parse_initiator_name, str)


_TAG = re.compile(r",[0-9]{1,5}$")
"""What iscsiadm prints behind a portal."""


def _parse_portal(text: str) -> Portal:
    if _TAG.search(text):
        portal = str(_checked(parse_portal)(_TAG.sub("", text)))
        why = f"{quoted(text)} has a portal group tag, which only a target has"
        raise InvalidValue(why, suggestion=portal)
    return _usable(text, _checked(parse_portal)(text))


def _usable(text: str, portal: Portal) -> Portal:
    why = why_unusable(portal)
    if why:
        raise InvalidValue(f"nothing can be reached at {quoted(text)}: {why}")
    return portal


PORTAL: Syntax[Portal] = Syntax("host, host:port, or [IPv6-address]:port", _parse_portal, str)


def _parse_target_address(text: str) -> TargetAddress:
    address = _checked(parse_target_address)(text)
    _usable(text, address.portal)
    return address


TARGET_ADDRESS: Syntax[TargetAddress] = Syntax(
    "host, host:port, or [IPv6-address]:port, and ,tag where a portal group is known",
    _parse_target_address,
    str,
)


def parse_network(text: str) -> Network:
    """Return the network of ``address``, ``address/bits`` or ``address&hexmask`` (IPv4).

    Bits of the address behind the mask do not matter.
    """
    separator = "&" if "&" in text else "/"
    host, separated, mask = text.partition(separator)
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidValue(f"{quoted(host)} is no IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise InvalidValue(f"{quoted(host)} names an interface, which a network cannot have")
    if not separated:
        bits = int(address.max_prefixlen)
    elif separator == "&":
        bits = _bits_of_mask(mask, address)
    else:
        bits = parse_number(mask, 0, address.max_prefixlen)
    if isinstance(address, IPv4Address):
        return IPv4Network((int(address), bits), strict=False)
    return IPv6Network((int(address), bits), strict=False)


def _bits_of_mask(mask: str, address: IPv4Address | IPv6Address) -> int:
    if address.version != 4 or not _MASK.fullmatch(mask):
        raise InvalidValue(
            f"{quoted(mask)} is no mask of eight hexadecimal digits for an IPv4 address"
        )
    bits = f"{int(mask, 16):032b}".rstrip("0")
    if "0" in bits:
        raise InvalidValue(f"the mask {quoted(mask)} has a gap")
    return len(bits)


NETWORK: Syntax[Network] = Syntax(
    "address/bits, address&hexmask, or one address", parse_network, str
)


def _parse_host(text: str) -> Network:
    if "," in text or (text.count(":") == 1 and _PORT.search(text)):
        where = "which it has only if it is indented below a TargetName"
        raise InvalidValue(f"{quoted(text)} has a port or a tag, {where}")
    if "/" in text or "&" in text:
        raise InvalidValue(f"{quoted(text)} has a mask, which belongs into Subnet")
    return parse_network(text)


HOST: Syntax[Network] = Syntax(
    "one IP address", _parse_host, lambda network: str(network.network_address)
)


def _parse_preferred_subnet(text: str) -> Network | None:
    return None if text.lower() == "none" else parse_network(text)


def _parse_preferred_portal(text: str) -> str | None:
    if text.lower() == "none":
        return None
    # Without a port there is nothing that brackets would have to keep apart.
    is_bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    portal = _checked(parse_portal)(f"[{text}]" if is_bare_ipv6 else text)
    if not is_bare_ipv6 and _PORT.search(text):
        raise InvalidValue(f"{quoted(text)} has a port", suggestion=portal.host)
    return portal.host


_INTERFACE = re.compile(r"[^\s/:%]{1,15}", re.ASCII)
"""What the kernel takes for the name of an interface (15 characters: IFNAMSIZ)."""


def _parse_interface(text: str) -> str | None:
    if text.lower() == "any":
        return None
    if not _INTERFACE.fullmatch(text) or text in (".", "..") or not text.isascii():
        raise InvalidValue(f"{quoted(text)} is no name of an interface")
    return text


INTERFACE: Syntax[str | None] = Syntax(
    "the name of an interface such as eth1, or any", _parse_interface, lambda name: name or "any"
)


def _parse_source_address(text: str) -> str | None:
    if text.lower() == "any":
        return None
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidValue(f"{quoted(text)} is no IP address") from None
    if address.is_multicast or address.is_unspecified:
        raise InvalidValue(f"{quoted(text)} cannot be an address of this machine")
    return str(address)


SOURCE_ADDRESS: Syntax[str | None] = Syntax(
    "an IP address of this machine, or any",
    _parse_source_address,
    lambda address: address or "any",
)

PREFERRED_SUBNET: Syntax[Network | None] = Syntax(
    f"{NETWORK.expected}, or none",
    _parse_preferred_subnet,
    lambda network: str(network) if network else "none",
)

PREFERRED_PORTAL: Syntax[str | None] = Syntax(
    "one address without a port, or none", _parse_preferred_portal, lambda host: host or "none"
)
