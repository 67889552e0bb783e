"""Who may read a file that holds secrets. Pure: mode and owner come in as numbers.

Linux-iSCSI once installed /etc/iscsi.conf readable by everybody.
"""

from __future__ import annotations

from shlex import quote

from iscsid.config.diagnostics import Diagnostic

ROOT = 0


def check_permissions(
    mode: int, uid: int, has_secrets: bool, filename: str, *, reader: int = ROOT
) -> Diagnostic | None:
    """Return what is wrong with a file's ``st_mode`` and ``st_uid``, or ``None``.

    ``reader`` is the user id we run as, who may own the file instead of root: to check a draft
    nobody need be root.
    """
    if not has_secrets:
        return None
    readers = [
        log_prefix for log_prefix, bit in (("group", 0o040), ("others", 0o004)) if mode & bit
    ]
    writers = [
        log_prefix for log_prefix, bit in (("group", 0o020), ("others", 0o002)) if mode & bit
    ]
    rights = [
        f"{right} by {' and '.join(log_prefix)}"
        for right, log_prefix in (("readable", readers), ("writable", writers))
        if log_prefix
    ]
    if rights:
        what = f"the file holds passwords and is {', '.join(rights)} (mode {mode & 0o7777:04o})"
        return Diagnostic(filename, 0, 0, what, expected=f"mode 0600: chmod 600 {quote(filename)}")
    if uid not in (ROOT, reader):
        what = f"the file holds passwords and belongs to user id {uid}"
        return Diagnostic(filename, 0, 0, what, expected=f"root: chown root {quote(filename)}")
    return None
