"""The kernel's parameters of a session, made of what was negotiated and configured.

Pure. The kernel takes each parameter as a number and a text, and silently ignores a value it cannot
parse; so every text is made here and nowhere else. Left out on purpose: the CHAP
credentials (22 to 25), which the kernel never uses and would show in sysfs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from iscsid.errors import IscsidError
from iscsid.orders import KernelTimeouts, SessionDescription
from iscsid.protocol.names import MAX_NAME_LENGTH
from iscsid.protocol.parameters import AgreedParameters, Digest

MAX_TEXT = 255
"""Octets of any other text: what the kernel has room for when it reads them."""
MAX_SESSION_TAG = 1023
"""Octets of the interface name, which the kernel never reads itself: two host names fit, and the
page in which /sys shows it holds it four times."""


class Parameter(IntEnum):
    """The parameters we set, by the kernel's names (ISCSI_PARAM_...)."""

    MAX_RECV_DLENGTH = 0
    MAX_XMIT_DLENGTH = 1
    HDRDGST_EN = 2
    DATADGST_EN = 3
    INITIAL_R2T_EN = 4
    MAX_R2T = 5
    IMM_DATA_EN = 6
    FIRST_BURST = 7
    MAX_BURST = 8
    PDU_INORDER_EN = 9
    DATASEQ_INORDER_EN = 10
    ERL = 11
    EXP_STATSN = 14
    TARGET_NAME = 15
    TPGT = 16
    PERSISTENT_ADDRESS = 17
    PERSISTENT_PORT = 18
    SESS_RECOVERY_TMO = 19
    ABORT_TMO = 27
    LU_RESET_TMO = 28
    PING_TMO = 30
    RECV_TMO = 31
    IFACE_NAME = 32
    INITIATOR_NAME = 34
    TGT_RESET_TMO = 35


@dataclass(frozen=True, slots=True)
class KernelParameter:
    """One parameter and its value as the kernel reads it."""

    parameter: Parameter
    text: str


# The digests come first: whatever the target sends between BIND and them is misread.
_AGREED: tuple[tuple[Parameter, Callable[[AgreedParameters], int]], ...] = (
    (Parameter.HDRDGST_EN, lambda agreed: agreed.header_digest is Digest.CRC32C),
    (Parameter.DATADGST_EN, lambda agreed: agreed.data_digest is Digest.CRC32C),
    (Parameter.MAX_RECV_DLENGTH, lambda agreed: agreed.max_recv_data_segment_length),
    (Parameter.MAX_XMIT_DLENGTH, lambda agreed: agreed.target_max_recv_data_segment_length),
    (Parameter.INITIAL_R2T_EN, lambda agreed: agreed.initial_r2t),
    (Parameter.MAX_R2T, lambda agreed: _power_of_two(agreed.max_outstanding_r2t)),
    (Parameter.IMM_DATA_EN, lambda agreed: agreed.immediate_data),
    (Parameter.FIRST_BURST, lambda agreed: agreed.first_burst_length),
    (Parameter.MAX_BURST, lambda agreed: agreed.max_burst_length),
    (Parameter.PDU_INORDER_EN, lambda agreed: agreed.data_pdu_in_order),
    (Parameter.DATASEQ_INORDER_EN, lambda agreed: agreed.data_sequence_in_order),
    (Parameter.ERL, lambda agreed: agreed.error_recovery_level),
)

_TIMEOUTS: tuple[tuple[Parameter, Callable[[KernelTimeouts], int]], ...] = (
    (Parameter.SESS_RECOVERY_TMO, lambda timeouts: max(timeouts.recovery, -1)),
    (Parameter.ABORT_TMO, lambda timeouts: timeouts.abort),
    (Parameter.LU_RESET_TMO, lambda timeouts: timeouts.lun_reset),
    (Parameter.TGT_RESET_TMO, lambda timeouts: timeouts.target_reset),
    (Parameter.PING_TMO, lambda timeouts: timeouts.ping_timeout),
    (Parameter.RECV_TMO, lambda timeouts: timeouts.ping_interval),
)


def session_settings(description: SessionDescription) -> tuple[KernelParameter, ...]:
    """Return all parameters to set between the bind of a connection and its start.

    Raises ``IscsidError`` for a text that the kernel must not be given.
    """
    return (
        *(
            KernelParameter(number, str(int(value(description.parameters))))
            for number, value in _AGREED
        ),
        KernelParameter(Parameter.EXP_STATSN, str(description.exp_stat_sn)),
        *_identity(description),
        *timeout_settings(description.timeouts),
    )


def timeout_settings(timeouts: KernelTimeouts) -> tuple[KernelParameter, ...]:
    """Return what can change while a session is up."""
    return tuple(KernelParameter(number, str(value(timeouts))) for number, value in _TIMEOUTS)


def _identity(description: SessionDescription) -> tuple[KernelParameter, ...]:
    """What sysfs shows of a session: udev's names and a later daemon build on it."""
    texts = [
        (Parameter.TARGET_NAME, description.target_name, MAX_NAME_LENGTH),
        (Parameter.INITIATOR_NAME, description.initiator_name, MAX_NAME_LENGTH),
        (Parameter.PERSISTENT_ADDRESS, description.portal.host, MAX_TEXT),
        (Parameter.PERSISTENT_PORT, str(description.portal.port), MAX_TEXT),
        (Parameter.IFACE_NAME, description.session_tag, MAX_SESSION_TAG),
    ]
    if description.portal_group_tag is not None:
        texts.append((Parameter.TPGT, str(description.portal_group_tag), MAX_TEXT))
    return tuple(
        KernelParameter(number, _checked(number, text, most)) for number, text, most in texts
    )


def _checked(parameter: Parameter, text: str, most: int) -> str:
    if not text or not text.isprintable() or len(text.encode()) > most:
        raise IscsidError(
            f"{parameter.name} cannot be {text[:most]!r}: the kernel is given "
            f"1 to {most} octets of printable text",
        )
    return text


def _power_of_two(number: int) -> int:
    """Round up: the kernel takes no other MAX_R2T, and room for more R2Ts does no harm."""
    return 1 << (number - 1).bit_length()
