"""What udev has said of devices. Past tense, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node that belongs to a LUN of an iSCSI session."""

    path: str
    """Its sysfs path: its identity while it exists."""
    sid: int
    lun: int
    link: str
    """The classic's name in the LUN's directory: disk, part1, generic, cd, mt, ..."""
    node: str
    """/dev/sda"""
    identity: str = ""
    """What the logical unit says of itself (WWID), where known."""


class UnitChange(Enum):
    """What a logical unit can say of itself, or of its neighbours, unasked."""

    LUNS = "the LUNs of the target have changed"
    SIZE = "its size has changed"
    IDENTITY = "it is not what it was"


@dataclass(frozen=True, slots=True)
class UnitAttentionReported:
    """The answer to some command carried the news that something has changed at the target."""

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
