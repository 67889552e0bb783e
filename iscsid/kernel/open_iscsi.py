"""Refuses to start beside open-iscsi's daemon, which takes over every session, ours included.

Touches the namespace of abstract sockets.
"""

from __future__ import annotations

import errno
import socket

from iscsid.errors import AlreadyRunning

_ADDRESS = b"\0ISCSIADM_ABSTRACT_NAMESPACE"


def refuse_open_iscsi() -> None:
    """Raise ``AlreadyRunning`` if open-iscsi's iscsid, or systemd for it, listens for iscsiadm.

    The address is tried by taking it for a moment: connecting would make systemd start the very
    daemon that must not run.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(_ADDRESS)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise AlreadyRunning(
                "open-iscsi's iscsid is running, or will be started by its socket",
                advice="stop it with 'systemctl disable --now iscsid.socket iscsid.service'",
            ) from error
