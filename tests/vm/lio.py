"""LIO, the kernel's own target, set up by hand in configfs.

Strict where tgtd is lenient. Works in the emulated machine only, as root: tests that need it are
marked ``needs_lio``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TARGET = Path("/sys/kernel/config/target")
ISCSI = TARGET / "iscsi"
FILEIO = TARGET / "core" / "fileio_0"


@dataclass(frozen=True)
class Account:
    """A CHAP name and secret, and those by which the target proves itself."""

    user: str
    password: str
    mutual_user: str = ""
    mutual_password: str = ""


@dataclass
class Lio:
    """Targets on ``portals``, each with one target portal group, or a second on ``others``."""

    portals: tuple[str, ...] = ("127.0.0.1:3260",)
    others: tuple[str, ...] = ()
    _names: list[str] = field(default_factory=list)
    _disks: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        is_a_process = "User Mode Linux" in Path("/proc/cpuinfo").read_text()
        assert not is_a_process, "the test is not marked needs_lio"

    @property
    def address(self) -> str:
        return self.portals[0]

    def add_target(
        self,
        name: str,
        luns: Mapping[int, Path],
        *,
        account: Account | None = None,
        open_to_all: bool = True,
        initiator: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Export the files ``luns``; without ``open_to_all`` no initiator may log in but one.

        ``initiator`` is that one's name, ``parameters`` are operational keys by their names in the
        standard, HeaderDigest for one.
        """
        self._names.append(name)
        for number, portals in enumerate(filter(None, (self.portals, self.others)), 1):
            group = ISCSI / name / f"tpgt_{number}"
            group.mkdir(parents=True)
            self._set_attributes(group, open_to_all=open_to_all, account=account)
            for key, value in (parameters or {}).items():
                (group / "param" / key).write_text(value)
            for portal in portals:
                (group / "np" / portal).mkdir()
            if initiator:
                (group / "acls" / initiator).mkdir()
        for lun, file in luns.items():
            self.add_lun(name, lun, file)
        for group in self._groups(name):
            (group / "enable").write_text("1")

    def _groups(self, name: str) -> list[Path]:
        return sorted((ISCSI / name).glob("tpgt_*"))

    def _set_attributes(self, group: Path, *, open_to_all: bool, account: Account | None) -> None:
        attributes = {
            "generate_node_acls": int(open_to_all),
            "cache_dynamic_acls": int(open_to_all),
            "demo_mode_write_protect": 0,
            "demo_mode_discovery": 1,
            "authentication": int(account is not None),
        }
        for attribute, value in attributes.items():
            (group / "attrib" / attribute).write_text(str(value))
        if account is not None:
            (group / "param" / "AuthMethod").write_text("CHAP")
            (group / "auth" / "userid").write_text(account.user)
            (group / "auth" / "password").write_text(account.password)
            (group / "auth" / "userid_mutual").write_text(account.mutual_user)
            (group / "auth" / "password_mutual").write_text(account.mutual_password)

    def add_lun(self, name: str, lun: int, file: Path, *, serial: str = "") -> None:
        """Export one file more as logical unit ``lun`` of a target; ``serial`` is a UUID."""
        disk = FILEIO / f"disk{len(self._disks)}"
        disk.mkdir(parents=True)
        self._disks.append(disk)
        (disk / "control").write_text(f"fd_dev_name={file},fd_dev_size={file.stat().st_size}")
        (disk / "enable").write_text("1")
        if serial:
            (disk / "wwn" / "vpd_unit_serial").write_text(serial)
        for group in self._groups(name):
            unit = group / "lun" / f"lun_{lun}"
            unit.mkdir()
            (unit / "backend").symlink_to(disk)
            for initiator in group.glob("acls/*"):
                (initiator / f"lun_{lun}").mkdir()
                (initiator / f"lun_{lun}" / "unit").symlink_to(unit)

    def remove_lun(self, name: str, lun: int) -> None:
        for group in self._groups(name):
            unit = group / "lun" / f"lun_{lun}"
            (unit / "backend").unlink()
            unit.rmdir()

    def remove_target(self, name: str) -> None:
        """Close the target's sessions and forget it; its files stay."""
        for group in self._groups(name):
            (group / "enable").write_text("0")
            # In this order: what an initiator may use goes before the logical unit itself.
            for pattern in ("acls/*/lun_*/unit", "lun/lun_*/backend"):
                for link in group.glob(pattern):
                    link.unlink()
            for pattern in ("acls/*/lun_*", "lun/lun_*", "np/*", "acls/*"):
                for directory in group.glob(pattern):
                    directory.rmdir()
            group.rmdir()
        (ISCSI / name).rmdir()
        self._names.remove(name)

    def stop(self) -> None:
        """Remove everything that was made here."""
        for name in list(self._names):
            self.remove_target(name)
        for disk in self._disks:
            disk.rmdir()
        self._disks.clear()
