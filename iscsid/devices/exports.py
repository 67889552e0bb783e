"""The disks that the kernel itself exports: by LIO and by NVMe over fabrics.

Such an opening is shown neither in a process nor as a holder, but in the configuration of the
exporting driver, which is under /sys/kernel/config if configfs is mounted. Touches this alone, and
the status of nodes under /dev.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from iscsid.devices.nodes import number_at
from iscsid.devices.sysfs import entries, read_attribute

_CONFIGFS = "kernel/config"
_NUMBER = re.compile(r"^\s*Major: (\d+) Minor: (\d+)\s", re.MULTILINE)
"""Of the block device that a backstore of kind iblock has open."""
_FILE = re.compile(r"\sFile: (/dev/\S+)  Size: ")
"""What a backstore of kind fileio has open: it may be a block device."""


def exports(root: Path) -> Iterator[tuple[str, str]]:
    """Yield number (``8:0``) and name of each block device that is exported; ``root`` is /sys."""
    for backstore in entries(root, f"{_CONFIGFS}/target/core/*_*/*"):
        info = read_attribute(backstore / "info") or ""
        if read_attribute(backstore / "enable") != "1":
            continue
        name = f"{backstore.parent.name}/{backstore.name}"
        if match := _NUMBER.search(info):
            yield f"{match[1]}:{match[2]}", name
        elif (match := _FILE.search(info)) and (number := _number_of_node(match[1])):
            yield number, name
    for namespace in entries(root, f"{_CONFIGFS}/nvmet/subsystems/*/namespaces/*"):
        if read_attribute(namespace / "enable") == "1":
            number = _number_of_node(read_attribute(namespace / "device_path") or "")
            if number:
                yield number, f"{namespace.parent.parent.name}/{namespace.name}"


def _number_of_node(path: str) -> str | None:
    """Return the number of what was opened by ``path``, ``None`` if that is not certain.

    A link may have led to another disk at that time. A node may not: as long as a disk is open, no
    other gets its name.
    """
    return number_at(path) if os.path.realpath(path) == path else None
