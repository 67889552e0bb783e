"""The daemon: detaches, opens every descriptor, and runs the loop.

Facts that are read from the descriptors go through a queue to the initiator, its orders are carried
out here, and what comes of them joins the queue as facts. ``Daemon._dispatch`` is the table from a
kind of order to the call; an order without a case there is an error of type. The module may touch
everything, through ``kernel``, ``devices``, ``process`` and ``workers``; it decides nothing about
iSCSI, and only ``__main__`` imports it.
"""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import assert_never

from iscsid import __version__, orders
from iscsid.cli.options import Options
from iscsid.devices.links import LinkTree
from iscsid.devices.udev import Removals, Udev, announce
from iscsid.errors import OUT_OF_MEMORY, AlreadyRunning, IscsidError, Retry
from iscsid.exit_status import ExitStatus
from iscsid.facts import (
    BindingsNotRead,
    BindingsNotSaved,
    ConfigurationRefused,
    DevicesEnumerated,
    DiscoveryFailed,
    Fact,
    LoginFailed,
    ScanFailed,
    ScanFinished,
    SessionRefused,
    WorkerEnded,
)
from iscsid.initiator.initiator import Initiator
from iscsid.initiator.snapshot import take_snapshot
from iscsid.jobs import DiscoveryJob, Job, ScanJob
from iscsid.kernel.interface import Kernel
from iscsid.orders import Level, Order
from iscsid.process.background import Background
from iscsid.process.bindings_file import BindingsFile
from iscsid.process.config_files import ConfigurationFiles
from iscsid.process.disk_work import DiskWork
from iscsid.process.fact_queue import FactQueue
from iscsid.process.log import DaemonLog
from iscsid.process.loop import Loop
from iscsid.process.notify import Notifier
from iscsid.process.pidfile import PidFile
from iscsid.process.protection import protect
from iscsid.process.route_monitor import RouteMonitor
from iscsid.process.signals import Signals
from iscsid.process.status_files import SLICE, StatusFiles, directory_for
from iscsid.process.wall_clock import WallClock
from iscsid.workers.fork_server import ForkServer
from iscsid.workers.supervisor import NoForkServer, Supervisor

SAVING_AT_THE_END = 5.0
"""Seconds the daemon waits, as it leaves, for bindings that are being written."""
NO_UDEVD = (
    "no udevd runs: the links follow the kernel's own events; "
    "after udevd has been started, start this daemon again, too"
)
SLICE_OF_FACTS = 0.02
"""Seconds of one turn of the loop that are spent on facts: as long as more are waiting, the
kernel's events and the timers have their turn in between."""
SLICE_OF_LOOK = 0.01
"""Seconds of one turn that are spent on the look at the kernel's sessions."""
TRACE = 2
"""The debug level from which the workers' exchanges are logged (the manual's chapter LOG)."""


def run(options: Options, fork_server: ForkServer) -> int:
    """Be the daemon until a signal ends it; return the exit status.

    ``fork_server`` was started before anything else, so that it holds no secret. Raises
    ``IscsidError`` if the daemon cannot start, in the process that the shell waits for.
    """
    files = ConfigurationFiles(options.config, options.initiatorname)
    configuration = files.read()
    if isinstance(configuration, ConfigurationRefused):
        raise IscsidError("\n".join(configuration.diagnostics))
    # Without links on the way: /var/run is one, and /var may be on a disk that waits for us.
    directory, name = os.path.split(options.pidfile)
    options = replace(options, pidfile=os.path.join(os.path.realpath(directory), name))
    pidfile = PidFile(options.pidfile)
    kept = fork_server.filenos()
    with Background(pidfile, foreground=options.foreground, kept=kept) as background:
        # Not before: detaching closes whatever is open.
        notifier = Notifier.open(os.environ)
        with ExitStack() as stack:
            stack.callback(notifier.close)
            daemon = Daemon(options, files, fork_server, pidfile, notifier, stack)
            daemon.load_initial_state(configuration)
            background.ready()
            notifier.ready()
            status = daemon.run()
            notifier.stopping()
            daemon.end()
    return status


