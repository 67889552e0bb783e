"""The kernel's iSCSI sessions under /sys, and the few files there that do something.

Anything may vanish while it is being read; what is gone is left out, and is no error.
Touches /sys alone.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from iscsid.devices.device_paths import SUBSYSTEMS
from iscsid.errors import IscsidError, Retry
from iscsid.facts import KernelSession, SessionsFound
from iscsid.protocol.names import DEFAULT_PORT, Portal
from iscsid.protocol.vpd import LunIdentity

_DRIVER = "iscsi_tcp"
_HOST = re.compile(r"/host(\d+)/session\d+/")
_SCSI_DEVICE = re.compile(r"\d+:\d+:\d+:(\d+)")
_PAGE = 65536
"""Octets: more than any attribute has, which is a page at most."""
_UNSET = "(null)"
"""What the kernel prints for a text that was never set."""


@dataclass(frozen=True, slots=True)
class ScsiDevice:
    """One logical unit of a session, as the kernel knows it."""

    path: Path
    lun: int

    def delete(self) -> None:
        """Make the kernel forget the logical unit. Raises ``OSError``."""
        _write(self.path / "delete", "1")

    def rescan(self) -> None:
        """Make the kernel read size and identity again. May block; raises ``OSError``."""
        _write(self.path / "rescan", "1")

    def set_command_timeout(self, seconds: int) -> None:
        """Limit each SCSI command. Raises ``OSError``."""
        _write(self.path / "timeout", str(seconds))

    def identity(self) -> str:
        """Return the WWID of the logical unit, empty if the kernel has none."""
        return read_attribute(self.path / "wwid") or ""

    def generic_node(self) -> str | None:
        """Return the node for SCSI commands to the unit, ``None`` if it has none."""
        found = entries(self.path, "scsi_generic/sg*")
        return f"/dev/{found[0].name}" if found else None

    def announce(self) -> None:
        """Make udev look at the unit's devices again. Raises ``OSError``."""
        for entry in self.class_devices():
            _write(entry / "uevent", "change")

    def class_devices(self) -> list[Path]:
        """Return the directory of each device that drivers have made of the unit."""
        return [entry for subsystem in SUBSYSTEMS for entry in entries(self.path, f"{subsystem}/*")]

    def identity_page(self) -> bytes:
        """Return page 83h of its vital product data, empty if the kernel has none."""
        try:
            return (self.path / "vpd_pg83").read_bytes()
        except OSError:
            return b""

    def block_devices(self) -> list[Path]:
        """Return the directory of the disk, then those of its partitions."""
        disks = entries(self.path, "block/*")
        return [
            entry
            for disk in disks
            for entry in (disk, *(part.parent for part in entries(disk, "*/partition")))
        ]


