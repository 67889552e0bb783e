"""What the exit status of ``iscsid`` means; the manual page's section EXIT STATUS has the same.

Pure values.
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    SUCCESS = 0
    FAILURE = 1
    """It could not start, or what was asked for failed; one line on standard error is why."""
    USAGE = 2
    """The command line makes no sense."""
    SESSIONS_LEFT = 3
    """After SIGINT: sessions whose disks are in use have been left alone."""
    BUG = 70
    """A fault of iscsid itself, of which the log holds a traceback; or both of its fork servers
    were killed. Sessions go on in the kernel."""
