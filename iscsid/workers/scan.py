"""The job of a scan: the kernel looks for logical units, and the disks get their time limit.

Each write to the scan file blocks until the kernel has asked the target, which is why a worker
does it. May touch the files of one session under /sys; nothing from the network is parsed here,
and the worker keeps its privileges because only root may write there.
"""

from __future__ import annotations

from collections.abc import Callable

from iscsid.errors import IscsidError
from iscsid.facts import ScanFinished
from iscsid.jobs import ScanJob
from iscsid.orders import Level
from iscsid.system.sysfs import ScsiDevice, Sysfs
from iscsid.workers.reporter import Reporter

_DISK = "0"
"""Peripheral device type of a direct access device (SCSI Primary Commands)."""


def scan(job: ScanJob, reporter: Reporter, sysfs: Sysfs) -> None:
    """Find new logical units, look again at the known ones, and set up the disks.

    Raises ``IscsidError`` where the kernel refuses to scan. A logical unit that vanishes in the
    meantime is not an error.
    """
    known = sysfs.devices(job.sid)
    for lun in sorted(job.luns) if job.luns is not None else (None,):
        what = "all logical units" if lun is None else f"LUN {lun}"
        reporter.doing(f"looking for {what} on host{job.host_no}")
        try:
            sysfs.scan(job.host_no, lun)
        except OSError as error:
            raise IscsidError(f"host{job.host_no} cannot be scanned: {error.strerror}") from error
    for device in known:
        # Its size may have changed; and what was first seen in an outage has none yet.
        reporter.doing(f"reading the size of LUN {device.lun} on host{job.host_no}")
        _write(device, device.rescan, reporter)
    if job.disk_command_timeout:
        for device in sysfs.devices(job.sid):
            if _is_disk(device):
                _limit_commands(device, job.disk_command_timeout, reporter)
    reporter.report(ScanFinished(job.job))


def _limit_commands(device: ScsiDevice, seconds: int, reporter: Reporter) -> None:
    _write(device, lambda: device.set_command_timeout(seconds), reporter)


def _write(device: ScsiDevice, write: Callable[[], None], reporter: Reporter) -> None:
    try:
        write()
    except OSError as error:
        reporter.say(Level.DEBUG, f"LUN {device.lun}: {error.strerror}: {error.filename}")


def _is_disk(device: ScsiDevice) -> bool:
    try:
        return (device.path / "type").read_text().strip() == _DISK
    except OSError:
        return False
