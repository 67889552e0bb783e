"""Every fact the owner may be told, grouped by who reports it: a module each, one door.

Past tense, frozen, pure.
"""

from __future__ import annotations

from iscsid.facts.from_files import (
    BindingsNotRead,
    BindingsNotSaved,
    BindingsRead,
    BindingsSaved,
    ConfigurationRead,
    ConfigurationRefused,
    LinkNotMade,
    LinkNotRemoved,
    LinksFound,
)
from iscsid.facts.from_kernel import (
    CmdSnLearned,
    CmdSnNotLearned,
    ConnectionBroke,
    DisksChecked,
    EventsLost,
    KernelSession,
    PduReceived,
    RequestRefused,
    SessionDestroyed,
    SessionDoomed,
    SessionRefused,
    SessionsFound,
    SessionStarted,
    SessionUnbound,
    UnitsChecked,
)
from iscsid.facts.from_time import (
    HangupReceived,
    InterruptReceived,
    NetworkChanged,
    TerminateReceived,
    Timer,
    TimerExpired,
    TimerPurpose,
)
from iscsid.facts.from_udev import (
    Device,
    DeviceAppeared,
    DevicesEnumerated,
    DeviceVanished,
    UnitAttentionReported,
    UnitChange,
)
from iscsid.facts.from_workers import (
    DiscoveryCompleted,
    DiscoveryFailed,
    LoginFailed,
    LoginSucceeded,
    ScanFailed,
    ScanFinished,
    TargetDiscovered,
    WorkerEnded,
)

__all__ = [
    "Fact",
    "ConfigurationRead",
    "ConfigurationRefused",
    "BindingsRead",
    "BindingsSaved",
    "BindingsNotSaved",
    "BindingsNotRead",
    "LinksFound",
    "LinkNotMade",
    "LinkNotRemoved",
    "HangupReceived",
    "TerminateReceived",
    "InterruptReceived",
    "NetworkChanged",
    "TimerPurpose",
    "Timer",
    "TimerExpired",
    "TargetDiscovered",
    "DiscoveryCompleted",
    "DiscoveryFailed",
    "LoginSucceeded",
    "LoginFailed",
    "ScanFinished",
    "ScanFailed",
    "WorkerEnded",
    "SessionStarted",
    "SessionRefused",
    "CmdSnLearned",
    "CmdSnNotLearned",
    "RequestRefused",
    "ConnectionBroke",
    "SessionDoomed",
    "PduReceived",
    "DisksChecked",
    "UnitsChecked",
    "SessionUnbound",
    "SessionDestroyed",
    "EventsLost",
    "KernelSession",
    "SessionsFound",
    "Device",
    "DeviceAppeared",
    "DeviceVanished",
    "DevicesEnumerated",
    "UnitAttentionReported",
    "UnitChange",
]

Fact = (
    ConfigurationRead
    | ConfigurationRefused
    | BindingsRead
    | BindingsSaved
    | BindingsNotSaved
    | BindingsNotRead
    | LinksFound
    | LinkNotMade
    | LinkNotRemoved
    | HangupReceived
    | TerminateReceived
    | InterruptReceived
    | NetworkChanged
    | TimerExpired
    | TargetDiscovered
    | DiscoveryCompleted
    | DiscoveryFailed
    | LoginSucceeded
    | LoginFailed
    | ScanFinished
    | ScanFailed
    | WorkerEnded
    | SessionStarted
    | SessionRefused
    | CmdSnLearned
    | CmdSnNotLearned
    | RequestRefused
    | ConnectionBroke
    | SessionDoomed
    | PduReceived
    | DisksChecked
    | UnitsChecked
    | SessionUnbound
    | SessionDestroyed
    | EventsLost
    | SessionsFound
    | DeviceAppeared
    | DeviceVanished
    | DevicesEnumerated
    | UnitAttentionReported
)
