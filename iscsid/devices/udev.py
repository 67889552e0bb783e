"""udev's events about the devices of iSCSI sessions, as facts.

The monitor is read until it is empty, and the reported paths are remembered, so that after lost
events the difference can be reported. Removals are read from the kernel's own uevents as well,
which come before udev's. pyudev's own observer is a thread, which a process that forks cannot
have. Touches udev, the kernel's uevents, /sys, and by way of ``nodes`` the nodes of the devices.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyudev

from iscsid.devices.device_paths import (
    LINK_DEPTH,
    SUBSYSTEMS,
    device_at,
    is_session_device,
    unit_at,
)
from iscsid.devices.nodes import mark
from iscsid.facts import DeviceAppeared, DeviceVanished, UnitAttentionReported, UnitChange

_CONTROL = "/run/udev/control"
"""Where udevd listens for udevadm."""
_SYSTEMD_RUNS = "/run/systemd/system"
"""What sd_booted(3) looks for."""
_BUFFER = 16 << 20
"""Octets; a thousand disks that come at once send some ten thousand events."""

_CHANGES = {
    "REPORTED_LUNS_DATA_HAS_CHANGED": UnitChange.LUNS,
    "CAPACITY_DATA_HAS_CHANGED": UnitChange.SIZE,
    "INQUIRY_DATA_HAS_CHANGED": UnitChange.IDENTITY,
}
"""Unit attention conditions, in the words of the kernel's property SDEV_UA."""

# A program for a socket, in the classic BPF of linux/filter.h.
_SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; Python's library has no name for it."""

_INSTRUCTION = struct.Struct("HBBI")
"""struct sock_filter: what to do, how far to jump if so and if not, and an operand."""
_PROGRAM = struct.Struct("HP")
"""struct sock_fprog: the number of instructions, and where they are."""

_LOAD_WORD_AT = 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06
_WHOLE_MESSAGE = 0xFFFFFFFF
_WORD = 4
"""Octets that are compared at once. A message that ends before them is dropped."""

DeviceFact = DeviceAppeared | DeviceVanished
UdevFact = DeviceFact | UnitAttentionReported


class Udev:
    """Open it before ``enumerate``, so that nothing falls in between.

    Where no udevd runs, the kernel's own events are read: it makes the nodes itself, in devtmpfs.
    ``has_udevd`` is found out once; a udevd that is started later changes nothing.
    """

    def __init__(self) -> None:
        self._context = pyudev.Context()
        self.has_udevd = is_udevd_running()
        source = "udev" if self.has_udevd else "kernel"
        self._monitor = pyudev.Monitor.from_netlink(self._context, source=source)
        for subsystem in SUBSYSTEMS:
            self._monitor.filter_by(subsystem)
        self._monitor.filter_by("scsi", "scsi_device")
        self._monitor.set_receive_buffer_size(_BUFFER)
        self._monitor.start()
        self._known: set[str] = set()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        descriptor: int = self._monitor.fileno()
        return descriptor

    def read_events(self) -> list[UdevFact]:
        """Return what has happened; after lost events, everything that is there or gone."""
        devices, have_been_lost = _drain(self._monitor)
        facts = [fact for device in devices for fact in self._reported(device)]
        # Not before the rest has been read: it is older than what is to be seen now.
        return [*facts, *self.enumerate()] if have_been_lost else facts

    def enumerate(self) -> list[DeviceFact]:
        """Return every device that is there, and what has vanished since it was reported."""
        unseen = set(self._known)
        facts: list[DeviceFact] = []
        for subsystem in SUBSYSTEMS:
            for device in self._context.list_devices(subsystem=subsystem):
                unseen.discard(device.sys_path)
                facts.extend(self._appeared(device, has_been_seen=device.is_initialized))
        self._known -= unseen
        return [*map(DeviceVanished, sorted(unseen)), *facts]

    def _reported(self, device: pyudev.Device) -> Iterator[UdevFact]:
        if device.subsystem == "scsi":
            yield from _attention(device)
        elif device.action != "remove":
            yield from self._appeared(device, has_been_seen=True)
        elif is_session_device(device.sys_path):
            self._known.discard(device.sys_path)
            yield DeviceVanished(device.sys_path)

    def _appeared(self, device: pyudev.Device, *, has_been_seen: bool) -> Iterator[DeviceAppeared]:
        if device.device_node is None or not is_session_device(device.sys_path):
            return
        announced = _announced(device) if self.has_udevd and has_been_seen else None
        found = device_at(device.sys_path, device.device_node, *_identity(device), announced)
        if found is not None:
            mark(Path(found.path), found.node)
            self._known.add(found.path)
            yield DeviceAppeared(found)


