"""Every fact the initiator may get, grouped by what reports it. Past tense, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

from iscsid.bindings.binding import Binding
from iscsid.config.configuration import Configuration
from iscsid.errors import Failure
from iscsid.jobs import FileStamp, JobId
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from iscsid.protocol.parameters import LoginResult
from iscsid.protocol.vpd import LunIdentity, ReplacedLun

# --- from files and links -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigurationRead:
    """/etc/iscsi.conf and /etc/initiatorname.iscsi were read and hold no error."""

    configuration: Configuration
    initiator_name: IscsiName
    """As the file writes it: targets may compare octets."""
    initiator_alias: str = ""
    remarks: tuple[str, ...] = ()
    """Lines for the log about the name."""


@dataclass(frozen=True, slots=True)
class ConfigurationRefused:
    """The file could not be read or holds errors; each complaint is a line for the log."""

    diagnostics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BindingsRead:
    """The bindings file was read; ``text`` is empty if there was none.

    Also the answer to ``SaveBindings`` if the file had been changed by hand meanwhile.
    """

    text: str
    remarks: tuple[str, ...] = ()
    """What to warn of, the file's owner or directory for instance."""


@dataclass(frozen=True, slots=True)
class BindingsSaved:
    """The bindings file now holds the text of the last ``SaveBindings``."""


@dataclass(frozen=True, slots=True)
class BindingsNotSaved:
    """The bindings file could not be replaced; the old one is whole."""

    reason: str


@dataclass(frozen=True, slots=True)
class BindingsNotRead:
    """There is a bindings file but it cannot be read: the numbers of targets are not known."""

    reason: str


@dataclass(frozen=True, slots=True)
class LinksFound:
    """The links that an earlier daemon has left: their paths and nodes."""

    links: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()
    """What could not be looked at."""


@dataclass(frozen=True, slots=True)
class LinkNotMade:
    """``path`` does not point to where it should; ``reason`` is why, and what to do."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkNotRemoved:
    """``path`` is still there although it should not be."""

    path: str
    reason: str


# --- from signals, timers and the network -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HangupReceived:
    """SIGHUP: read the configuration again, discover again, reprobe."""


@dataclass(frozen=True, slots=True)
class TerminateReceived:
    """SIGTERM: end, and leave the kernel's sessions alone."""


@dataclass(frozen=True, slots=True)
class InterruptReceived:
    """SIGINT: end, after all sessions have been logged out."""


@dataclass(frozen=True, slots=True)
class PowerDownReceived:
    """SIGPWR: the machine goes down; no session that is down is waited for without end."""


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """A link, an address or a route has come."""


class TimerPurpose(Enum):
    RETRY_DISCOVERY = "retry discovery"
    RETRY_LOGIN = "retry login"
    SCAN = "scan"
    LOGOUT = "logout"
    CHECK_DISKS = "check the disks"
    CHECK_KERNEL = "check the kernel"
    SAVE_BINDINGS = "save the bindings"
    MAKE_LINKS = "make the links"
    SUMMARY = "summary"
    NETWORK = "network"
    POWER_DOWN = "power down"
    """No session that is down is waited for any longer."""
    RETRY_PORTAL = "retry the portal"
    """The sessions that wait for a portal may be tried again."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer's name: setting it again moves it."""

    purpose: TimerPurpose
    subject: Binding | Portal | None = None


@dataclass(frozen=True, slots=True)
class TimerExpired:
    timer: Timer


# --- from workers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetDiscovered:
    """One target of the SendTargets answer that is coming in."""

    job_id: JobId
    record: DiscoveryRecord


@dataclass(frozen=True, slots=True)
class DiscoveryCompleted:
    """The answer is complete: targets not reported since the last completion are gone.

    ``kept``: the worker stays logged in and may report again.
    """

    job_id: JobId
    kept: bool = False
    notes: tuple[str, ...] = ()
    """Records and portals that were skipped, and why; lines for the log."""
    skipped: int = 0
    """Targets of the answer that cannot be used."""
    answered_at: Portal | None = None
    """The address that the discovery was connected to, if it is not the one that it asked."""


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    job_id: JobId
    failure: Failure


