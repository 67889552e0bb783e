"""The daemon: becomes one, opens the ears and hands, and turns the ring.

It may touch everything, through ``system`` and ``workers``; only ``__main__`` imports it. It
decides nothing about iSCSI.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from contextlib import ExitStack

from iscsid import __version__
from iscsid.bindings.file import BindingsFile
from iscsid.cli.options import Options
from iscsid.devices.links import LinkTree
from iscsid.devices.udev import Removals, Udev
from iscsid.errors import IscsidError, Retry
from iscsid.exit_status import ExitStatus
from iscsid.facts import BindingsNotRead, ConfigurationRefused, DevicesEnumerated, Fact
from iscsid.hands import Hands, Instruments
from iscsid.initiator.initiator import Initiator
from iscsid.initiator.once import outcome
from iscsid.kernel.interface import Kernel
from iscsid.orders import Level
from iscsid.process.background import Background
from iscsid.process.config_files import ConfigurationFiles
from iscsid.process.log import DaemonLog
from iscsid.process.loop import Loop
from iscsid.process.notify import Notifier
from iscsid.process.pidfile import PidFile
from iscsid.process.protection import protect
from iscsid.process.route_monitor import RouteMonitor
from iscsid.process.signals import Signals
from iscsid.process.status_files import StatusFiles, directory_for
from iscsid.workers.supervisor import Supervisor

TRACE = 2
"""The debug level from which the children's exchanges are logged (the manual's chapter LOG)."""


def run(options: Options) -> int:
    """Be the daemon until a signal ends it; return the exit status.

    Raises ``IscsidError`` where it cannot start, in the process that the shell waits for.
    """
    files = ConfigurationFiles(options.config, options.initiatorname)
    (configuration,) = files.read()
    if isinstance(configuration, ConfigurationRefused):
        raise IscsidError("\n".join(configuration.diagnostics))
    with Background(PidFile(options.pidfile), foreground=options.foreground) as background:
        # Not before: to become a daemon closes whatever is open.
        notifier = Notifier.open(os.environ)
        with ExitStack() as stack:
            stack.callback(notifier.close)
            daemon = Daemon(options, files, notifier, stack)
            daemon.load_initial_state(configuration)
            background.ready()
            notifier.ready()
            status = daemon.turn()
            notifier.stopping()
            daemon.end()
    return status


class Daemon:
    """The ring: ears, owner, hands, and the queue of facts between them."""

    def __init__(
        self, options: Options, files: ConfigurationFiles, notifier: Notifier, stack: ExitStack
    ) -> None:
        self._journal = DaemonLog.open(options.foreground, options.debug)
        stack.callback(self._journal.close)
        self._loop = Loop(self._journal.write)
        stack.callback(self._loop.close)
        kernel = Kernel.open()
        stack.callback(kernel.close)
        udev, removals = Udev(), Removals()
        network = RouteMonitor()
        stack.callback(network.close)
        signals = Signals()
        stack.callback(signals.close)
        self._keeper = Supervisor(
            self._loop.add,
            self._loop.remove,
            lambda job, level, text: self._journal.write(level, job.title, text, TRACE),
            level=Level.DEBUG if options.debug >= TRACE else Level.INFO,
        )
        signals.set_reaper(self._keeper.reap)
        # What overflows is lost: the kernel's events are read before everything else.
        self._loop.add(kernel.fileno(), kernel.read_events, "the kernel's events")
        self._loop.add(removals.fileno(), removals.read_events, "the kernel's removals")
        self._loop.add(udev.fileno(), udev.read_events, "udev")
        self._loop.add(signals.fileno(), signals.read, "signals")
        self._loop.add(network.fileno(), network.read, "the network")
        self._loop.add_deadline(self._keeper.next_deadline, self._keeper.enforce_deadlines)
        self._loop.add_deadline(self._journal.deadline, self._journal.flush)
        self._status_files = StatusFiles(directory_for(options.pidfile))
        self._loop.add_deadline(self._status_files.deadline, self._write_status)
        links = LinkTree(options.basedir, options.mode)
        bindings_file = BindingsFile(options.bindings)
        self._hands = Hands(
            Instruments(
                loop=self._loop,
                journal=self._journal,
                kernel=kernel,
                keeper=self._keeper,
                links=links,
                bindings_file=bindings_file,
                configuration_files=files,
                notifier=notifier,
            ),
            inline=options.once,
        )
        self._once, self._basedir = options.once, options.basedir
        self._owner = Initiator(
            login_timeout=options.login_timeout,
            max_processes=options.max_processes,
            bindings_file=options.bindings,
        )
        self._queue: deque[Fact] = deque()
        self._kernel, self._udev = kernel, udev
        self._notifier = notifier
        self._links, self._bindings_file = links, bindings_file
        for refusal in protect():
            self._journal.write(Level.DEBUG, "", refusal)

    def load_initial_state(self, configuration: Fact) -> None:
        """Queue for the owner what the files say, and what an earlier life has left.

        No child is forked yet: it would inherit the streams of the shell that waits for us.
        Raises ``IscsidError`` where the bindings cannot be read: who has which number is not
        known then, and giving numbers anew would break every name.
        """
        bindings = self._bindings_file.read()
        if isinstance(bindings, BindingsNotRead):
            raise IscsidError(bindings.reason, retry=Retry.NEVER)
        self._queue += (configuration, bindings, self._links.present(), self._kernel.look())
        self._queue += self._udev.enumerate()
        self._queue.append(DevicesEnumerated())

    def turn(self) -> int:
        """Turn the ring until the owner orders to leave; return the exit status.

        An exception that gets here is a bug. The sessions live on in the kernel, and the next
        start adopts them: to leave is the safest thing to do.
        """
        try:
            self._drain_queue()
            self._write_status(time.monotonic())
            while self._hands.leave_with is None:
                self._queue += self._loop.wait()
                self._drain_queue()
        except Exception:
            for line in traceback.format_exc().splitlines():
                self._journal.write(Level.ERROR, "", line)
            return ExitStatus.BUG
        return self._hands.leave_with

    def end(self) -> None:
        """End all children, and take back what said how the daemon is."""
        self._keeper.end_all()
        self._status_files.remove()

    def _drain_queue(self) -> None:
        """Handle every queued fact, and those that come of the orders, to the last."""
        if self._queue:
            self._status_files.note_change()
        while self._queue and self._hands.leave_with is None:
            fact = self._queue.popleft()
            for order in self._owner.handle(fact, time.monotonic()):
                self._queue += self._hands.carry_out(order)
            if self._once and (status := outcome(fact)) is not None:
                self._hands.leave_with = status
        self._notifier.settled()
        if self._once and self._hands.leave_with is None:
            # Everything has been done in line, and there was no session to be had.
            self._hands.leave_with = ExitStatus.SUCCESS

    def _write_status(self, now: float) -> None:
        """Let people and programs see how the daemon is."""
        self._notifier.status(self._owner.status)
        clock = time.time() - time.monotonic()
        failure = self._status_files.write(
            lambda: self._owner.overview(
                now, clock, version=__version__, pid=os.getpid(), basedir=self._basedir
            )
        )
        if failure:
            self._journal.write(Level.WARNING, "", f"the status is not written: {failure}")
