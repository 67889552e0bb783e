"""What iscsi-ls prints: a table of sessions, or with -l and -c all that is known, in blocks. Pure.

The blocks have the keys of the Linux-iSCSI driver's iscsi-ls, ``KEY : value``, one to a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iscsid.status.humanize import Colour, paint, size, span
from iscsid.status.model import UP, DiscoveryStatus, LunStatus, SessionStatus, Status, format_time

RULE = "*" * 79
THIN_RULE = "-" * 79
_WIDTH = 17
_COLUMNS = ("BUS", "TGT", "STATE", "FOR", "LUNS", "PORTAL", "TARGET")
_STATE = _COLUMNS.index("STATE")
_RIGHT = frozenset({"BUS", "TGT", "FOR", "LUNS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much to print."""

    luns: bool = False
    parameters: bool = False
    colour: bool = False


def format_listing(status: Status, wanted: Wanted, now: float) -> str:
    """Return the whole text; ``now`` is in seconds since 1970."""
    in_blocks = wanted.luns or wanted.parameters
    lines = list(_blocks(status, wanted) if in_blocks else _table(status, wanted, now))
    return "".join(f"{line.rstrip()}\n" for line in lines)


# --- the table ----------------------------------------------------------------------------------


def _table(status: Status, wanted: Wanted, now: float) -> Iterator[str]:
    if not status.sessions:
        yield "no sessions"
    else:
        yield from _columns(status.sessions, wanted, now)
    troubles = list(_troubles(status, wanted, now))
    if troubles:
        yield ""
        yield from troubles


def _columns(sessions: list[SessionStatus], wanted: Wanted, now: float) -> Iterator[str]:
    rows = [_row(session, now) for session in sessions]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    yield paint("  ".join(_aligned(_COLUMNS, widths)).rstrip(), Colour.BOLD, wanted.colour)
    for session, row in zip(sessions, rows, strict=True):
        cells = _aligned(row, widths)
        cells[_STATE] = paint(cells[_STATE], _colour_of(session), wanted.colour)
        yield "  ".join(cells)


