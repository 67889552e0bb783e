"""What one does with a disk: partition, make a file system, mount, write, read back."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import PATIENCE

MEGABYTE = 1 << 20


def run(*command: str | Path, text: str | None = None) -> str:
    """Run a command; return its output, or fail with all that it printed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=2 * PATIENCE)
    output = done.stdout + done.stderr
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}: status {done.returncode}\n{output}"
    )
    return done.stdout


def make_file(path: Path, megabytes: int) -> Path:
    """Make a sparse file to export as a disk."""
    with path.open("xb") as file:
        file.truncate(megabytes * MEGABYTE)
    return path


@contextmanager
def mounted(device: Path, directory: Path) -> Iterator[Path]:
    """Mount ``device`` on ``directory`` for as long as the block lasts."""
    directory.mkdir(exist_ok=True)
    run("mount", device, directory)
    try:
        yield directory
    finally:
        run("umount", directory)


def make_file_system(device: Path) -> None:
    run("mkfs.ext4", "-q", "-F", device)


def write_pattern(path: Path, megabytes: int, seed: str) -> str:
    """Fill a file with bytes that follow from ``seed``, down to the disk; return their checksum."""
    block = hashlib.shake_256(seed.encode()).digest(MEGABYTE)
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(number.to_bytes(8, "big") + block[8:])
    run("sync", "-f", path)
    return checksum(path)


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_cache(device: Path) -> None:
    """Make the next read of a device come from the disk."""
    run("blockdev", "--flushbufs", device)


def write_then_read_back(device: Path, directory: Path, megabytes: int = 4) -> None:
    """Make a file system on ``device``, fill a file, and find it whole after another mount."""
    make_file_system(device)
    with mounted(device, directory) as root:
        written = write_pattern(root / "pattern", megabytes, seed=str(device))
    forget_cache(device)
    with mounted(device, directory) as root:
        assert checksum(root / "pattern") == written, f"{device} gave back other bytes"


def partition(device: Path, sizes: list[str]) -> None:
    """Write a partition table with one partition of each size, ``32M`` for instance."""
    run("sfdisk", "--quiet", device, text="".join(f",{size}\n" for size in sizes))
    run("udevadm", "settle", "--timeout=60")


def write_at_start(device: Path, octets: bytes) -> None:
    """Write to the first block of a device, down to the disk."""
    with device.open("r+b") as file:
        file.write(octets)
    forget_cache(device)


def read_start(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def assert_starts_with(file: Path, octets: bytes) -> None:
    """Look into the file behind a logical unit."""
    found = read_start(file, len(octets))
    assert found == octets, f"{file} begins with {found!r}, not with {octets!r}"
