"""The daemon program as it is, but for the kernel's iSCSI interface, which is the fake one.

Usage: ``python -m tests.hostile.program TREE REPORT OPTION...``. TREE is where a tree that looks
like /sys is made; each request that the fake kernel gets is a line of REPORT. The wall clock of the
process is ahead by the seconds in the file ``clock`` beside it, as if it had been set. Files that
cannot be written, or are gone, are tried again after ``SOON`` instead of half a minute. While there
is a file ``no-forks``, no process of it can fork, as if there were too many (root has no limit).
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

SOON = 0.5
"""Seconds."""


def main() -> int:
    from iscsid.cli.command import run_command

    return run_command("iscsid", _run)


def _run() -> int:
    """Do what ``iscsid.__main__`` does: the workers inherit nothing of what is imported later."""
    fork, no_forks = os.fork, Path(sys.argv[2]).with_name("no-forks")

    def limited() -> int:
        if no_forks.exists():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    os.fork = limited
    from iscsid.workers.fork_server import ForkServer

    with closing(ForkServer()) as fork_server:
        from iscsid.cli.options import parse
        from iscsid.daemon import run
        from iscsid.initiator import on_files
        from iscsid.kernel.interface import Kernel
        from iscsid.kernel.iscsi_if import Command
        from iscsid.kernel.kernel_parameters import Parameter
        from iscsid.process import status_files
        from tests.support.fake_kernel import StandIn
        from tests.support.sysfs_tree import SESSION, SysfsTree

        tree, report = SysfsTree(Path(sys.argv[1])), Path(sys.argv[2])

        class Reporting(StandIn):
            """Writes down what it is asked for, and shows its sessions in the tree."""

            def __init__(self) -> None:
                super().__init__()
                self._shown: set[int] = set()

            def answer(self, asker: int) -> None:
                super().answer(asker)
                with report.open("a") as file:
                    file.writelines(f"{Command(each).name}\n" for each in self.asked)
                    for sid, connection in self.sessions.items():
                        if connection and connection.is_up and sid not in self._shown:
                            self._shown.add(sid)
                            file.write(f"{sid} {self._show(sid, connection.parameters)}\n")
                self.asked.clear()

            def _show(self, sid: int, parameters: dict[int, str]) -> str:
                """Return the name of the target."""
                name = parameters[Parameter.TARGET_NAME]
                tag = parameters[Parameter.IFACE_NAME]
                session = {**SESSION, "targetname": name, "ifacename": tag}
                tree.add_session(sid, sid + 100, session=session)
                return name

        def open_fake() -> Kernel:
            kernel = Reporting()
            return Kernel(kernel.request_socket(), kernel.event_socket(), tree.sysfs)

        Kernel.open = staticmethod(open_fake)  # type: ignore[method-assign]
        on_files.SAVE_AGAIN = status_files.LOOK = status_files.RETRY = SOON
        real, clock = time.time, report.with_name("clock")

        def shown() -> float:
            with suppress(FileNotFoundError):
                return real() + float(clock.read_text())
            return real()

        time.time = shown
        return run(parse(sys.argv[3:], "/"), fork_server)


if __name__ == "__main__":
    sys.exit(main())