def _row(session: SessionStatus, now: float) -> tuple[str, ...]:
    return (
        "-" if session.bus is None else str(session.bus),
        "-" if session.target is None else str(session.target),
        session.state,
        "" if session.since is None else span(now - session.since),
        str(len(session.luns)),
        session.portal,
        session.target_name,
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    cells = zip(_COLUMNS, row, widths, strict=True)
    return [f"{cell:{'>' if name in _RIGHT else '<'}{width}}" for name, cell, width in cells]


def _colour_of(session: SessionStatus) -> Colour:
    if session.state == UP:
        return Colour.YELLOW if session.kept_because else Colour.GREEN
    return Colour.RED if session.last_error else Colour.YELLOW


def _troubles(status: Status, wanted: Wanted, now: float) -> Iterator[str]:
    """Say what is wrong, a line to each: what fails, what is kept, what was replaced."""
    for discovery in status.discoveries:
        if discovery.last_error:
            prefix = f"discovery at {discovery.address}"
            yield _trouble(prefix, discovery.last_error, discovery.next_attempt, wanted, now)
    for session in status.sessions:
        prefix = f"{_numbers(session)} via {session.portal}"
        if session.last_error and session.state != UP:
            yield _trouble(prefix, session.last_error, session.next_attempt, wanted, now)
        if session.kept_because:
            yield f"{prefix}: no longer wanted, but in use: {', '.join(session.kept_because)}"
        for lun in session.luns:
            if lun.replaced:
                yield (
                    f"{prefix}: LUN {lun.lun} is another logical unit than before and has no links"
                )
            if lun.gone:
                yield (
                    f"{prefix}: LUN {lun.lun} is gone at the target, but in use and therefore kept"
                )


def _trouble(prefix: str, error: str, again: float | None, wanted: Wanted, now: float) -> str:
    when = "" if again is None else f" (next attempt in {span(again - now)})"
    return f"{prefix}: {paint(error, Colour.RED, wanted.colour)}{when}"


def _numbers(session: SessionStatus) -> str:
    return (
        session.target_name if session.bus is None else f"bus{session.bus}/target{session.target}"
    )


# --- the blocks ---------------------------------------------------------------------------------


def _blocks(status: Status, wanted: Wanted) -> Iterator[str]:
    yield RULE
    yield f"iscsid version {status.version}"
    yield RULE
    for discovery in status.discoveries:
        yield from _discovery_block(discovery)
    for session in status.sessions:
        yield from _session_block(session)
        if wanted.parameters:
            yield from _parameters(session)
        if wanted.luns:
            yield from _devices(session, status.basedir)
        yield RULE


def _discovery_block(discovery: DiscoveryStatus) -> Iterator[str]:
    yield _pair("DISCOVERY ADDRESS", discovery.address)
    yield _pair("DISCOVERY STATUS", f"{discovery.state} since {format_time(discovery.since)}")
    if discovery.targets is not None:
        yield _pair("TARGETS", str(discovery.targets))
    if discovery.last_error:
        yield _pair("LAST ERROR", discovery.last_error)
    if discovery.next_attempt is not None:
        yield _pair("NEXT ATTEMPT", format_time(discovery.next_attempt))
    yield RULE


def _session_block(session: SessionStatus) -> Iterator[str]:
    tag = "" if session.portal_group_tag is None else f",{session.portal_group_tag}"
    yield _pair("TARGET NAME", session.target_name)
    yield _pair("TARGET ALIAS", session.target_alias)
    yield _pair("HOST NO", "" if session.host_no is None else str(session.host_no))
    yield _pair("BUS ID", "" if session.bus is None else str(session.bus))
    yield _pair("TARGET ID", "" if session.target is None else str(session.target))
    yield _pair("TARGET ADDRESS", f"{session.portal}{tag}")
    if session.connected_to not in ("", session.portal):
        yield _pair("CONNECTED TO", session.connected_to)
    yield _pair("SESSION STATUS", _session_status(session))
    yield _pair("SESSION ID", _session_id(session))
    if session.last_error:
        yield _pair("LAST ERROR", session.last_error)
    if session.next_attempt is not None:
        yield _pair("NEXT ATTEMPT", format_time(session.next_attempt))
    if session.kept_because:
        yield _pair("KEPT FOR", ", ".join(session.kept_because))


def _session_status(session: SessionStatus) -> str:
    when = "" if session.since is None else format_time(session.since)
    if session.state == UP:
        return f"ESTABLISHED AT {when}" if when else "ESTABLISHED"
    return f"{session.state.upper()} SINCE {when}" if when else session.state.upper()


def _session_id(session: SessionStatus) -> str:
    if not session.isid:
        return ""
    return f"ISID {session.isid}" + ("" if session.tsih is None else f" TSIH {session.tsih}")


def _parameters(session: SessionStatus) -> Iterator[str]:
    yield ""
    yield "PARAMETERS:"
    yield THIN_RULE
    for key, value in session.negotiated.items():
        yield f"{key:<36}: {value}"
    if not session.negotiated:
        yield "not known: the session is not up"


def _devices(session: SessionStatus, basedir: str) -> Iterator[str]:
    yield ""
    yield "DEVICE DETAILS:"
    yield THIN_RULE
    for lun in session.luns:
        yield from _device(lun)
        if basedir and lun.links:
            yield f"  Links in {basedir}/{_numbers(session)}/lun{lun.lun}:"
        for link, node in lun.links.items():
            yield f"  {link:<7} -> {node}"
    if not session.luns:
        yield "no logical units"


def _device(lun: LunStatus) -> Iterator[str]:
    yield _pair("LUN ID", str(lun.lun))
    if lun.replaced:
        yield "  Another logical unit than before answers here: it has no links (see the log)."
    if lun.gone:
        yield "  The target has it no more; it is kept because its disk is in use."
    if lun.vendor or lun.model:
        yield f"  Vendor: {lun.vendor} Model: {lun.model} Rev: {lun.revision}"
    if lun.kind:
        yield f"  Type: {lun.kind}"
    if lun.identity:
        yield f"  Identity: {lun.identity}"
    if lun.size is not None:
        yield f"  Size: {size(lun.size)} ({lun.size} bytes)"
    if (disk := lun.links.get("disk")) is not None:
        yield f"  Device: {disk}"


def _pair(key: str, value: str) -> str:
    return f"{key:<{_WIDTH}}: {value}"
