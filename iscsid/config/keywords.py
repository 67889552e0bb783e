"""The table of keywords: one row for each keyword of /etc/iscsi.conf.

The parser reads by it, ``--show-config`` prints by it, and tests compare the manual page, the
example file and the defaults of ``settings`` with it. A new keyword needs a row here, a field in
``settings``, a paragraph in ``man/iscsi.conf.5`` and a line in ``etc/iscsi.conf.example``. Pure.
"""

from __future__ import annotations

from iscsid.config import addresses, values
from iscsid.config.grammar import EntryKind, Keyword, Scope, Setting, Settings

_G, _D, _T, _S = Scope.GLOBAL, Scope.DISCOVERY, Scope.TARGET, Scope.SUBNET

LONGEST_TIME = 2_147_483
"""Seconds, 24 days: as milliseconds it is the largest number that fits the kernel's ``int``."""

TIME = values.time(0, LONGEST_TIME)
_TIME_ABOVE_ZERO = values.time(1, LONGEST_TIME)
_LENGTH = values.size(512, 2**24 - 1)

TIMEOUTS = (
    Keyword(
        name="LoginTimeout",
        syntax=TIME,
        field="timeouts.login",
        default="15s",
        scope=_G | _D | _T | _S,
        summary="For connecting, and for each answer during login; 0: no limit.",
    ),
    Keyword(
        name="AuthTimeout",
        syntax=TIME,
        field="timeouts.auth",
        default="45s",
        scope=_G | _D | _T | _S,
        summary="For the whole of authentication; 0: no limit.",
    ),
    Keyword(
        name="ActiveTimeout",
        syntax=TIME,
        field="timeouts.active",
        default="5s",
        scope=_G | _D | _T | _S,
        summary="Silence with tasks outstanding before a ping is sent; 0: no ping.",
    ),
    Keyword(
        name="IdleTimeout",
        syntax=TIME,
        field="timeouts.idle",
        default="60s",
        scope=_G | _D | _T | _S,
        summary="Silence without tasks before a ping is sent; 0: no ping.",
    ),
    Keyword(
        name="PingTimeout",
        syntax=TIME,
        field="timeouts.ping",
        default="5s",
        scope=_G | _D | _T | _S,
        summary="For the answer to a ping, before the connection is given up; 0: no pings.",
    ),
    Keyword(
        name="ConnFailTimeout",
        syntax=TIME,
        field="conn_fail_timeout",
        default="0",
        scope=_G | _T,
        summary="How long I/O waits for a session that is down; 0: for ever.",
    ),
    Keyword(
        name="AbortTimeout",
        syntax=_TIME_ABOVE_ZERO,
        field="abort_timeout",
        default="10s",
        scope=_G | _T | _S,
        summary="For the abort of a task.",
    ),
    Keyword(
        name="ResetTimeout",
        syntax=_TIME_ABOVE_ZERO,
        field="reset_timeout",
        default="30s",
        scope=_G | _T | _S,
        summary="For the reset of a LUN or a target.",
    ),
    Keyword(
        name="DiskCommandTimeout",
        syntax=TIME,
        field="disk_command_timeout",
        default="0",
        scope=_G | _T,
        summary="For one SCSI command of a disk; 0: the kernel's own limit.",
    ),
)

PARAMETERS = (
    Keyword(
        name="HeaderDigest",
        syntax=values.DIGEST,
        field="header_digest",
        default="prefer-off",
        scope=_G | _T,
        summary="A CRC32C checksum over the header of each PDU.",
    ),
    Keyword(
        name="DataDigest",
        syntax=values.DIGEST,
        field="data_digest",
        default="prefer-off",
        scope=_G | _T,
        summary="A CRC32C checksum over the data of each PDU.",
    ),
    Keyword(
        name="InitialR2T",
        syntax=values.BOOLEAN,
        field="initial_r2t",
        default="no",
        scope=_G | _T,
        summary="Wait for the target's R2T before any data is written.",
    ),
    Keyword(
        name="ImmediateData",
        syntax=values.BOOLEAN,
        field="immediate_data",
        default="yes",
        scope=_G | _T,
        summary="Send the first data of a write together with its command.",
    ),
    Keyword(
        name="MaxRecvDataSegmentLength",
        syntax=_LENGTH,
        field="max_recv_data_segment_length",
        default="131072",
        scope=_G | _T,
        summary="The longest data segment the target may send in one PDU.",
    ),
    Keyword(
        name="FirstBurstLength",
        syntax=_LENGTH,
        field="first_burst_length",
        default="262144",
        scope=_G | _T,
        summary="How much of a write may be sent before the target asks for more.",
    ),
    Keyword(
        name="MaxBurstLength",
        syntax=_LENGTH,
        field="max_burst_length",
        default="16776192",
        scope=_G | _T,
        summary="How much data one sequence of PDUs may carry.",
    ),
    Keyword(
        name="TCPWindowSize",
        syntax=values.size(0, 2**30),
        field="tcp_window_size",
        default="262144",
        scope=_G | _T | _S,
        summary="The connection's socket buffers; 0: as the kernel sees fit.",
    ),
    Keyword(
        name="Interface",
        syntax=addresses.INTERFACE,
        field="socket_options.interface",
        default="any",
        scope=_G | _D | _T | _S,
        extension=_G | _D | _T | _S,
        summary="The network interface that connections go out through.",
    ),
    Keyword(
        name="SourceAddress",
        syntax=addresses.SOURCE_ADDRESS,
        field="socket_options.source_address",
        default="any",
        scope=_G | _D | _T | _S,
        extension=_G | _D | _T | _S,
        summary="The address of this machine that connections come from.",
    ),
    Keyword(
        name="DSCP",
        syntax=values.DSCP,
        field="socket_options.dscp",
        default="0",
        scope=_G | _D | _T | _S,
        extension=_G | _D | _T | _S,
        summary="The class of service that the connections' packets are marked with.",
    ),
    Keyword(
        name="CommandsMax",
        syntax=values.COMMANDS_MAX,
        field="commands_max",
        default="128",
        scope=_G | _T,
        extension=_G | _T,
        summary="The most commands of a session that may be outstanding.",
    ),
    Keyword(
        name="QueueDepth",
        syntax=values.number(1, 1024, "a number of commands"),
        field="queue_depth",
        default="32",
        scope=_G | _T,
        extension=_G | _T,
        summary="The most commands for one LUN that may be outstanding.",
    ),
)


