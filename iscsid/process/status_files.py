"""/run/iscsid/status.json and /run/iscsid/devices: written when something has changed.

A reader finds a whole file, the old one or the new one. They are not written at every fact: not
more often than once a second, nor so often that it costs more than a few per cent of the daemon's
time. Touches its directory, and reads /sys for what the initiator does not know: sizes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from iscsid.devices.lun_details import luns, parameters
from iscsid.devices.sysfs import Sysfs
from iscsid.status.devices_file import format_devices
from iscsid.status.model import LunStatus, SessionStatus, Status, to_json

STATUS, DEVICES = "status.json", "devices"
REST = 1.0
"""Seconds at least between two writes."""
SHARE = 20
"""After a write as many times its duration passes before the next."""


def directory_for(pidfile: str) -> str:
    """Return where the files of the daemon with this pid file are: /run/iscsid by default."""
    return pidfile.removesuffix(".pid") if pidfile.endswith(".pid") else f"{pidfile}.d"


class StatusFiles:
    """The two files in ``directory``. No method raises."""

    def __init__(self, directory: str, sysfs: Sysfs | None = None) -> None:
        self._directory = directory
        self._sysfs = sysfs or Sysfs()
        self._is_due = False
        self._not_before = 0.0
        self._has_failed = False

    def note_change(self) -> None:
        """Something may have changed: the files are to be written soon."""
        self._is_due = True

    def deadline(self) -> float | None:
        """Return when the files are to be written (monotonic), ``None`` if nothing has changed."""
        return self._not_before if self._is_due else None

    def write(self, make_status: Callable[[], Status]) -> str:
        """Write both files now; return why that failed, once until it has worked again."""
        start = time.monotonic()
        self._is_due = False
        reason = ""
        try:
            status = self._complete(make_status())
            self._prepare()
            self._put(STATUS, to_json(status))
            self._put(DEVICES, format_devices(status))
        except OSError as error:
            reason = f"{self._directory}: {error.strerror or error}"
        end = time.monotonic()
        self._not_before = end + max(REST, SHARE * (end - start))
        is_news, self._has_failed = not self._has_failed, bool(reason)
        return reason if is_news else ""

    def remove(self) -> None:
        """Remove the files at the end: they would be taken for the present state."""
        for name in (STATUS, DEVICES):
            with suppress(OSError):
                os.unlink(f"{self._directory}/{name}")
        with suppress(OSError):
            os.rmdir(self._directory)

    def _complete(self, status: Status) -> Status:
        return replace(status, sessions=[self._with_details(each) for each in status.sessions])

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

    def _put(self, name: str, text: str) -> None:
        """Replace a file. It need not survive a crash of the machine: /run does not, either."""
        path, new = f"{self._directory}/{name}", f"{self._directory}/.{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
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