class Removals:
    """The kernel's own events of removed devices.

    udev reports a removal only after it has run its rules; if a session ends by itself, the
    device's name may belong to another disk by then. What is lost here udev still reports. A filter
    keeps the kernel's other events, which are about every device of the machine, from waking us.
    """

    def __init__(self) -> None:
        self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
        self._monitor.start()
        attach_prefix_filter(self.fileno(), b"remove@")

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        descriptor: int = self._monitor.fileno()
        return descriptor

    def read_events(self) -> list[DeviceVanished]:
        """Return what has gone."""
        devices, _ = _drain(self._monitor)
        return [
            DeviceVanished(device.sys_path)
            for device in devices
            if device.action == "remove" and is_session_device(device.sys_path)
        ]


def is_udevd_running(control: str = _CONTROL) -> bool:
    """Whether udevd, or systemd for it, listens: the file may be that of one that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(control)
        except BlockingIOError:
            return True  # its queue is full
        except OSError as error:
            return error.errno == errno.EACCES  # without root it cannot be asked
    return True


def _drain(monitor: pyudev.Monitor) -> tuple[list[pyudev.Device], bool]:
    """Return the devices of all waiting events, and whether events have been lost."""
    devices: list[pyudev.Device] = []
    have_been_lost = False
    while True:
        try:
            device = monitor.poll(timeout=0)
        except OSError as error:
            if errno.ENOBUFS not in (error.errno, _take_error(monitor)):
                raise
            have_been_lost = True
            continue
        if device is None:
            return devices, have_been_lost
        devices.append(device)


def _take_error(monitor: pyudev.Monitor) -> int:
    """Return and clear a monitor's error, which pyudev sees while polling and ignores."""
    with socket.socket(fileno=os.dup(monitor.fileno())) as its_socket:
        return its_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _attention(device: pyudev.Device) -> Iterator[UnitAttentionReported]:
    unit, change = unit_at(device.sys_path), _CHANGES.get(device.properties.get("SDEV_UA", ""))
    if unit is not None and change is not None:
        yield UnitAttentionReported(*unit, change)


def _identity(device: pyudev.Device) -> tuple[str, str]:
    """Return the kernel's WWID of the logical unit, or without one udev's scsi_id.

    The kernel's comes first: it is the same for every node of the unit, and does not depend on
    a command of udev's that may have failed.
    """
    unit = device.find_parent("scsi", "scsi_device")
    try:
        wwid = unit.attributes.asstring("wwid").strip() if unit is not None else ""
    except (KeyError, UnicodeDecodeError):
        wwid = ""
    return (wwid, "") if wwid else ("", str(device.properties.get("ID_SERIAL", "")))


def _announced(device: pyudev.Device) -> str:
    """Return the path, below the base directory, of the name that ``iscsid-name`` has found."""
    name = str(device.properties.get("ISCSID_NAME", ""))
    return "/".join(name.split("/")[-LINK_DEPTH:])


def announce(path: str) -> None:
    """Let udev look again at the device with this sysfs path; one that is gone is no error.

    systemd learns of a name only from udev, and udev evaluates its rules only at events. Without
    systemd no program waits for the name, and udev is spared the work.
    """
    if not os.path.isdir(_SYSTEMD_RUNS):
        return
    with suppress(OSError), open(f"{path}/uevent", "w", encoding="utf-8") as uevent:
        uevent.write("change")


def attach_prefix_filter(descriptor: int, beginning: bytes) -> None:
    """Drop every message to come that has another ``beginning``, of four octets at least.

    Messages that wait already stay. Raises ``OSError`` if the kernel refuses the filter.
    """
    program = _instructions(beginning)
    text = ctypes.create_string_buffer(program, len(program))
    value = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(text))
    with socket.socket(fileno=os.dup(descriptor)) as its_socket:
        its_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)


def _instructions(beginning: bytes) -> bytes:
    """Return the program; if the length is no multiple of a word, the last two overlap."""
    last = len(beginning) - _WORD
    offsets = [*range(0, last, _WORD), last]
    steps = []
    for number, offset in enumerate(offsets, 1):
        word = int.from_bytes(beginning[offset : offset + _WORD], "big")
        to_the_end = 2 * (len(offsets) - number) + 1
        steps.append(_INSTRUCTION.pack(_LOAD_WORD_AT, 0, 0, offset))
        steps.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, to_the_end, word))
    steps.append(_INSTRUCTION.pack(_RETURN, 0, 0, _WHOLE_MESSAGE))
    steps.append(_INSTRUCTION.pack(_RETURN, 0, 0, 0))
    return b"".join(steps)
