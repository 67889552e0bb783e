"""What the tests of the package share: the package, an image with it, targets outside of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid import __version__
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.packaging.machine import OUTSIDE
from tests.packaging.pdu_relay import PduRelay
from tests.packaging.readme import commands
from tests.packaging.root_image import Root, build_package, write_initrd
from tests.vm import disks

VERSION = __version__
HIGHER = "4.0.1"


@pytest.fixture(scope="session")
def package() -> Path:
    return build_package(VERSION)


@pytest.fixture(scope="session")
def higher_package() -> Path:
    return build_package(HIGHER)


class Installation:
    """A Debian with the package in it and nothing configured, as an image."""

    def __init__(self, directory: Path, package: Path, *others: Path) -> None:
        self.directory = directory
        root = Root(directory)
        root.bring(package)
        for other in others:
            root.bring(other)
        root.shell(commands("Install")[-1])
        self.image = root.image()
        self.initrd = directory / "initrd"
        write_initrd(self.initrd)


class Targets:
    """tgtd on loopback, and a target for each name, behind a relay each.

    The LUNs are files, the third of a target with a partition.
    """

    def __init__(self, directory: Path, luns: dict[str, int]) -> None:
        self.directory = directory
        self.tgtd = LiveTgtd()
        self.relays: dict[str, PduRelay] = {}
        portal = self.tgtd.portal
        for name, count in luns.items():
            files = {number: self.file(name, number) for number in range(1, count + 1)}
            for file in files.values():
                with file.open("wb") as stream:
                    stream.truncate(32 << 20)
                if file == files.get(3):
                    disks.run("/sbin/sfdisk", "--quiet", file, text="1M,\n")
            self.tgtd.add_target(self.full_name(name), files)
            self.relays[name] = PduRelay((portal.host, portal.port))

    @staticmethod
    def full_name(name: str) -> str:
        return f"iqn.2026-01.org.example:{name}"

    def file(self, name: str, lun: int) -> Path:
        return self.directory / f"{name}-{lun}"

    @property
    def configuration(self) -> str:
        return "".join(
            f"TargetName={self.full_name(name)}\n    Address={OUTSIDE}:{relay.port}\n"
            for name, relay in self.relays.items()
        )

    def fsck(self, name: str, lun: int, *, offset: int = 0) -> str:
        """Return what is wrong with a file system on a LUN, empty if it is clean."""
        target = f"{self.file(name, lun)}?offset={offset}"
        done = subprocess.run(
            ["/sbin/e2fsck", "-f", "-n", target], capture_output=True, text=True, timeout=60
        )
        state = subprocess.run(
            ["/sbin/dumpe2fs", "-h", target], capture_output=True, text=True, timeout=60
        ).stdout
        unclean = "" if "Filesystem state:         clean\n" in state else state
        recovery = state if "needs_recovery" in state else ""
        return unclean + recovery + (done.stdout + done.stderr if done.returncode else "")

    def read(self, name: str, lun: int, path: str, *, offset: int = 0) -> str:
        """Return the content of a file in a file system on a LUN."""
        command = ["/sbin/debugfs", "-R", f"cat {path}", f"{self.file(name, lun)}?offset={offset}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    def stop(self) -> None:
        self.tgtd.stop()
        for relay in self.relays.values():
            relay.refuse()


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    targets = Targets(tmp_path_factory.mktemp("targets"), {"clean": 3, "dead": 1, "held": 1})
    yield targets
    targets.stop()
