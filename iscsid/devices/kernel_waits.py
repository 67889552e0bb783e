"""Whether a thread waits in the kernel for the answer to REPORT LUNS.

A scan that asks for the LUNs of a target holds a reference meanwhile, which no descriptor shows.
The stack of the thread shows it, with the names of the kernel's functions. Reads /proc as root;
what cannot be read explains nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from iscsid.devices.sysfs import entries, read_attribute

_SCAN_OF_SESSION = re.compile(r"\biscsi_user_scan_session\+")
_SCAN_OF_TARGET = re.compile(r"\b__scsi_scan_target\+")
"""Of the kernel's scsi_scan.c; scsi_report_lun_scan is a part of it in the compiled kernel."""
_PROBE_OF_UNIT = "scsi_probe_and_add_lun"


def threads_that_report_luns(process: Path) -> list[str]:
    """Return the threads of a process that wait for the answer to REPORT LUNS.

    Only then does a scan hold a reference: neither while it waits for another scan, nor while it
    asks one logical unit what it is.
    """
    found = []
    for thread in entries(process, "task/*"):
        stack = read_attribute(thread / "stack") or ""
        is_scanning = _SCAN_OF_TARGET.search(stack) and _SCAN_OF_SESSION.search(stack)
        if is_scanning and _PROBE_OF_UNIT not in stack:
            found.append(thread.name)
    return found
