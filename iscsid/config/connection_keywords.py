"""Rows of the keyword table: the timeouts and parameters of a connection. Pure."""

from __future__ import annotations

from iscsid.config import values
from iscsid.config.grammar import Keyword, Scope

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
)
