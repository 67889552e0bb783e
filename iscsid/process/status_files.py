"""/run/iscsid/status.json and /run/iscsid/devices: written when something has changed.

A reader finds a whole file, the old one or the new one. They are not written at every fact: not
more often than once a second, nor so often that it costs more than a few per cent of the daemon's
time. Touches its directory, and reads /sys for what the initiator does not know: sizes.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from iscsid.devices.device_paths import session_at
from iscsid.devices.lun_details import luns, parameters
from iscsid.devices.sysfs import Sysfs
from iscsid.facts import (
    DeviceAppeared,
    DeviceVanished,
    Fact,
    UnitAttentionReported,
    WorkerEnded,
)
from iscsid.jobs import JobId, ScanJob
from iscsid.status.devices_file import format_devices
from iscsid.status.model import LunStatus, SessionStatus, Status, join_json, session_json

STATUS, DEVICES = "status.json", "devices"
REST = 1.0
"""Seconds at least between two writes."""
SLICE = 0.01
"""Seconds of one turn of the loop that are spent on the files."""
RETRY = 10.0
"""Seconds after a failure until the next attempt."""
LOOK = 30.0
"""Seconds between two looks whether the files are still there: /run may be emptied or mounted."""
SHARE = 20
"""After a write as many times its duration passes before the next."""


def directory_for(pidfile: str) -> str:
    """Return where the files of the daemon with this pid file are: /run/iscsid by default."""
    return pidfile.removesuffix(".pid") if pidfile.endswith(".pid") else f"{pidfile}.d"


@dataclass(frozen=True, slots=True)
class _Shown:
    """A session as the initiator described it, with what /sys knows, and as text."""

    described: SessionStatus
    complete: SessionStatus
    text: str


class StatusFiles:
    """The two files in ``directory``. No method raises.

    What is unchanged of a session is neither read nor made into text again, and what is changed is
    done in slices, so that a thousand sessions hold up the loop no longer than one.
    """

    def __init__(self, directory: str, sysfs: Sysfs | None = None) -> None:
        self._directory = directory
        self._sysfs = sysfs or Sysfs()
        self._is_due = False
        self._not_before = 0.0
        self._look_at = math.inf
        """When to look whether they are there; not before they were written first."""
        self._has_failed = False
        self._shown: dict[str, _Shown] = {}
        self._changed: set[int] = set()
        """Sessions whose LUNs may have changed, by sid."""
        self._scans: dict[JobId, int] = {}
        self._status: Status | None = None
        """The one that is being written."""
        self._done: list[_Shown] = []
        self._spent = 0.0

    def note_scan(self, job: ScanJob) -> None:
        """A scan has begun: when it ends, there may be other LUNs."""
        self._scans[job.id] = job.sid

    def note_change(self, fact: Fact | None = None) -> None:
        """Something may have changed: the files are to be written soon."""
        self._is_due = True
        match fact:
            case DeviceAppeared(device):
                self._changed.add(device.sid)
            case DeviceVanished(path):
                if (sid := session_at(path)) is not None:
                    self._changed.add(sid)
            case UnitAttentionReported(sid):
                self._changed.add(sid)
            case WorkerEnded(job_id) if job_id in self._scans:
                self._changed.add(self._scans.pop(job_id))

    def deadline(self) -> float | None:
        """Return when ``write`` must be called (monotonic), ``None`` if nothing has changed."""
        if self._status is not None:
            return 0.0
        return self._not_before if self._is_due else None

    def look_deadline(self) -> float | None:
        """Return when ``look`` must be called (monotonic)."""
        return None if self._look_at == math.inf else self._look_at

    def look(self) -> None:
        """Let files that are gone be written again."""
        self._look_at = time.monotonic() + LOOK
        names = (STATUS, DEVICES)
        self._is_due |= not all(os.path.lexists(f"{self._directory}/{name}") for name in names)

    def write(self, make_status: Callable[[], Status], slice_seconds: float = math.inf) -> str:
        """Write both files, or go on with that for ``slice_seconds``.

        Return a line for the log: that it failed, once, and that it has worked again after that.
        While ``deadline`` is in the past, there is more to do.
        """
        start = time.monotonic()
        reason = ""
        try:
            if self._status is None:
                self._is_due = False
                self._status, self._done, self._spent = make_status(), [], 0.0
            if self._prepare_sessions(self._status, start + slice_seconds):
                status, self._status = self._status, None
                self._shown = {each.described.label: each for each in self._done}
                self._put_files(status, self._done)
        except OSError as error:
            self._status, self._is_due = None, True
            reason = f"{self._directory}: {error.strerror or error}"
        end = time.monotonic()
        self._spent += end - start
        if self._status is not None:
            return ""
        self._look_at = end + LOOK
        self._not_before = end + max(RETRY if reason else REST, SHARE * self._spent)
        had_failed, self._has_failed = self._has_failed, bool(reason)
        if had_failed == self._has_failed:
            return ""
        return f"the status is not written: {reason}" if reason else "the status is written again"

    def _prepare_sessions(self, status: Status, until: float) -> bool:
        """Go on with the sessions until a time; return whether all are done."""
        for session in status.sessions[len(self._done) :]:
            shown = self._shown.get(session.label)
            if shown is None or shown.described != session or session.sid in self._changed:
                if session.sid is not None:
                    self._changed.discard(session.sid)
                complete = self._with_details(session)
                shown = _Shown(session, complete, session_json(complete))
            self._done.append(shown)
            if time.monotonic() >= until:
                return len(self._done) == len(status.sessions)
        return True

    def _put_files(self, status: Status, shown: list[_Shown]) -> None:
        self._prepare()
        self._put(STATUS, join_json(status, (each.text for each in shown)))
        complete = replace(status, sessions=[each.complete for each in shown])
        self._put(DEVICES, format_devices(complete))

    def remove(self) -> None:
        """Remove the files at the end: they would be taken for the present state."""
        try:
            self._check_directory()
        except OSError:
            return
        for name in (STATUS, DEVICES):
            with suppress(OSError):
                os.unlink(f"{self._directory}/{name}")
        with suppress(OSError):
            os.rmdir(self._directory)

    def _with_details(self, session: SessionStatus) -> SessionStatus:
        """Add what only /sys knows."""
        if session.sid is None:
            return session
        linked = {unit.lun: unit for unit in session.luns}
        seen = {unit.lun: unit for unit in luns(self._sysfs, session.sid)}
        merged = [_merged(linked.get(lun), seen.get(lun)) for lun in sorted(linked | seen)]
        # An adopted session: an earlier daemon has negotiated it.
        negotiated = session.negotiated or parameters(self._sysfs, session.sid)
        return replace(session, luns=merged, negotiated=negotiated)

    def _prepare(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._directory, 0o755)
            os.chmod(self._directory, 0o755)
        self._check_directory()

    def _check_directory(self) -> None:
        """Raise ``OSError`` if another user could exchange what is in the directory, or itself."""
        found = os.lstat(self._directory)
        if stat.S_ISLNK(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "a symbolic link, which is not followed")
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "another user may write to it; remove it")

    def _put(self, name: str, text: str) -> None:
        """Replace a file. It need not survive a crash of the machine: /run does not, either."""
        path, new = f"{self._directory}/{name}", f"{self._directory}/.{name}.new"
        # Whatever lies there is not opened: a pipe would make the daemon wait for its reader.
        with suppress(FileNotFoundError):
            os.unlink(new)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o644)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            os.fchmod(descriptor, 0o644)
            file.write(text)
        os.rename(new, path)


def _merged(linked: LunStatus | None, seen: LunStatus | None) -> LunStatus:
    """Return the details of ``seen`` with the links of ``linked``, and those still to come."""
    if seen is None:
        assert linked is not None
        return linked
    known = linked or LunStatus(lun=seen.lun)
    return replace(
        seen,
        links=known.links,
        replaced=known.replaced,
        gone=known.gone,
        permitted=known.permitted,
        unlinked=sorted(seen.links.keys() - known.links.keys()) if known.may_have_links else [],
    )
