"""istgt, Debian's other target in user space: another code base, and full of quirks."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iscsid.protocol.names import Portal
from tests.loopback.ports import accepts, free_port
from tests.support.patience import wait_until
from tests.vm.lio import Account

NODE_BASE = "iqn.2024-01.org.example"


@dataclass(frozen=True)
class Unit:
    """One target of istgt's; ``authentication`` and ``digest`` are in its own words."""

    name: str
    authentication: str = "None"
    digest: str = "Auto"

    @property
    def target_name(self) -> str:
        return f"{NODE_BASE}:{self.name}"


class Istgt:
    """One istgt, with its units in two portal groups; ``account`` may log in with CHAP.

    Like all its settings, who may discover is set once: None, Auto, CHAP or CHAP Mutual.
    """

    def __init__(self, units: Sequence[Unit], account: Account, discovery: str = "Auto") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="istgt-")
        self.path = Path(self._directory.name)
        self.portal = Portal("127.0.0.1", free_port())
        self.second_portal = Portal("127.0.0.1", free_port())
        self._write_files(units, account, discovery)
        command = ["istgt", "-c", str(self.path / "istgt.conf"), "-p", str(self.path / "pid")]
        with (self.path / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-D", "-m", "1"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for portal in (self.portal, self.second_portal):
            wait_until(lambda: self._has_ended() or accepts(portal.port), self._describe)  # noqa: B023
        assert not self._has_ended(), self._describe()

    def _has_ended(self) -> bool:
        return self._process.poll() is not None

    def _describe(self) -> str:
        return f"istgt does not listen:\n{(self.path / 'log').read_text(errors='replace')}"

    def stop(self) -> None:
        """End it at once; every connection breaks."""
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def _write_files(self, units: Sequence[Unit], account: Account, discovery: str) -> None:
        secrets = f'"{account.user}" "{account.password}"'
        if account.mutual_user:
            secrets += f' "{account.mutual_user}" "{account.mutual_password}"'
        self._write("auth.conf", "[AuthGroup1]", f"Auth {secrets}")
        (self.path / "auth.conf").chmod(0o600)
        lines = [
            "[Global]",
            f'NodeBase "{NODE_BASE}"',
            f"PidFile {self.path / 'pid'}",
            f"AuthFile {self.path / 'auth.conf'}",
            f"MediaDirectory {self.path}",
            f"DiscoveryAuthMethod {discovery}",
            "DiscoveryAuthGroup AuthGroup1",
            "MaxSessions 64",
            "[UnitControl]",
            "AuthMethod Auto",
            "AuthGroup AuthGroup1",
            f"Portal UC1 127.0.0.1:{free_port()}",
            "Netmask 127.0.0.1",
            "[PortalGroup1]",
            f"Portal DA1 {self.portal}",
            "[PortalGroup2]",
            f"Portal DA2 {self.second_portal}",
            "[InitiatorGroup1]",
            'InitiatorName "ALL"',
            "Netmask 127.0.0.0/8",
        ]
        for number, unit in enumerate(units, start=1):
            lines += self._unit(number, unit)
        self._write("istgt.conf", *lines)

    def _unit(self, number: int, unit: Unit) -> list[str]:
        return [
            f"[LogicalUnit{number}]",
            f"TargetName {unit.name}",
            f'TargetAlias "{unit.name} of istgt"',
            "Mapping PortalGroup1 InitiatorGroup1",
            "Mapping PortalGroup2 InitiatorGroup1",
            f"AuthMethod {unit.authentication}",
            "AuthGroup AuthGroup1",
            f"UseDigest {unit.digest}",
            "UnitType Disk",
            f"LUN0 Storage {self.path / unit.name} 16MB",
        ]

    def _write(self, name: str, *lines: str) -> None:
        (self.path / name).write_text("".join(f"{line}\n" for line in lines))
