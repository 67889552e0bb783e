"""The jobs that may wait for a disk: checking disk users, reading files, writing the bindings.

Each runs in a privileged worker, because the daemon itself must not wait for a disk that only the
daemon can bring back (``process.disk_work``). Touches what ``devices.disk_users``,
``process.files`` and ``process.bindings_file`` touch.
"""

from __future__ import annotations

from typing import Any

from iscsid.devices.disk_users import find_users
from iscsid.devices.sysfs import ScsiDevice, Sysfs
from iscsid.facts import (
    BindingsNotRead,
    BindingsNotSaved,
    BindingsRead,
    BindingsSaved,
    BindingsWritten,
    DisksChecked,
    FileContents,
    FilesRead,
    LunUsers,
)
from iscsid.jobs import CheckDisksJob, FileStamp, ReadFilesJob, SaveBindingsJob
from iscsid.process.bindings_file import LONGEST, BindingsFile
from iscsid.process.files import LONGEST_TEXT, read_file
from iscsid.workers.codec import (
    Codec,
    Malformed,
    fields,
    flag,
    number,
    optional,
    record,
    seconds,
    several,
    text,
)
from iscsid.workers.messages import LUN
from iscsid.workers.reporter import Reporter

_MOST_SESSIONS = 65536
_MOST_USES = 100
"""Uses of one LUN that are reported: one is enough to keep it."""
_PATH = text(4096)
_LINE = text(5000)
_SID = number(0, 2**32 - 1)
_LARGE = number(0, 2**64 - 1)


def _octets(most: int) -> Codec[bytes]:
    """Any octets, each as one character, which is half as long as in hexadecimal."""
    inner = text(most)

    def read(found: object) -> bytes:
        try:
            return inner.read(found).encode("latin-1")
        except UnicodeEncodeError:
            raise Malformed("not octets") from None

    return Codec(lambda value: value.decode("latin-1"), read)


def _file_text(most: int) -> Codec[str]:
    """A text that may hold octets that are not UTF-8."""
    inner = _octets(most)
    return Codec(
        lambda value: inner.write(value.encode("utf-8", "surrogateescape")),
        lambda found: inner.read(found).decode("utf-8", "surrogateescape"),
    )


_BINDINGS = _file_text(LONGEST)
_STAMP = optional(record(FileStamp, inode=_LARGE, size=_LARGE, modified=_LARGE, changed=_LARGE))
_CONTENTS = record(
    FileContents,
    path=_PATH,
    octets=_octets(LONGEST_TEXT),
    mode=_LARGE,
    owner=_LARGE,
    is_missing=flag(),
    error=_LINE,
)
_RESULTS: dict[str, Codec[Any]] = {
    "read": record(BindingsRead, text=_BINDINGS, remarks=several(_LINE, 10)),
    "not read": record(BindingsNotRead, reason=_LINE),
    "saved": record(BindingsSaved),
    "not saved": record(BindingsNotSaved, reason=_LINE),
}
_NAMES: dict[type, str] = {
    BindingsRead: "read",
    BindingsNotRead: "not read",
    BindingsSaved: "saved",
    BindingsNotSaved: "not saved",
}
_BindingsResult = BindingsRead | BindingsNotRead | BindingsSaved | BindingsNotSaved


def _bindings_result() -> Codec[Any]:
    def write(value: _BindingsResult) -> object:
        name = _NAMES[type(value)]
        return [name, _RESULTS[name].write(value)]

    def read(found: object) -> _BindingsResult:
        if not isinstance(found, list) or len(found) != 2 or found[0] not in _RESULTS:
            raise Malformed("no result for the bindings")
        result: _BindingsResult = _RESULTS[found[0]].read(found[1])
        return result

    return Codec(write, read)


# Rows of ``job_kinds.KINDS``: the fields of the jobs, and those of their facts.
CHECK_DISKS: dict[str, Codec[Any]] = {"sids": several(_SID, _MOST_SESSIONS), "deadline": seconds()}
READ_FILES: dict[str, Codec[Any]] = {
    "config": _PATH,
    "initiatorname": _PATH,
    "bindings": _PATH,
    "deadline": seconds(),
}
SAVE_BINDINGS: dict[str, Codec[Any]] = {
    "path": _PATH,
    "text": _BINDINGS,
    "keep_copy": flag(),
    "stamp": _STAMP,
    "deadline": seconds(),
}
DISKS_CHECKED = fields(
    luns=several(
        record(LunUsers, sid=_SID, lun=LUN, uses=several(_LINE, _MOST_USES)), _MOST_SESSIONS * 4
    )
)
FILES_READ = fields(
    config=_CONTENTS, initiatorname=_CONTENTS, bindings=_bindings_result(), stamp=_STAMP
)
BINDINGS_WRITTEN = fields(result=_bindings_result(), stamp=_STAMP)


def check_disks(job: CheckDisksJob, reporter: Reporter) -> None:
    """Find out what uses the disks of the sessions; a session that is gone has none."""
    sysfs = Sysfs()
    luns: list[tuple[int, ScsiDevice]] = []
    for sid in job.sids:
        luns += ((sid, device) for device in sysfs.devices(sid))
    users = find_users(sysfs, [device for _, device in luns])
    found = zip(luns, users, strict=True)
    reporter.report(
        DisksChecked(job.id, tuple(LunUsers(sid, lun.lun, uses) for (sid, lun), uses in found))
    )


def read_files(job: ReadFilesJob, reporter: Reporter) -> None:
    """Read the configuration, the initiator's name and the bindings."""
    bindings = BindingsFile(job.bindings)
    reporter.report(
        FilesRead(
            job.id,
            read_file(job.config),
            read_file(job.initiatorname),
            bindings.read(),
            bindings.stamp,
        )
    )


def save_bindings(job: SaveBindingsJob, reporter: Reporter) -> None:
    """Replace the bindings file, unless it was changed by another."""
    bindings = BindingsFile(job.path, job.stamp)
    result = bindings.save(job.text, job.keep_copy)
    reporter.report(BindingsWritten(job.id, result, bindings.stamp))
