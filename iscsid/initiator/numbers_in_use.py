"""Keeps the numbers of running sessions valid when the bindings file has other ones.

A person may exchange lines, restore an old copy, or delete too much. The disks of a running session
are in use under the names that its number makes, so that the number stays until the session ends,
and the line comes back into the file. A session that the kernel does not run yet takes the number
that the file has now. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import Entry
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import State
from iscsid.protocol.names import IscsiName

_NOT_IN_KERNEL = (State.WAITING, State.LOGGING_IN, State.GONE)


def settle_numbers(
    bindings: Bindings, sessions: Iterable[Session], outbox: Outbox
) -> set[IscsiName]:
    """Enter the numbers of all sessions into bindings that were just read.

    Return the targets whose number is another one now.
    """
    in_kernel: list[Session] = []
    waiting: list[Session] = []
    for session in sessions:
        (waiting if session.state in _NOT_IN_KERNEL else in_kernel).append(session)
    for session in in_kernel:
        plan = session.plan
        if bindings.disagrees(plan.target_name, plan.binding, plan.path_name):
            report_kept(session.log_prefix, plan.binding, outbox)
    displaced: list[Entry] = []
    for session in in_kernel:
        plan = session.plan
        displaced += bindings.hold(plan.target_name, plan.binding, plan.path_name)
    report_displaced(bindings, displaced, outbox)
    plans = (session.plan for session in waiting)
    return {
        p.target_name for p in plans if not bindings.adopt(p.target_name, p.binding, p.path_name)
    }


def report_kept(log_prefix: str, binding: Binding, outbox: Outbox) -> None:
    """Report that a running session has a number that the bindings file does not give it."""
    outbox.error(
        log_prefix,
        f"the running session keeps {binding}, although the bindings file has something else: "
        "its line comes back into the file",
    )


def report_displaced(bindings: Bindings, displaced: Iterable[Entry], outbox: Outbox) -> None:
    """Report each target that has lost its number to a running session of another."""
    for entry in displaced:
        if bindings.lookup_path(entry.name, entry.path) is None:
            outbox.error(
                entry.name,
                f"its number {entry.binding} in the bindings file is in use by a running session "
                "of another target: this target gets another number",
            )