@dataclass(frozen=True, slots=True)
class LoginSucceeded:
    """The connection is in full feature phase; its socket waits with the workers' supervisor."""

    job_id: JobId
    result: LoginResult
    portal: Portal
    """Where the login succeeded, redirects followed."""
    moved_to: Portal | None = None
    """The address to which the target has moved for good (status 0102)."""


@dataclass(frozen=True, slots=True)
class LoginFailed:
    job_id: JobId
    failure: Failure
    replaced: tuple[ReplacedLun, ...] = ()
    """LUNs that are not what they were, and for that reason the session was not resumed."""


@dataclass(frozen=True, slots=True)
class ScanFinished:
    job_id: JobId
    missing: tuple[int, ...] = ()
    """LUNs that the kernel has and the target has removed."""
    absent: str = ""
    """LUNs that the keyword LUNs names and the target does not have, as numbers and ranges."""


@dataclass(frozen=True, slots=True)
class ScanFailed:
    job_id: JobId
    failure: Failure


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The worker of a job is gone; ``how`` is set if it had not reported the end of the job.

    No failure either, so that ``how`` is not set: it was stopped by order, or it is a kept
    discovery that had answered and whose target then closed the session in good order.
    """

    job_id: JobId
    how: Failure | None = None


# --- from the kernel's iSCSI interface and sysfs ------------------------------------------------


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
    identities: tuple[LunIdentity, ...] = ()
    """The identification pages of its LUNs, as far as the kernel has read them."""


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
class TimeoutsRefused:
    """The kernel refused ``ApplyTimeouts``; the session goes on with those that it has."""

    sid: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """CONN_ERROR; ``reason`` in words."""

    sid: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionUnrecoverable:
    """The kernel will never carry the session on, and waits for it to be destroyed.

    Its SCSI host is being removed, or it has been stopped for good.
    """

    sid: int
    reason: str


@dataclass(frozen=True, slots=True)
class PduReceived:
    """The kernel handed up a PDU that is user space's business."""

    sid: int
    header: bytes
    data: bytes


NOT_CHECKED = "could not be checked: "


@dataclass(frozen=True, slots=True)
class DiskUsersChecked:
    """The users of the session's disks, in words; an empty ``uses`` means that there is none.

    One that begins with ``NOT_CHECKED`` is no user that was found, but something that could not be
    found out.
    """

    sid: int
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LunUsersChecked:
    """The users of the disks of some LUNs: for each LUN, in words, empty if there is none."""

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
    """The event socket overflowed: what there is must be read from sysfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSession:
    """One session of the tcp transport as sysfs shows it."""

    sid: int
    host_no: int
    target_name: str
    session_tag: str
    """The interface name, where our own sessions carry their binding."""
    initiator_name: str = ""
    """The name that it logged in with; empty if it is not known."""
    state: str
    """LOGGED_IN, FAILED or FREE."""
    target_state: str
    """UNBOUND, ALLOCATED, SCANNED, UNBINDING; empty on kernels that do not show it."""
    connection_state: str | None
    """up, down, failed or bound; empty if it cannot be read; ``None``: there is no connection."""
    persistent_portal: Portal | None = None
    portal_group_tag: int | None = None
    maker_is_gone: bool = False
    """Whether the program that made it has closed its socket to the kernel."""


@dataclass(frozen=True, slots=True)
class SessionsFound:
    """What sysfs shows: every session of the tcp transport, ours or not."""

    sessions: tuple[KernelSession, ...]
    unread: tuple[int, ...] = ()
    """Sids of sessions that exist but could not be read: nothing is known of them."""
    turn: float = inf
    """That of the order (``ListSessions``): of what has changed since, nothing is known."""


# --- from udev ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node that belongs to a LUN of an iSCSI session."""

    path: str
    """Its sysfs path: its identity while it exists."""
    sid: int
    lun: int
    link: str
    """Its name in the LUN's directory: disk, part1, generic, cd, mt, ..."""
    node: str
    """/dev/sda"""
    wwid: str = ""
    """The identity that the logical unit reports, if known."""
    serial: str = ""
    """What udev calls the unit if it has no WWID."""
    announced: str | None = None
    """The path of the link that udev has told systemd of, empty if it has told of none; ``None``
    if udev has not looked at the device yet, or no udevd runs."""


