"""What threads wait for in the kernel while they hold a reference that no descriptor shows.

A scan that asks for the LUNs of a target holds one, and so does an open(2) of a device whose target
does not answer: the process has no descriptor yet. The stack of the thread shows both, with the
names of the kernel's functions. Reads /proc as root; what cannot be read explains nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from iscsid.devices.sysfs import entries, read_attribute

_SCAN_OF_SESSION = re.compile(r"\biscsi_user_scan_session\+")
_SCAN_OF_TARGET = re.compile(r"\b__scsi_scan_target\+")
"""Of the kernel's scsi_scan.c; scsi_report_lun_scan is a part of it in the compiled kernel."""
_PROBE_OF_UNIT = "scsi_probe_and_add_lun"
_OPENING = re.compile(r"\b(sd_open|sr_block_open|sg_open|st_open)\+")
"""Each of these takes its reference first, and waits then."""
_ARGUMENTS = slice(1, 3)
"""Of /proc/PID/syscall: where open(2) and openat(2) have the path."""
_LONGEST_PATH = 256


def threads_that_report_luns(process: Path) -> list[str]:
    """Return the threads of a process that wait for the answer to REPORT LUNS.

    Only then does a scan hold a reference: neither while it waits for another scan, nor while it
    asks one logical unit what it is.
    """
    found = []
    for thread, stack in _stacks(process):
        is_scanning = _SCAN_OF_TARGET.search(stack) and _SCAN_OF_SESSION.search(stack)
        if is_scanning and _PROBE_OF_UNIT not in stack:
            found.append(thread.name)
    return found


def opens_that_wait(process: Path) -> Iterator[tuple[str, str]]:
    """Yield thread and path of each open(2) of a node under /dev that has taken its reference."""
    for thread, stack in _stacks(process):
        if _OPENING.search(stack) and (path := _path_argument(thread)):
            yield thread.name, path


def _stacks(process: Path) -> Iterator[tuple[Path, str]]:
    for thread in entries(process, "task/*"):
        # Behind the name, which may have any characters; D is an uninterruptible sleep.
        state = (read_attribute(thread / "stat") or "").rpartition(")")[2].split()[:1]
        if state == ["D"]:
            yield thread, read_attribute(thread / "stack") or ""


def _path_argument(thread: Path) -> str | None:
    try:
        words = (thread / "syscall").read_text().split()[_ARGUMENTS]
        memory = os.open(thread / "mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for word in words:
            text = _text_at(memory, int(word, 16))
            if text.startswith("/dev/"):
                return text
    except ValueError:
        pass
    finally:
        os.close(memory)
    return None


def _text_at(memory: int, address: int) -> str:
    """Return the text there, empty if there is none."""
    try:
        octets, end, _ = os.pread(memory, _LONGEST_PATH, address).partition(b"\0")
    except (OSError, OverflowError):
        return ""
    return octets.decode(errors="replace") if end else ""
