"""What the kernel's iSCSI interface and sysfs have said. Past tense, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.binding import Binding
from iscsid.errors import Failure
from iscsid.protocol.names import Portal
from iscsid.protocol.vpd import Identity


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The kernel runs the session: first start or recovery."""

    binding: Binding
    sid: int
    host_no: int


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """The kernel refused a step. Whatever had been made for a first start is undone."""

    binding: Binding
    failure: Failure


@dataclass(frozen=True, slots=True)
class CmdSnLearned:
    """The CmdSN with which a stopped session will go on."""

    sid: int
    cmd_sn: int
    identities: tuple[Identity, ...] = ()
    """What its LUNs have said of themselves, as far as the kernel has asked."""


@dataclass(frozen=True, slots=True)
class CmdSnNotLearned:
    sid: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The kernel refused an unbinding, a logout or a destruction."""

    sid: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class ConnectionBroke:
    """CONN_ERROR; ``reason`` in words."""

    sid: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionDoomed:
    """The kernel will never carry the session on, and waits for it to be destroyed.

    Its SCSI host is being removed, or somebody has stopped it for good.
    """

    sid: int
    reason: str


@dataclass(frozen=True, slots=True)
class PduReceived:
    """The kernel handed up a PDU that is user space's business."""

    sid: int
    header: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class DisksChecked:
    """Who uses the session's disks, in words; an empty ``uses`` means that nobody does."""

    sid: int
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnitsChecked:
    """Who uses the disks of some LUNs: for each LUN, in words, empty where nobody does."""

    sid: int
    uses: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class SessionUnbound:
    """All SCSI devices of the session are gone; it can never be scanned again."""

    sid: int


@dataclass(frozen=True, slots=True)
class SessionDestroyed:
    sid: int


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The event socket overflowed: the truth must be read from sysfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSession:
    """One session of the tcp transport as sysfs shows it."""

    sid: int
    host_no: int
    target_name: str
    marker: str
    """The interface name, where our own sessions carry their binding."""
    state: str
    """LOGGED_IN, FAILED or FREE."""
    target_state: str
    """UNBOUND, ALLOCATED, SCANNED, UNBINDING; empty on kernels that do not tell."""
    connection_state: str | None
    """up, down, failed or bound; ``None``: there is no connection."""
    persistent_portal: Portal | None = None
    portal_group_tag: int | None = None
    maker_is_gone: bool = False
    """Whether the program that made it has closed its socket to the kernel."""


@dataclass(frozen=True, slots=True)
class SessionsFound:
    """What sysfs shows: every session of the tcp transport, ours or not."""

    sessions: tuple[KernelSession, ...]
