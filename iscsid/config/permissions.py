"""Who may read a file that holds secrets. Pure: mode and owner come in as numbers.

Linux-iSCSI once installed /etc/iscsi.conf readable by everybody.
"""

from __future__ import annotations

import stat
from shlex import quote

from iscsid.config.complaints import Complaint

ROOT = 0


def check_permissions(
    mode: int, uid: int, has_secrets: bool, filename: str, *, reader: int = ROOT
) -> Complaint | None:
    """Return what is wrong with a file's ``st_mode`` and ``st_uid``, or ``None``.

    ``reader`` is the user id we run as, who may own the file instead of root: to check a draft
    nobody need be root.
    """
    if not has_secrets:
        return None
    others = {
        "group": (stat.S_IRGRP, stat.S_IWGRP),
        "others": (stat.S_IROTH, stat.S_IWOTH),
    }
    readers = [who for who, (read, _) in others.items() if mode & read]
    writers = [who for who, (_, write) in others.items() if mode & write]
    rights = [
        f"{right} by {' and '.join(who)}"
        for right, who in (("readable", readers), ("writable", writers))
        if who
    ]
    if rights:
        what = f"the file holds passwords and is {', '.join(rights)} (mode {mode & 0o7777:04o})"
        return Complaint(filename, 0, 0, what, expected=f"mode 0600: chmod 600 {quote(filename)}")
    if uid not in (ROOT, reader):
        what = f"the file holds passwords and belongs to user id {uid}"
        return Complaint(filename, 0, 0, what, expected=f"root: chown root {quote(filename)}")
    return None
