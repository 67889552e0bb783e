"""Settings as the rest of the daemon uses them: typed, in range, in seconds and bytes.

Pure values; ``config.resolve`` makes them from a parsed file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from iscsid.protocol.names import IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import Authentication


class DigestPolicy(Enum):
    """A value of HeaderDigest and DataDigest in the file."""

    ALWAYS = "always"
    NEVER = "never"
    PREFER_ON = "prefer-on"
    PREFER_OFF = "prefer-off"


class MultipathPolicy(Enum):
    """How many sessions a target with several portals gets."""

    NO = "no"
    """One session, which uses the portals in turn."""
    PORTAL = "portal"
    """One session per portal."""
    PORTAL_GROUP = "portalgroup"
    """One session per portal group, which uses the group's portals in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits on one connection, in seconds; 0 switches the limit off."""

    login: int = 15
    """For connecting and for each answer of the login phase."""
    auth: int = 45
    """For the whole of authentication."""
    active: int = 5
    """Silence with tasks outstanding before a ping is sent."""
    idle: int = 60
    """Silence without tasks before a ping is sent."""
    ping: int = 5
    """For the answer to a ping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """Options of the connection that are set before it is made."""

    interface: str | None = None
    """The network interface to use; ``None``: by the routes."""
    source_address: str | None = None
    """The local address to use; ``None``: by the routes."""
    dscp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """One DiscoveryAddress and what holds for its discovery session."""

    portal: Portal
    initiator_name: IscsiName | None = None
    """The name of this machine there, as it is written; ``None``: that of the machine's file."""
    authentication: Authentication = field(default_factory=Authentication)
    timeouts: Timeouts = field(default_factory=Timeouts)
    socket_options: SocketOptions = field(default_factory=SocketOptions)
    continuous: bool = True
    send_async_text: bool = True
    poll_interval: int = 0
    """Seconds between two SendTargets on the timer; 0 asks once (and at SIGHUP)."""
    enabled: bool = True
    network_entity: str = ""
    """What answers here: addresses with the same one may report one another's targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What holds for a session with one target through one portal."""

    enabled: bool = True
    initiator_name: IscsiName | None = None
    """The name of this machine for the target; ``None``: that of the machine's file."""
    authentication: Authentication = field(default_factory=Authentication)
    timeouts: Timeouts = field(default_factory=Timeouts)
    socket_options: SocketOptions = field(default_factory=SocketOptions)
    conn_fail_timeout: int = 0
    """Seconds a session may be down before its I/O fails; 0 waits for ever."""
    login_retries: int = 0
    """Failed rounds through the target's portals in a row, after which no login is tried until
    SIGHUP; 0 has no end."""
    login_retry_interval: int = 0
    """The longest pause in seconds between two rounds; 0 leaves the daemon's own pauses."""
    abort_timeout: int = 10
    reset_timeout: int = 30
    disk_command_timeout: int = 0
    """Seconds for one SCSI command of a disk; 0 leaves the kernel's own timer."""
    header_digest: DigestPolicy = DigestPolicy.PREFER_OFF
    data_digest: DigestPolicy = DigestPolicy.PREFER_OFF
    initial_r2t: bool = False
    immediate_data: bool = True
    max_recv_data_segment_length: int = 131072
    first_burst_length: int = 262144
    max_burst_length: int = 16776192
    tcp_window_size: int = 262144
    """Bytes of socket buffer, each way; 0 leaves the kernel's own choice."""
    commands_max: int = 128
    queue_depth: int = 32
    luns: frozenset[int] | None = None
    """The LUNs that may appear; ``None`` means all."""
    portal_failover: bool = True
    preferred_portal: str | None = None
    """An address (as text, normalised) that is tried before all others."""
    preferred_subnet: IPv4Network | IPv6Network | None = None
    """Portals within it are tried next."""
    multipath: MultipathPolicy = MultipathPolicy.NO
    sessions: int = 1
    """How many sessions there are in place of each one of ``multipath``."""


@dataclass(frozen=True, slots=True)
class StaticTarget:
    """A target that the file names together with its addresses: no discovery is needed."""

    target_name: IscsiName
    addresses: tuple[TargetAddress, ...]
    spelling: str = ""
    """The name as the file writes it, if it differs from its folded form."""

    @property
    def name_to_send(self) -> str:
        """The value of the TargetName key of a login: some targets compare octets."""
        return self.spelling or self.target_name
