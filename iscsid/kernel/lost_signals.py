"""Makes up for signals that the kernel has taken away.

Linux takes all pending signals from whoever asks it for a session that it then cannot make
(iscsi_host_remove() flushes them), SIGKILL among them, which may be the very reason why the session
cannot be made. Then the process goes on, and nobody can kill it any more: it counts as dying, and
to the dying no signal is sent. So it hears of no ended child, keeps its pid file locked, and no
other daemon can start. Touches the calling process alone.
"""

from __future__ import annotations

import os
import signal

_UNUSED = signal.SIGURG
"""A signal that does nothing to whoever does not ask for it."""


def make_up_for_lost_signals() -> None:
    """End, if a SIGKILL was lost; otherwise have the ended children looked for.

    Whoever sent another signal just then must send it again.
    """
    if not _hears_signals():
        # It ends as killed, whatever is said here: the kernel has kept that.
        os._exit(os.EX_OSERR)
    os.kill(os.getpid(), signal.SIGCHLD)


def _hears_signals() -> bool:
    """Whether a signal that is sent to this process reaches it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {_UNUSED})
    try:
        os.kill(os.getpid(), _UNUSED)
        has_come = _UNUSED in signal.sigpending()
        if has_come:
            signal.sigtimedwait({_UNUSED}, 0)
        return has_come
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
