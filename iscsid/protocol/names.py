"""Names and addresses as iSCSI writes them.

Everything received is validated here before it can reach a path, a log line, the bindings file or
the kernel. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

DEFAULT_PORT = 3260

IscsiName = NewType("IscsiName", str)
"""An iSCSI name that has been checked and normalised."""


@dataclass(frozen=True, slots=True, order=True)
class Portal:
    """A network portal: a host (IPv4, IPv6 without brackets, or a name) and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """A portal and the tag of the portal group it belongs to, ``None`` where none was given."""

    portal: Portal
    portal_group_tag: int | None = None


@dataclass(frozen=True, slots=True)
class DiscoveryRecord:
    """One target as SendTargets reported it."""

    target_name: IscsiName
    addresses: tuple[TargetAddress, ...]