def outcome_of_once(fact: Fact) -> ExitStatus | None:
    """Return the exit status that ``fact`` gives ``--once``; ``None``: the connection goes on."""
    match fact:
        case ScanFinished():
            return ExitStatus.SUCCESS
        case DiscoveryFailed() | LoginFailed() | ScanFailed() | SessionRefused():
            return ExitStatus.FAILURE
        case WorkerEnded(how=how) if how is not None:
            return ExitStatus.FAILURE
    return None


class Daemon:
    """The loop, the initiator, and the queue of facts between them."""

    def __init__(
        self,
        options: Options,
        files: ConfigurationFiles,
        fork_server: ForkServer,
        pidfile: PidFile,
        notifier: Notifier,
        stack: ExitStack,
    ) -> None:
        self._once, self._basedir = options.once, options.basedir
        # One connection is handled, so one job runs at a time.
        max_processes = 1 if options.once else options.max_processes
        self._pidfile, self._pidfile_trouble = pidfile, ""
        self._notifier = notifier
        self._log = DaemonLog.open(options.foreground, options.debug)
        stack.callback(self._log.close)
        self._loop = Loop(self._log.write)
        stack.callback(self._loop.close)
        self._kernel = Kernel.open()
        stack.callback(self._kernel.close)
        self._udev, removals = Udev(), Removals()
        self._queue = FactQueue(removals.read_events)
        routes = RouteMonitor()
        stack.callback(routes.close)
        signals = Signals()
        stack.callback(signals.close)
        self._supervisor = Supervisor(
            fork_server,
            self._loop.add,
            self._loop.remove,
            lambda job, level, text: self._log.write(level, job.title, text, TRACE),
            level=Level.DEBUG if options.debug >= TRACE else Level.INFO,
            most=max_processes,
        )
        signals.set_reaper(self._supervisor.reap)
        # In this order: what overflows is lost, so the kernel's events are read first.
        self._loop.add(self._kernel.fileno(), self._kernel.read_events, "the kernel's events")
        self._loop.add(removals.fileno(), self._removals_reported, "the kernel's removals")
        self._loop.add(self._udev.fileno(), self._udev.read_events, "udev")
        self._loop.add(signals.fileno(), signals.read, "signals")
        self._loop.add(routes.fileno(), routes.read, "the network")
        self._loop.add_deadline(self._supervisor.next_deadline, self._supervisor.enforce_deadlines)
        self._loop.add_deadline(self._log.deadline, self._log.flush)
        self._wall_clock = WallClock()
        self._status_files = StatusFiles(directory_for(options.pidfile))
        # Those of a daemon that was killed, whose pid may be ours by now.
        self._status_files.remove()
        self._loop.add_deadline(self._status_files.deadline, self._write_status)
        self._loop.add_deadline(self._status_files.look_deadline, self._look_after_files)
        self._links = LinkTree(options.basedir, options.mode)
        self._bindings_file = options.bindings
        self._disk_work = DiskWork(
            self._supervisor.start,
            self._supervisor.stop,
            files,
            options.bindings,
        )
        self._loop.add_deadline(self._disk_work.deadline, self._abandon_disk_work)
        self._loop.add_deadline(notifier.deadline, notifier.show_life)
        self._loop.add_deadline(self._kernel.look_deadline, self._go_on_looking)
        self._initiator = Initiator(
            login_timeout=options.login_timeout,
            max_processes=max_processes,
            bindings_file=options.bindings,
        )
        self._exit_status: int | None = None
        """Set by the order to leave."""
        fork_server.protect()
        if not self._udev.has_udevd:
            self._log.write(Level.WARNING, "", NO_UDEVD)
        for refusal in protect():
            self._log.write(Level.DEBUG, "", refusal)

    def load_initial_state(self, configuration: Fact) -> None:
        """Queue what the files contain, and what an earlier daemon has left.

        Raises ``IscsidError`` if the bindings cannot be read: which numbers are taken is unknown
        then, and assigning them anew would break every name.
        """
        bindings_file = BindingsFile(self._bindings_file)
        bindings = bindings_file.read()
        self._disk_work.stamp = bindings_file.stamp
        if isinstance(bindings, BindingsNotRead):
            raise IscsidError(bindings.reason, retry=Retry.NEVER)
        self._queue.add(
            (
                configuration,
                bindings,
                self._links.present(),
                self._kernel.list_sessions(),
                *self._udev.enumerate(),
                DevicesEnumerated(),
            )
        )

    def run(self) -> int:
        """Run the loop until the initiator orders to leave; return the exit status.

        Any exception but these two that gets here is a bug. The sessions live on in the
        kernel, and the next start adopts them, so leaving is the safest thing to do.
        """
        try:
            self._handle_facts(math.inf)
            self._write_status(time.monotonic(), math.inf)
            while self._exit_status is None:
                self._queue.add(self._loop.wait(may_sleep=not self._queue))
                self._handle_facts(time.monotonic() + SLICE_OF_FACTS)
            self._finish_saving()
        except NoForkServer as error:
            self._log.write(Level.ERROR, "", f"leaving; the sessions stay in the kernel: {error}")
            return ExitStatus.BUG
        except MemoryError:
            # What was half done is not known any more; the next start reads it from the kernel.
            self._log.write(
                Level.ERROR, "", f"leaving; the sessions stay in the kernel: {OUT_OF_MEMORY}"
            )
            return ExitStatus.BUG
        except Exception:
            for line in traceback.format_exc().splitlines():
                self._log.write(Level.ERROR, "", line)
            return ExitStatus.BUG
        return self._exit_status

    def end(self) -> None:
        """End all workers, and remove the status files."""
        self._supervisor.end_all()
        self._status_files.remove()

    def _handle_facts(self, until: float) -> None:
        """Handle the queued facts, and those that come of the orders, to the last or to a time."""
        while self._exit_status is None and (self._queue or self._begin_disk_work()):
            for fact in self._disk_work.translate(self._queue.take(), time.monotonic()):
                self._status_files.note_change(fact)
                for order in self._initiator.handle(fact, time.monotonic()):
                    self._queue.add(self._carry_out(order))
                if self._once and (status := outcome_of_once(fact)) is not None:
                    self._exit_status = status
            if self._queue and time.monotonic() >= until:
                return
        if not self._disk_work.is_reading:
            self._notifier.settled()
        if self._once and self._exit_status is None and len(self._supervisor) == 0:
            # Every job is over, and no session came of them.
            self._exit_status = ExitStatus.SUCCESS

    def _removals_reported(self) -> Iterable[Fact]:
        self._queue.look_for_removals()
        return ()

    def _abandon_disk_work(self, now: float) -> None:
        self._queue.add(self._disk_work.abandon(now))

    def _go_on_looking(self, _now: float) -> None:
        self._queue.add(self._kernel.go_on_looking(SLICE_OF_LOOK))

    def _begin_disk_work(self) -> bool:
        """Start the jobs for disks that were ordered; return whether facts came of that."""
        self._queue.add(self._disk_work.begin(time.monotonic()))
        return bool(self._queue)

    def _finish_saving(self) -> None:
        """Give bindings that are being written the time that a working disk needs."""
        until = time.monotonic() + SAVING_AT_THE_END
        self._loop.add_deadline(lambda: until, lambda now: None)
        while self._disk_work.is_saving and time.monotonic() < until:
            self._disk_work.begin(time.monotonic())
            self._queue.add(self._loop.wait(may_sleep=not self._queue))
            while self._queue:
                fact = self._queue.take()
                for known in self._disk_work.translate(fact, time.monotonic()):
                    if isinstance(known, BindingsNotSaved):
                        self._log.write(Level.ERROR, "", f"the bindings: {known.reason}")
        if self._disk_work.is_saving:
            self._log.write(Level.ERROR, "", "the newest bindings are not saved: no answer")

    def _carry_out(self, order: Order) -> Iterable[Fact]:
        """Carry out ``order``; return the facts that come of it."""
        result = self._dispatch(order)
        if result is None:
            return ()
        return result if isinstance(result, Iterable) else (result,)

    def _dispatch(self, order: Order) -> Iterable[Fact] | Fact | None:
        """Call what carries out this kind of order."""
        kernel, supervisor = self._kernel, self._supervisor
        match order:
            case orders.StartWorker():
                if isinstance(order.job, ScanJob):
                    self._status_files.note_scan(order.job)
                return supervisor.start(_once(order.job) if self._once else order.job)
            case orders.StopWorker():
                supervisor.stop(order.job_id)
            case orders.AskAgain():
                supervisor.ask_again(order.job_id)
            case orders.CloseSocket():
                supervisor.close_socket(order.job_id)
            case orders.StartSession():
                return kernel.start_session(order, supervisor.take_socket(order.job_id))
            case orders.ResumeSession():
                return kernel.resume_session(order, supervisor.take_socket(order.job_id))
            case orders.AdoptSession():
                kernel.adopt(order.sid)
            case orders.LearnCmdSn():
                return kernel.learn_cmd_sn(order.sid)
            case orders.ApplyTimeouts():
                return kernel.apply_timeouts(order.sid, order.timeouts)
            case orders.UnbindSession():
                return kernel.unbind_session(order.sid)
            case orders.SendLogout():
                return kernel.send_logout(order.sid, order.session_tag)
            case orders.DestroySession():
                return kernel.destroy_session(order.sid)
            case orders.ListSessions(turn):
                kernel.begin_look(turn)
            case orders.CheckDiskUsers() | orders.CheckLunUsers() | orders.SaveBindings():
                self._disk_work.order(order)
            case orders.ReadConfiguration():
                self._notifier.reloading()
                self._disk_work.order(order)
            case orders.MakeLink():
                return self._links.make(order.path, order.node, order.device)
            case orders.RemoveLink():
                return self._links.remove(order.path)
            case orders.AnnounceDevice():
                announce(order.device)
            case orders.SetTimer():
                self._loop.set_timer(order.timer, order.at)
            case orders.CancelTimer():
                self._loop.cancel_timer(order.timer)
            case orders.Log():
                self._log.write(order.level, order.log_prefix, order.text)
            case orders.Leave():
                self._exit_status = order.status
            case _:
                assert_never(order)
        return None

    def _write_status(self, now: float, slice_seconds: float = SLICE) -> None:
        """Write what people and programs can see of the daemon, or go on with that."""
        self._notifier.status(self._initiator.status)
        news = self._status_files.write(
            lambda: take_snapshot(
                self._initiator.reconciler,
                now=now,
                clock=self._wall_clock.origin(),
                version=__version__,
                pid=os.getpid(),
                basedir=self._basedir,
            ),
            slice_seconds,
        )
        if news:
            self._log.write(Level.WARNING, "", news)

    def _look_after_files(self, _now: float) -> None:
        """Make the files in /run again that are gone: without its lock a second daemon starts."""
        self._status_files.look()
        trouble = ""
        try:
            if self._pidfile.restore():
                self._log.write(Level.WARNING, "", "the pid file was gone, and is made again")
        except AlreadyRunning as error:
            self._log.write(Level.ERROR, "", f"leaving; the sessions stay in the kernel: {error}")
            self._exit_status = ExitStatus.FAILURE
        except IscsidError as error:
            trouble = str(error)
            if trouble != self._pidfile_trouble:
                self._log.write(Level.WARNING, "", f"the pid file is gone: {trouble}")
        self._pidfile_trouble = trouble


def _once(job: Job) -> Job:
    """A discovery that is kept would never end."""
    return replace(job, keep=False) if isinstance(job, DiscoveryJob) else job
