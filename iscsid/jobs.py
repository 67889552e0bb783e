"""The jobs of workers: for each kind, what the worker needs to know and nothing else.

The initiator makes a job; every fact about it carries its id. Pure values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

from iscsid.config.settings import SocketOptions, Timeouts
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import LoginPlan
from iscsid.protocol.vpd import LunIdentity, ReplacedLun

JobId = NewType("JobId", int)
"""Unique for the life of the daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryJob:
    """Log in to a discovery session, ask SendTargets, report each target.

    ``keep`` makes the worker stay logged in if the target allows it, and report again whenever the
    target announces a change.
    """

    id: JobId
    portal: Portal
    login: LoginPlan
    timeouts: Timeouts
    deadline: float
    """Seconds for resolving, connecting, login and the first complete answer; 0 is no limit."""
    keep: bool = False
    socket_options: SocketOptions = field(default_factory=SocketOptions)

    @property
    def title(self) -> str:
        return f"discovery at {self.portal}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginJob:
    """Log in to a normal session and pass the connected socket to the daemon."""

    id: JobId
    portal: Portal
    login: LoginPlan
    timeouts: Timeouts
    tcp_window_size: int
    deadline: float
    """Seconds for resolving, connecting and login; 0 is no limit."""
    identities: tuple[LunIdentity, ...] = ()
    """What the kernel knows of the LUNs it has: verified before the socket is passed on."""
    accepted: tuple[ReplacedLun, ...] = ()
    """Other identities that a person has accepted since."""
    socket_options: SocketOptions = field(default_factory=SocketOptions)
    only_try: bool = False
    """Log out again instead of passing on the socket."""
    connect_timeout: float = 0
    """Seconds for connecting, if that has a shorter limit than ``timeouts.login``."""

    @property
    def title(self) -> str:
        return f"login {self.login.target_name} via {self.portal}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanJob:
    """Make the kernel look for the LUNs of one session, and set up the disks found."""

    id: JobId
    sid: int
    host_no: int
    target_name: str
    luns: frozenset[int] | None = None
    disk_command_timeout: int = 0
    drop: frozenset[int] = frozenset()
    """LUNs not in use: those that the target no longer has are removed."""
    deadline: float = 0

    @property
    def title(self) -> str:
        return f"scan {self.target_name} on host{self.host_no}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveJob:
    """Look up the addresses of the host of ``portal``. Made by the supervisor of the workers."""

    id: JobId
    portal: Portal
    deadline: float

    @property
    def title(self) -> str:
        return f"resolving {self.portal.host}"


# --- work that may wait for a disk: ``process.disk_work`` abandons what overstays ----------------


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Identity and state of a file: every change of the file changes its stamp."""

    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDisksJob:
    """Find out what uses the disks of some sessions."""

    id: JobId
    sids: tuple[int, ...]
    deadline: float = 0

    @property
    def title(self) -> str:
        return "check of the disks in use"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFilesJob:
    """Read the administrator's two files and the bindings."""

    id: JobId
    config: str
    initiatorname: str
    bindings: str
    deadline: float = 0

    @property
    def title(self) -> str:
        return "reading of the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveBindingsJob:
    """Replace the bindings file, unless it is not the one with the ``stamp``."""

    id: JobId
    path: str
    text: str
    keep_copy: bool
    stamp: FileStamp | None
    deadline: float = 0

    @property
    def title(self) -> str:
        return "writing of the bindings"


Job = DiscoveryJob | LoginJob | ScanJob
"""What the initiator wants done."""

DiskJob = CheckDisksJob | ReadFilesJob | SaveBindingsJob
"""What ``process.disk_work`` starts."""

WorkerJob = Job | DiskJob | ResolveJob
