"""Builds directories that look like /sys with iSCSI sessions in it, as Linux 6.1 lays them out."""

from __future__ import annotations

from pathlib import Path

from iscsid.devices.sysfs import Sysfs

SESSION = {
    "targetname": "iqn.2004-09.org.example:disks",
    "ifacename": "iscsid:0:3:800000000003",
    "state": "LOGGED_IN",
    "target_state": "SCANNED",
    "tpgt": "1",
}
CONNECTION = {"state": "up", "persistent_address": "192.0.2.1", "persistent_port": "3260"}


class SysfsTree:
    """``sysfs`` reads what the methods have put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sysfs = Sysfs(root)
        self._write(root / "class/iscsi_transport/tcp", {"handle": str(0xFFFF888012345678)})

    def add_session(
        self,
        sid: int,
        host_no: int,
        *,
        session: dict[str, str] = SESSION,
        connection: dict[str, str] | None = CONNECTION,
        driver: str = "iscsi_tcp",
    ) -> Path:
        """Return the session's device directory, where its SCSI target would be."""
        host = self.root / f"devices/platform/host{host_no}"
        self._write(host / f"scsi_host/host{host_no}", {"proc_name": driver, "state": "running"})
        self._link(f"class/scsi_host/host{host_no}", host / f"scsi_host/host{host_no}")
        device = host / f"session{sid}"
        directory = device / f"iscsi_session/session{sid}"
        self._write(directory, session)
        (directory / "device").symlink_to(device)
        self._link(f"class/iscsi_session/session{sid}", directory)
        if connection is not None:
            name = f"connection{sid}:0"
            self._write(device / name / "iscsi_connection" / name, connection)
            self._link(f"class/iscsi_connection/{name}", device / name / "iscsi_connection" / name)
        return device

    def add_unit(self, device: Path, host_no: int, lun: int, *nodes: str) -> Path:
        """Add a logical unit; ``nodes`` are its disk and the disk's partitions, if any."""
        unit = device / f"target{host_no}:0:0" / f"{host_no}:0:0:{lun}"
        self._write(unit, {"delete": "", "rescan": "", "timeout": "30"})
        for number, node in enumerate(nodes):
            directory = unit / "block" / nodes[0] / (node if number else "")
            self._write(directory, {"dev": f"8:{number}"})
            (directory / "holders").mkdir()
            if number:
                self._write(directory, {"partition": str(number)})
        return unit

    def _link(self, name: str, target: Path) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def _write(self, directory: Path, attributes: dict[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in attributes.items():
            (directory / name).write_text(f"{text}\n")