class UnitChange(Enum):
    """A change that a logical unit reports by a unit attention condition."""

    LUNS = "the LUNs of the target have changed"
    SIZE = "its size has changed"
    IDENTITY = "it is not what it was"


@dataclass(frozen=True, slots=True)
class UnitAttentionReported:
    """The answer to some command reported that something has changed at the target."""

    sid: int
    lun: int
    change: UnitChange


@dataclass(frozen=True, slots=True)
class DeviceAppeared:
    """A device is there, or changed."""

    device: Device


@dataclass(frozen=True, slots=True)
class DeviceVanished:
    path: str


@dataclass(frozen=True, slots=True)
class DevicesEnumerated:
    """Every device that was there at the start has been reported."""


FileFact = (
    ConfigurationRead
    | ConfigurationRefused
    | BindingsRead
    | BindingsSaved
    | BindingsNotSaved
    | BindingsNotRead
    | LinksFound
    | LinkNotMade
    | LinkNotRemoved
    | DeviceAppeared
    | DeviceVanished
    | DevicesEnumerated
)

# --- from jobs that may wait for a disk ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LunUsers:
    """What uses the disk of one LUN, in words; empty for one that is not in use."""

    sid: int
    lun: int
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DisksChecked:
    """The users of every LUN of the sessions that a ``CheckDisksJob`` asked for."""

    job_id: JobId
    luns: tuple[LunUsers, ...]


@dataclass(frozen=True, slots=True)
class FileContents:
    """A file as it was read, or why it was not."""

    path: str
    octets: bytes = b""
    mode: int = 0
    owner: int = 0
    is_missing: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class FilesRead:
    """The files of a ``ReadFilesJob``; ``stamp`` is that of the bindings file."""

    job_id: JobId
    config: FileContents
    initiatorname: FileContents
    bindings: BindingsRead | BindingsNotRead
    stamp: FileStamp | None


@dataclass(frozen=True, slots=True)
class BindingsWritten:
    """What came of a ``SaveBindingsJob``; ``stamp`` is that of the file as it is now."""

    job_id: JobId
    result: BindingsSaved | BindingsNotSaved | BindingsRead | BindingsNotRead
    stamp: FileStamp | None


SignalFact = (
    HangupReceived
    | TerminateReceived
    | InterruptReceived
    | PowerDownReceived
    | NetworkChanged
    | TimerExpired
)

WorkerFact = (
    TargetDiscovered
    | DiscoveryCompleted
    | DiscoveryFailed
    | LoginSucceeded
    | LoginFailed
    | ScanFinished
    | ScanFailed
    | WorkerEnded
)

SessionEvent = (
    CmdSnLearned
    | CmdSnNotLearned
    | RequestRefused
    | TimeoutsRefused
    | ConnectionLost
    | SessionUnrecoverable
    | PduReceived
    | DiskUsersChecked
    | LunUsersChecked
    | UnitAttentionReported
    | SessionUnbound
    | SessionDestroyed
)
"""Facts about one session that the kernel has, by its ``sid``."""

KernelFact = SessionStarted | SessionRefused | EventsLost | SessionsFound | SessionEvent

DiskJobFact = DisksChecked | FilesRead | BindingsWritten
"""What ``process.disk_work`` turns into facts for the initiator."""

Fact = FileFact | SignalFact | WorkerFact | KernelFact | DiskJobFact
