"""What iscsi-ls prints: a table of disks or sessions, or a tree; and what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from iscsid.status.humanize import Colour, paint, size, span
from iscsid.status.model import UP, BlockDevice, LunStatus, SessionStatus, Status
from iscsid.status.table import Column, format_table

STATE = "STATE"
DISKS = (
    Column(title="DISK"),
    Column(title="SIZE", right=True),
    Column(title="NAME"),
    Column(title=STATE, least=7),
    Column(title="MOUNTED ON", least=10, omit=1),
    Column(title="MODEL", least=8, omit=2),
    Column(title="TARGET", least=20, cut_left=True, omit=3),
    Column(title="WWID", omit=4),
)
SESSIONS = (
    Column(title="BUS", right=True),
    Column(title="TGT", right=True),
    Column(title=STATE, least=7),
    Column(title="FOR", right=True, omit=2),
    Column(title="LUNS", right=True, omit=3),
    Column(title="PORTAL", omit=1),
    Column(title="TARGET", least=12, cut_left=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """What the output can show."""

    width: int | None = None
    """Columns of the terminal; ``None``: no limit."""
    colour: bool = False
    unicode: bool = False
    """Whether the tree may have lines of Unicode."""
    disks: Mapping[str, BlockDevice] = field(default_factory=dict)
    """By the node: ``/dev/sda``."""


def format_disks(status: Status, display: Display) -> Iterator[str]:
    """Yield a line for each logical unit, and for each session that has none."""
    rows: list[tuple[str, ...]] = []
    sessions: list[SessionStatus] = []
    for session in status.sessions:
        found = [_disk_row(session, lun, display) for lun in session.luns]
        rows += found or [("-", "", session.label, session.state, "", "", session.target_name, "")]
        sessions += [session] * max(len(found), 1)
    yield from _table(DISKS, rows, sessions, display)


def format_sessions(status: Status, display: Display, now: float) -> Iterator[str]:
    """Yield a line for each session; ``now`` is in seconds since 1970."""
    rows = [_session_row(session, now) for session in status.sessions]
    yield from _table(SESSIONS, rows, status.sessions, display)


def format_tree(status: Status, display: Display) -> Iterator[str]:
    """Yield each session with its disks, their partitions, and what is built on them."""
    if not status.sessions:
        yield "no sessions"
    for session in status.sessions:
        state = paint(session.state, _colour_of(session), display.colour)
        yield f"{session.label}  {state}  {session.portal}  {session.target_name}"
        for number, lun in enumerate(session.luns, 1):
            disk = display.disks.get(lun.node)
            shown = [f"lun{lun.lun}", lun.node or "-", size(lun.size), _model(lun)]
            line = "  ".join(filter(None, [*shown, *_mounts(disk.mounted_on if disk else ())]))
            yield from _branch(line, disk, "", number == len(session.luns), display)


def troubles(status: Status, display: Display, now: float) -> Iterator[str]:
    """Yield what is wrong, a line to each: what fails, what is kept, what was replaced."""
    for discovery in status.discoveries:
        if discovery.last_error:
            prefix = f"discovery at {discovery.address}"
            yield _trouble(prefix, discovery.last_error, discovery.next_attempt, display, now)
    for session in status.sessions:
        prefix = f"{session.label} via {session.portal}"
        if session.last_error and session.state != UP:
            yield _trouble(prefix, session.last_error, session.next_attempt, display, now)
        if session.kept_because:
            yield f"{prefix}: no longer wanted, but in use: {', '.join(session.kept_because)}"
        for lun in session.luns:
            if lun.replaced:
                yield f"{prefix}: LUN {lun.lun} has been exchanged and has no links"
            if lun.gone:
                yield f"{prefix}: LUN {lun.lun} is gone at the target, but in use and kept"


def _table(
    columns: tuple[Column, ...],
    rows: list[tuple[str, ...]],
    sessions: list[SessionStatus],
    display: Display,
) -> Iterator[str]:
    if not rows:
        yield "no sessions"
        return
    colours = {number: _colour_of(session) for number, session in enumerate(sessions)}
    painted = colours if display.colour else None
    yield from format_table(columns, rows, display.width, painted, STATE)


def _disk_row(session: SessionStatus, lun: LunStatus, display: Display) -> tuple[str, ...]:
    disk = display.disks.get(lun.node)
    return (
        lun.node.removeprefix("/dev/") or "-",
        size(lun.size),
        f"{session.label}/lun{lun.lun}",
        session.state,
        ",".join(disk.all_mounts()) if disk else "",
        _model(lun),
        session.target_name,
        lun.identity,
    )


def _session_row(session: SessionStatus, now: float) -> tuple[str, ...]:
    return (
        "-" if session.bus is None else str(session.bus),
        "-" if session.target is None else str(session.target),
        session.state,
        "" if session.since is None else span(now - session.since),
        str(len(session.luns)),
        session.portal,
        session.target_name,
    )


def _branch(
    line: str, device: BlockDevice | None, before: str, is_last: bool, display: Display
) -> Iterator[str]:
    """Yield a line of the tree, and those of what is built on the device."""
    fork, corner, rail = ("├─", "└─", "│ ") if display.unicode else ("|-", "`-", "| ")
    yield f"{before}{corner if is_last else fork}{line}"
    children = device.children if device else ()
    for number, child in enumerate(children, 1):
        words = filter(None, [child.name, size(child.size), *_mounts(child.mounted_on)])
        indent = before + ("  " if is_last else rail)
        yield from _branch("  ".join(words), child, indent, number == len(children), display)


def _mounts(points: tuple[str, ...]) -> list[str]:
    return [f"on {','.join(points)}"] if points else []


def _model(lun: LunStatus) -> str:
    return f"{lun.vendor} {lun.model}".strip()


def _colour_of(session: SessionStatus) -> Colour:
    if session.state == UP:
        return Colour.YELLOW if session.kept_because else Colour.GREEN
    return Colour.RED if session.last_error else Colour.YELLOW


def _trouble(prefix: str, error: str, again: float | None, display: Display, now: float) -> str:
    when = "" if again is None else f" (next attempt in {span(again - now)})"
    return f"{prefix}: {paint(error, Colour.RED, display.colour)}{when}"
