"""The job of a scan: the kernel looks for logical units, and the disks get their time limit.

The kernel finds new logical units, but never removes one: which have gone is found out here, and
those that are not in use are removed. Each step blocks until the target has answered, which is why
a worker does it. May touch the files of one session under /sys, and its SCSI generic devices. The
worker keeps its privileges because only root may write there; of the target's answers it looks at
nothing but an octet that shows whether there is a unit, and a sense code.
"""

from __future__ import annotations

from collections.abc import Callable

from iscsid.config.values import format_luns
from iscsid.devices.scsi_generic import is_there
from iscsid.devices.sysfs import ScsiDevice, Sysfs
from iscsid.errors import IscsidError
from iscsid.facts import ScanFinished
from iscsid.jobs import ScanJob
from iscsid.orders import Level
from iscsid.protocol.scsi import kernel_luns
from iscsid.workers.reporter import Reporter

_DISK = "0"
"""Peripheral device type of a direct access device (SCSI Primary Commands)."""


Ask = Callable[[str], bool | None]
"""Whether the unit of a generic node is there; ``None``: not known."""


def run_scan(job: ScanJob, reporter: Reporter) -> None:
    """Do the job."""
    scan(job, reporter, Sysfs())


def scan(job: ScanJob, reporter: Reporter, sysfs: Sysfs, ask: Ask = is_there) -> None:
    """Find new logical units, look again at the known ones, and set up the disks.

    Raises ``IscsidError`` if the kernel refuses to scan. A logical unit that vanishes in the
    meantime is not an error.
    """
    for device in sysfs.devices(job.sid):
        if device.lun in job.drop and not _is_there(device, reporter, ask):
            reporter.progress(f"removing LUN {device.lun} on host{job.host_no}")
            _write(device, device.delete, reporter)
    known = sysfs.devices(job.sid)
    absent: list[int] = []
    if job.luns is None:
        _look_for(None, job, reporter, sysfs)
    else:
        absent = [lun for lun in sorted(job.luns) if not _find(lun, job, reporter, sysfs)]
    missing = []
    for device in known:
        if _is_there(device, reporter, ask):
            _look_again(device, reporter)
        else:
            missing.append(device.lun)
    if job.disk_command_timeout:
        for device in sysfs.devices(job.sid):
            if _is_disk(device):
                _limit_commands(device, job.disk_command_timeout, reporter)
    reporter.report(ScanFinished(job.id, tuple(missing), format_luns(frozenset(absent))))


def _find(lun: int, job: ScanJob, reporter: Reporter, sysfs: Sysfs) -> bool:
    """Look for one LUN of the array, in each way in which it may be addressed."""
    for number in kernel_luns(lun):
        _look_for(number, job, reporter, sysfs)
        if any(device.lun == number for device in sysfs.devices(job.sid)):
            return True
    return False


def _look_for(number: int | None, job: ScanJob, reporter: Reporter, sysfs: Sysfs) -> None:
    what = "all logical units" if number is None else f"LUN {number}"
    reporter.progress(f"looking for {what} on host{job.host_no}")
    if sysfs.host_no(job.sid) != job.host_no:
        # The host number of a session that has ended may be another session's by now.
        raise IscsidError(f"session {job.sid} on host{job.host_no} has ended")
    try:
        sysfs.scan(job.host_no, number)
    except OSError as error:
        raise IscsidError(f"host{job.host_no} cannot be scanned: {error.strerror}") from error


def _is_there(device: ScsiDevice, reporter: Reporter, ask: Ask) -> bool:
    """Whether the target has this logical unit, or may have it."""
    reporter.progress(f"asking whether LUN {device.lun} is there")
    node = device.generic_node()
    return node is None or ask(node) is not False


def _look_again(device: ScsiDevice, reporter: Reporter) -> None:
    """Read size and identity: both may have changed, or not have been known in an outage.

    The kernel reports another size to udev itself, another identity it does not.
    """
    reporter.progress(f"reading the size of LUN {device.lun}")
    before = device.identity()
    _write(device, device.rescan, reporter)
    if device.identity() != before:
        _write(device, device.announce, reporter)


def _limit_commands(device: ScsiDevice, seconds: int, reporter: Reporter) -> None:
    _write(device, lambda: device.set_command_timeout(seconds), reporter)


def _write(device: ScsiDevice, write: Callable[[], None], reporter: Reporter) -> None:
    try:
        write()
    except OSError as error:
        reporter.log(Level.DEBUG, f"LUN {device.lun}: {error.strerror}: {error.filename}")


def _is_disk(device: ScsiDevice) -> bool:
    try:
        return (device.path / "type").read_text().strip() == _DISK
    except OSError:
        return False