_OPENERS = (
    Keyword(
        name="DiscoveryAddress",
        aliases=("TargetIpAddr",),
        syntax=addresses.PORTAL,
        scope=_G,
        opens=EntryKind.DISCOVERY,
        summary="Ask this portal for its targets (SendTargets).",
    ),
    Keyword(
        name="TargetName",
        syntax=addresses.TARGET_NAME,
        scope=_G,
        opens=EntryKind.TARGET,
        summary="Settings for one target.",
    ),
    Keyword(
        name="Subnet",
        syntax=addresses.NETWORK,
        scope=_G,
        opens=EntryKind.SUBNET,
        summary="Settings for the portals within one network.",
    ),
    Keyword(
        name="Address",
        syntax=addresses.HOST,
        scope=_G | _T,
        opens=EntryKind.SUBNET,
        extension=_T,
        summary="Settings for one portal's address; below TargetName, where the target is.",
    ),
)

_AUTHENTICATION = (
    Keyword(
        name="InitiatorName",
        syntax=addresses.INITIATOR_NAME,
        field="initiator_name",
        scope=_D | _T,
        extension=_D | _T,
        unset="this machine's",
        for_all="the name of this machine is in /etc/initiatorname.iscsi",
        summary="The name of this machine for one array or target, if it is another one.",
    ),
    Keyword(
        name="OutgoingUsername",
        aliases=("Username", "UsernameOut"),
        syntax=values.USER_NAME,
        field="outgoing_username",
        scope=_G | _D | _T,
        extension=_T,
        summary="The CHAP name that the initiator sends.",
    ),
    Keyword(
        name="OutgoingPassword",
        aliases=("Password", "PasswordOut"),
        syntax=values.SECRET,
        field="outgoing_password",
        scope=_G | _D | _T,
        extension=_T,
        summary="The CHAP secret with which the initiator proves itself.",
    ),
    Keyword(
        name="IncomingUsername",
        aliases=("UsernameIn",),
        syntax=values.USER_NAME,
        field="incoming_username",
        scope=_G | _D | _T,
        extension=_T,
        summary="The CHAP name that the target must send.",
    ),
    Keyword(
        name="IncomingPassword",
        aliases=("PasswordIn",),
        syntax=values.SECRET,
        field="incoming_password",
        scope=_G | _D | _T,
        extension=_T,
        summary="The CHAP secret with which the target must prove itself.",
    ),
    Keyword(
        name="DiscoveryCHAP",
        syntax=values.BOOLEAN,
        field="discovery_chap",
        default="yes",
        scope=_G | _D,
        extension=_G | _D,
        summary="Whether discovery uses CHAP too; no: credentials are for sessions only.",
    ),
    Keyword(
        name="DiscoveryUsername",
        syntax=values.USER_NAME,
        field="discovery_username",
        scope=_G | _D,
        extension=_G | _D,
        summary="The CHAP name that the initiator sends in discovery, if it is another one.",
    ),
    Keyword(
        name="DiscoveryPassword",
        syntax=values.SECRET,
        field="discovery_password",
        scope=_G | _D,
        extension=_G | _D,
        summary="The CHAP secret that belongs to DiscoveryUsername.",
    ),
    Keyword(
        name="DiscoveryIncomingUsername",
        syntax=values.USER_NAME,
        field="discovery_incoming_username",
        scope=_G | _D,
        extension=_G | _D,
        summary="The CHAP name that the target must send in discovery.",
    ),
    Keyword(
        name="DiscoveryIncomingPassword",
        syntax=values.SECRET,
        field="discovery_incoming_password",
        scope=_G | _D,
        extension=_G | _D,
        summary="The CHAP secret with which the target must prove itself in discovery.",
    ),
    Keyword(
        name="CHAPAlgorithms",
        syntax=values.ALGORITHMS,
        field="chap_algorithms",
        default="MD5",
        scope=_G | _D | _T,
        extension=_G | _D | _T,
        summary="The digest algorithms offered for CHAP, the preferred one first.",
    ),
)

