"""The hands of the daemon: who carries out which order.

One table from kind of order to call. A call returns the facts it found out, which go to the end of
the ring's queue; no hand ever calls the owner. What is touched is the business of ``system`` and
``workers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from iscsid import orders
from iscsid.bindings.file import BindingsFile
from iscsid.devices.links import LinkTree
from iscsid.devices.udev import announce
from iscsid.facts import ConfigurationRefused, Fact
from iscsid.kernel.interface import Kernel
from iscsid.orders import Order
from iscsid.process.config_files import ConfigurationFiles
from iscsid.process.log import DaemonLog
from iscsid.process.loop import Loop
from iscsid.process.notify import Notifier
from iscsid.workers.supervisor import Supervisor

Facts = Iterable[Fact]


@dataclass(frozen=True, slots=True)
class Instruments:
    """What the hands hold."""

    loop: Loop
    journal: DaemonLog
    kernel: Kernel
    keeper: Supervisor
    links: LinkTree
    bindings_file: BindingsFile
    configuration_files: ConfigurationFiles
    notifier: Notifier


class Hands:
    """Carries out orders; ``leave_with`` is set once the order to leave has come."""

    def __init__(self, instruments: Instruments, *, inline: bool = False) -> None:
        """``inline``: children's work is done here, without a fork (``--once``)."""
        self._with = instruments
        self.leave_with: int | None = None
        links = instruments.links
        start = instruments.keeper.run_inline if inline else instruments.keeper.start
        kernel, keeper, loop = instruments.kernel, instruments.keeper, instruments.loop
        self._calls: dict[type, Callable[[Any], Facts | Fact | None]] = {
            orders.StartWorker: lambda order: start(order.job),
            orders.StopWorker: lambda order: keeper.stop(order.job),
            orders.AskAgain: lambda order: keeper.ask_again(order.job),
            orders.CloseSocket: lambda order: keeper.close_socket(order.job),
            orders.StartSession: lambda order: kernel.start_session(
                order, keeper.take_socket(order.job)
            ),
            orders.ResumeSession: lambda order: kernel.resume_session(
                order, keeper.take_socket(order.job)
            ),
            orders.AdoptSession: lambda order: kernel.adopt(order.sid),
            orders.LearnCmdSn: lambda order: kernel.learn_cmd_sn(order.sid),
            orders.ApplyTimeouts: lambda order: kernel.apply_timeouts(order.sid, order.timeouts),
            orders.CheckDiskUsers: lambda order: kernel.check_disks(
                order.sid, may_open=order.may_open
            ),
            orders.CheckLunUsers: lambda order: kernel.check_units(order.sid, order.luns),
            orders.UnbindSession: lambda order: kernel.unbind_session(order.sid),
            orders.SendLogout: lambda order: kernel.send_logout(order.sid, order.session_tag),
            orders.DestroySession: lambda order: kernel.destroy_session(order.sid),
            orders.LookAtKernel: lambda _: kernel.look(),
            orders.ReadConfiguration: lambda _: self._read_files(),
            orders.SaveBindings: lambda order: instruments.bindings_file.save(
                order.text, order.keep_copy
            ),
            orders.MakeLink: lambda order: links.make(order.path, order.node, order.device),
            orders.RemoveLink: lambda order: links.remove(order.path),
            orders.AnnounceDevice: lambda order: announce(order.device),
            orders.SetTimer: lambda order: loop.set_timer(order.timer, order.at),
            orders.CancelTimer: lambda order: loop.cancel_timer(order.timer),
            orders.Log: lambda order: instruments.journal.write(
                order.level, order.log_prefix, order.text
            ),
            orders.Leave: self._leave,
        }

    def carry_out(self, order: Order) -> list[Fact]:
        """Do it now; return what it brought to light."""
        result = self._calls[type(order)](order)
        if result is None:
            return []
        return list(result) if isinstance(result, Iterable) else [result]

    def _read_files(self) -> Facts:
        """Read what the administrator wrote; bindings count only if the configuration does."""
        self._with.notifier.reloading()
        (configuration,) = self._with.configuration_files.read()
        if isinstance(configuration, ConfigurationRefused):
            return [configuration]
        return [self._with.bindings_file.read(), configuration]

    def _leave(self, order: orders.Leave) -> None:
        self.leave_with = order.status
