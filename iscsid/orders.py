"""Every order of the initiator, grouped by what carries it out. Imperative, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from iscsid.bindings.binding import Binding
from iscsid.facts import Timer
from iscsid.jobs import Job, JobId
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import AgreedParameters

# --- to the workers' supervisor -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartWorker:
    job: Job


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End a worker whose result is no longer needed."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Make a kept discovery session ask SendTargets once more."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Drop the socket of a login that came too late."""

    job_id: JobId


# --- to the kernel's iSCSI interface ------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTimeouts:
    """The session's timeouts in the kernel's own terms, in seconds.

    ``initiator.offers`` makes them of the settings, ``kernel.kernel_parameters`` sets them.
    """

    recovery: int
    """Before I/O of a session that is down fails; negative is never."""
    abort: int
    lun_reset: int
    target_reset: int
    ping_interval: int
    """Silence before a ping; 0 switches pings off, then ``ping_timeout`` is 0 too."""
    ping_timeout: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDescription:
    """What the kernel gets to know of a session before it starts."""

    target_name: IscsiName
    initiator_name: IscsiName
    portal: Portal
    """Where udev and a later recovery find the target: the address before any redirect."""
    portal_group_tag: int | None
    session_tag: str
    cmd_sn: int
    exp_stat_sn: int
    parameters: AgreedParameters
    timeouts: KernelTimeouts
    commands_max: int = 128
    """Tasks of the session; only a new session gets another number."""
    queue_depth: int = 32
    """Commands at once for one LUN; each device has a file in /sys to change it."""


@dataclass(frozen=True, slots=True)
class StartSession:
    """Create a session around the socket of a login, and start it."""

    binding: Binding
    job_id: JobId
    description: SessionDescription


@dataclass(frozen=True, slots=True)
class AdoptSession:
    """Listen to a session that has been running all along; nothing is sent."""

    sid: int


@dataclass(frozen=True, slots=True)
class ResumeSession:
    """Give a stopped session the socket of a new login, and start it."""

    binding: Binding
    sid: int
    job_id: JobId
    description: SessionDescription


@dataclass(frozen=True, slots=True)
class LearnCmdSn:
    """Stop the connection for recovery and ask the kernel for its CmdSN."""

    sid: int


@dataclass(frozen=True, slots=True)
class ApplyTimeouts:
    sid: int
    timeouts: KernelTimeouts


@dataclass(frozen=True, slots=True)
class CheckDiskUsers:
    """Find out what uses the session's disks."""

    sid: int


@dataclass(frozen=True, slots=True)
class CheckLunUsers:
    """Find out what uses the disks of these LUNs."""

    sid: int
    luns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UnbindSession:
    """Let the kernel flush and remove the session's SCSI devices."""

    sid: int


@dataclass(frozen=True, slots=True)
class SendLogout:
    """Send a Logout Request. ``session_tag`` is what the session carries from then on.

    A daemon that is killed before the connection is stopped leaves a session that looks healthy.
    """

    sid: int
    session_tag: str


@dataclass(frozen=True, slots=True)
class DestroySession:
    """Stop the connection for good and remove all of the session from the kernel."""

    sid: int


@dataclass(frozen=True, slots=True)
class ListSessions:
    """Read every session's state from sysfs."""

    turn: int
    """The initiator's, which comes back with the answer: looks take time, and may overlap."""


# --- to the files, links, timers, log -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadConfiguration:
    """Read the configuration and the bindings again."""


@dataclass(frozen=True, slots=True)
class SaveBindings:
    """Replace the bindings file, unless it was changed by hand: then it is reported again."""

    text: str
    keep_copy: bool = False
    """What the file holds now is not all in ``text``: it stays under another name."""


@dataclass(frozen=True, slots=True)
class MakeLink:
    """Make or replace one link; ``path`` is relative to the base directory."""

    path: str
    node: str
    device: str = ""
    """The sysfs path of the device that must have this node, to be checked at the last moment."""


@dataclass(frozen=True, slots=True)
class RemoveLink:
    path: str


@dataclass(frozen=True, slots=True)
class AnnounceDevice:
    """Let udev look again at a device, as it has told systemd of another link than there is."""

    device: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """``at`` is on the monotonic clock, in seconds."""

    timer: Timer
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    timer: Timer


class Level(Enum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


@dataclass(frozen=True, slots=True)
class Log:
    """``log_prefix``: the target and portal the line is about, empty for the daemon itself."""

    level: Level
    log_prefix: str
    text: str


@dataclass(frozen=True, slots=True)
class Leave:
    """End the daemon with this exit status."""

    status: int


Order = (
    StartWorker
    | StopWorker
    | AskAgain
    | CloseSocket
    | StartSession
    | AdoptSession
    | ResumeSession
    | LearnCmdSn
    | ApplyTimeouts
    | CheckDiskUsers
    | CheckLunUsers
    | UnbindSession
    | SendLogout
    | DestroySession
    | ListSessions
    | ReadConfiguration
    | SaveBindings
    | MakeLink
    | RemoveLink
    | AnnounceDevice
    | SetTimer
    | CancelTimer
    | Log
    | Leave
)