_DISCOVERY = (
    Keyword(
        name="Continuous",
        syntax=values.BOOLEAN,
        field="continuous",
        default="yes",
        scope=_G | _D,
        summary="Keep the discovery session, so that the target can report changes.",
    ),
    Keyword(
        name="SendAsyncText",
        syntax=values.BOOLEAN,
        field="send_async_text",
        default="yes",
        scope=_G | _D,
        summary="Ask a Cisco target to report changes by asynchronous text.",
    ),
    Keyword(
        name="PollInterval",
        syntax=TIME,
        field="poll_interval",
        default="0",
        scope=_G | _D,
        extension=_G | _D,
        summary="Ask for the targets again this often; 0: only once, and at SIGHUP.",
    ),
    Keyword(
        name="NetworkEntity",
        syntax=values.WORD,
        field="network_entity",
        default="none",
        scope=_D,
        extension=_D,
        for_all="without it, all addresses may be of one array",
        summary="Addresses with the same word belong together, with others they do not.",
    ),
)

_TARGETS = (
    Keyword(
        name="Enabled",
        syntax=values.BOOLEAN,
        field="enabled",
        default="yes",
        scope=_G | _D | _T | _S,
        # Enabled=no as a global with Enabled=yes below some targets picks those out of what
        # discovery finds: so it must not switch discovery itself off.
        not_inherited=_D,
        extension=_D,
        summary="Whether there shall be sessions at all.",
    ),
    Keyword(
        name="LUNs",
        syntax=values.LUNS,
        field="luns",
        default="all",
        scope=_G | _T,
        summary="The LUNs that may appear as devices.",
    ),
    Keyword(
        name="Multipath",
        syntax=values.MULTIPATH,
        field="multipath",
        default="no",
        scope=_G | _T,
        summary="One session per target, per portal, or per portal group.",
    ),
    Keyword(
        name="Sessions",
        syntax=values.number(1, 32, "a number of sessions"),
        field="sessions",
        default="1",
        scope=_G | _T | _S,
        extension=_G | _T | _S,
        summary="So many sessions in place of each one of Multipath.",
    ),
    Keyword(
        name="PortalFailover",
        syntax=values.BOOLEAN,
        field="portal_failover",
        default="yes",
        scope=_G | _T,
        summary="Try the target's other portals when a login fails.",
    ),
    Keyword(
        name="PreferredPortal",
        syntax=addresses.PREFERRED_PORTAL,
        field="preferred_portal",
        default="none",
        scope=_G | _T,
        summary="The portal that is tried before all others.",
    ),
    Keyword(
        name="PreferredSubnet",
        syntax=addresses.PREFERRED_SUBNET,
        field="preferred_subnet",
        default="none",
        scope=_G | _T,
        summary="Portals within this network are tried next.",
    ),
    Keyword(
        name="LoginRetries",
        syntax=values.number(0, 1_000_000, "a number of attempts"),
        field="login_retries",
        default="0",
        scope=_G | _T,
        extension=_G | _T,
        summary="Give up after this many failed rounds of logins, until SIGHUP; 0: never.",
    ),
    Keyword(
        name="LoginRetryInterval",
        syntax=TIME,
        field="login_retry_interval",
        default="0",
        scope=_G | _T,
        extension=_G | _T,
        summary="The longest pause between two rounds of logins; 0: the daemon's own.",
    ),
)

KEYWORDS = (*_OPENERS, *_AUTHENTICATION, *_DISCOVERY, *_TARGETS, *TIMEOUTS, *PARAMETERS)
"""The whole language, in the order of the manual page."""

BY_NAME = {name.lower(): row for row in KEYWORDS for name in row.names}
BY_FIELD = {row.field: row for row in KEYWORDS if row.field}
ALL_NAMES = tuple(name for row in KEYWORDS for name in row.names)

SECRET_NAMES = tuple(name for row in KEYWORDS if row.syntax.is_secret for name in row.names)

DEFAULTS: Settings = {
    row.field: Setting(row.syntax.parse(row.default) if row.default else None)
    for row in BY_FIELD.values()
}
"""Every field there is, with its default; ``None`` if there is none."""