@dataclass(frozen=True, slots=True)
class Sysfs:
    """``root`` is /sys, or a tree that looks like it."""

    root: Path = Path("/sys")

    def transport_handle(self) -> int:
        """Return the number that names the tcp transport in every request.

        It changes whenever the module is loaded. Raises ``IscsidError``.
        """
        path = self.root / "class/iscsi_transport/tcp/handle"
        try:
            return int(path.read_text())
        except FileNotFoundError as error:
            raise IscsidError(
                "the kernel has no iSCSI over TCP",
                advice="load its module with 'modprobe iscsi_tcp'",
                retry=Retry.LATER,
            ) from error
        except PermissionError as error:
            raise IscsidError(
                f"{path}: {error.strerror}", advice="run as root", retry=Retry.NEVER
            ) from error
        except OSError as error:
            raise IscsidError(f"{path}: {error.strerror}", retry=Retry.SOON) from error

    def sessions(self, open_ports: Collection[int] = ()) -> tuple[KernelSession, ...]:
        """Return every session of the tcp transport that can be read, in the order of sids."""
        return self.look(open_ports).sessions

    def look(
        self,
        open_ports: Collection[int] = (),
        known: Mapping[int, KernelSession] = MappingProxyType({}),
    ) -> SessionsFound:
        """Return every session of the tcp transport, and which of them cannot be read now.

        ``open_ports`` are those of the netlink sockets that are open: a session whose maker's is
        not among them was made by a program that is gone. Of sessions in ``known``, from an earlier
        look, only what may change is read: a tenth of the time.
        """
        found = dict(self.each_session(open_ports, known))
        return SessionsFound(
            tuple(session for session in found.values() if session),
            tuple(sid for sid, session in found.items() if session is None),
        )

    def each_session(
        self, open_ports: Collection[int], known: Mapping[int, KernelSession]
    ) -> Iterator[tuple[int, KernelSession | None]]:
        """Yield what ``look`` returns as it is read: sid and session, ``None`` if unreadable."""
        for sid, path in sorted(self._session_directories().items()):
            try:
                before = known.get(sid)
                session: KernelSession | None
                if before is not None and before.target_name:
                    session = self._again(before)
                else:
                    # One without a name may be half-made: all of it may still change.
                    session = self._session(sid, path, open_ports)
            except OSError:
                # A session may go while it is read. One that is there still has not ended.
                if os.path.lexists(path):
                    yield sid, None
            else:
                if session:
                    yield sid, session

    def session_ids(self) -> list[int]:
        """Return the sid of every session of the tcp transport."""
        hosts = ((sid, self.host_no(sid)) for sid in sorted(self._session_directories()))
        return [sid for sid, host_no in hosts if host_no is not None and self._is_tcp(host_no)]

    def _is_tcp(self, host_no: int) -> bool:
        return read_attribute(self.root / f"class/scsi_host/host{host_no}/proc_name") == _DRIVER

    def has_session(self, sid: int) -> bool:
        return self._session_directory(sid).exists()

    def target_state(self, sid: int) -> str:
        """Return UNBOUND, ALLOCATED, SCANNED or UNBINDING; empty if it is not known."""
        return read_attribute(self._session_directory(sid) / "target_state") or ""

    def host_no(self, sid: int) -> int | None:
        """Return the number of the SCSI host of a session, ``None`` if it is gone."""
        try:
            match = _HOST.search(str(self._session_directory(sid).resolve(strict=True)))
        except OSError:
            return None
        return int(match[1]) if match else None

    def scan(self, host_no: int, lun: int | None = None) -> None:
        """Make the kernel look for one logical unit, or for all.

        Blocks until it is done, which may take as long as the SCSI timeouts: for a worker
        alone. Does nothing while the session is not logged in. Raises ``OSError``.
        """
        wanted = "-" if lun is None else str(lun)
        _write(self.root / f"class/scsi_host/host{host_no}/scan", f"0 0 {wanted}")

    def devices(self, sid: int) -> list[ScsiDevice]:
        """Return the logical units of a session, in the order of their LUNs."""
        found = entries(self._session_directory(sid), "device/target*/*:*")
        matches = ((path, _SCSI_DEVICE.fullmatch(path.name)) for path in found)
        devices = [ScsiDevice(path.resolve(), int(match[1])) for path, match in matches if match]
        return sorted(devices, key=lambda device: device.lun)

    def all_devices(self) -> list[ScsiDevice]:
        """Return the logical units of all sessions of the tcp transport."""
        return [device for sid in self.session_ids() for device in self.devices(sid)]

    def identities(self, sid: int) -> tuple[LunIdentity, ...]:
        """Return page 83h of each logical unit of a session that the kernel has one of."""
        pages = ((device.lun, device.identity_page()) for device in self.devices(sid))
        return tuple((lun, page) for lun, page in pages if page)

    def _session_directory(self, sid: int) -> Path:
        return self.root / f"class/iscsi_session/session{sid}"

    def _session_directories(self) -> dict[int, Path]:
        paths = entries(self.root, "class/iscsi_session/session*")
        numbered = ((path.name.removeprefix("session"), path) for path in paths)
        return {int(number): path for number, path in numbered if number.isdecimal()}

    def _session(self, sid: int, path: Path, open_ports: Collection[int]) -> KernelSession | None:
        """Return one session, ``None`` if it is of another transport.

        Raises ``OSError`` if what decides on its fate cannot be read.
        """
        match = _HOST.search(str(path.resolve(strict=True)))
        if match is None:
            return None
        host_no = int(match[1])
        if _read(self.root / f"class/scsi_host/host{host_no}/proc_name") != _DRIVER:
            return None
        connection = self.root / f"class/iscsi_connection/connection{sid}:0"
        host = read_attribute(connection / "persistent_address")
        port = read_number(connection / "persistent_port")
        creator = read_number(path / "creator")
        return KernelSession(
            sid=sid,
            host_no=host_no,
            target_name=_read(path / "targetname"),
            session_tag=_read(path / "ifacename"),
            initiator_name=read_attribute(path / "initiatorname") or "",
            state=_read(path / "state"),
            target_state=read_attribute(path / "target_state") or "",
            connection_state=_connection_state(connection),
            persistent_portal=Portal(host, port or DEFAULT_PORT) if host else None,
            portal_group_tag=read_number(path / "tpgt"),
            # The kernel prints the port as a signed number here, and nowhere else.
            maker_is_gone=creator is not None and creator % 2**32 not in open_ports,
        )

    def _again(self, before: KernelSession) -> KernelSession:
        """Read what may change of a session that has a name. Raises ``OSError``."""
        session = f"{self.root}/class/iscsi_session/session{before.sid}"
        connection = f"{self.root}/class/iscsi_connection/connection{before.sid}:0"
        return replace(
            before,
            session_tag=_read(f"{session}/ifacename"),
            state=_read(f"{session}/state"),
            target_state=read_attribute(f"{session}/target_state") or "",
            connection_state=_connection_state(connection),
        )


def entries(directory: Path, pattern: str) -> list[Path]:
    """Return the matching paths in order; what vanishes meanwhile is left out.

    ``Path.glob`` raises if a directory goes while it searches. Any other error is raised here,
    too: it must not look as if there were nothing.
    """
    found = [directory]
    for part in pattern.split("/"):
        if "*" in part:
            found = [path / name for path in found for name in fnmatch.filter(_names(path), part)]
        else:
            found = [path / part for path in found if (path / part).exists()]
    return found


def _names(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV):
            return []
        raise


def _connection_state(directory: Path | str) -> str | None:
    """Return a connection's state: empty if it cannot be read, ``None`` if there is none."""
    try:
        return _read(f"{directory}/state")
    except OSError:
        try:
            os.stat(directory)
        except FileNotFoundError:
            return None
        except OSError:
            pass
    return ""


def _read(path: Path | str) -> str:
    """Return an attribute's text, empty if it is not set. Raises ``OSError``."""
    # Not by way of a file object, which takes three times as long: there are ten for a session.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, _PAGE).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
    return "" if text == _UNSET else text


def read_attribute(path: Path | str) -> str | None:
    """Return an attribute's text, ``None`` if it is not there, not set or not readable now."""
    try:
        return _read(path) or None
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    text = read_attribute(path)
    return int(text) if text is not None and text.lstrip("-").isdecimal() else None


def _write(path: Path, text: str) -> None:
    """Write an attribute: in one piece, and never making a file that is gone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
