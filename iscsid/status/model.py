"""The daemon's status: every DiscoveryAddress, session and LUN as a plain value, and as JSON.

The values are of JSON's own kinds, so that what was written is what is read. Times are seconds
since 1970; in JSON they are texts such as 2026-11-20T13:59:18Z. ``initiator.snapshot`` fills in
what the initiator knows, ``process.status_files`` what /sys shows; iscsi-ls(1) lists the fields.
Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from iscsid.protocol.parameters import AgreedParameters
from iscsid.protocol.printable import unprintable_escaped

UP = "up"
"""The state of a session that works."""

_TIMES = frozenset({"since", "next_attempt", "written"})
_NOT_ASCII = re.compile(r"[^\n -~]")
_LINKS = ("disk", "cd", "mt", "generic")
_Kind = TypeVar("_Kind", "DiscoveryStatus", "LunStatus")
_Any = TypeVar("_Any")
_Timed = TypeVar("_Timed", "DiscoveryStatus", "SessionStatus")

KEYS = {
    "header_digest": "HeaderDigest",
    "data_digest": "DataDigest",
    "max_connections": "MaxConnections",
    "initial_r2t": "InitialR2T",
    "immediate_data": "ImmediateData",
    "max_recv_data_segment_length": "MaxRecvDataSegmentLength",
    "target_max_recv_data_segment_length": "TargetMaxRecvDataSegmentLength",
    "first_burst_length": "FirstBurstLength",
    "max_burst_length": "MaxBurstLength",
    "default_time2wait": "DefaultTime2Wait",
    "default_time2retain": "DefaultTime2Retain",
    "max_outstanding_r2t": "MaxOutstandingR2T",
    "data_pdu_in_order": "DataPDUInOrder",
    "data_sequence_in_order": "DataSequenceInOrder",
    "error_recovery_level": "ErrorRecoveryLevel",
}
"""The agreed parameters as the standard spells them, in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryStatus:
    """One DiscoveryAddress."""

    address: str
    state: str
    since: float
    targets: int | None = None
    """The number of targets it has reported; ``None``: it has not answered yet."""
    last_error: str = ""
    next_attempt: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LunStatus:
    """One logical unit."""

    lun: int
    links: dict[str, str] = field(default_factory=dict)
    """The node of each link: ``{"disk": "/dev/sda"}``."""
    replaced: bool = False
    """It has no links because another logical unit than before answers."""
    gone: bool = False
    """The target has removed it; it stays because its disk is in use."""
    permitted: bool = True
    """If false, it has no links because the configuration excludes this LUN."""
    unlinked: list[str] = field(default_factory=list)
    """The links that are not made yet although their nodes exist."""
    size: int | None = None
    """In bytes, if it has a size."""
    vendor: str = ""
    model: str = ""
    revision: str = ""
    kind: str = ""
    identity: str = ""
    """Its WWID."""

    @property
    def node(self) -> str:
        """Its most useful device node: the disk, the drive, or the generic device."""
        return next((self.links[link] for link in _LINKS if link in self.links), "")

    @property
    def may_have_links(self) -> bool:
        return self.permitted and not self.replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDevice:
    """A disk, a partition, or what is built on them; read when it is shown, not by the daemon."""

    name: str
    """Without /dev/; of device-mapper the name that people gave it."""
    size: int | None = None
    mounted_on: tuple[str, ...] = ()
    children: tuple[BlockDevice, ...] = ()

    def all_mounts(self) -> list[str]:
        """Return where it and what is built on it is mounted."""
        found = dict.fromkeys(self.mounted_on)
        for child in self.children:
            found |= dict.fromkeys(child.all_mounts())
        return list(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """One session, up or wanted; ``bus`` is ``None`` for another program's."""

    bus: int | None
    target: int | None
    target_name: str
    target_alias: str = ""
    state: str
    since: float | None = None
    portal: str = ""
    """The one in use, or to be tried next."""
    portal_group_tag: int | None = None
    portals: list[str] = field(default_factory=list)
    """In the order in which they are tried."""
    connected_to: str = ""
    """Where the last login succeeded, redirections followed."""
    found_at: str = ""
    """The DiscoveryAddress; empty: the configuration names the target."""
    initiator_name: str = ""
    """The name of this machine for the target."""
    isid: str = ""
    tsih: int | None = None
    sid: int | None = None
    host_no: int | None = None
    is_tried: bool = True
    """Whether it is up with its LUNs looked for, or an attempt has failed."""
    last_error: str = ""
    next_attempt: float | None = None
    kept_because: list[str] = field(default_factory=list)
    """It is no longer configured or discovered, but its disks are in use: by what."""
    negotiated: dict[str, str | int] = field(default_factory=dict)
    """The parameters of the connection, by the standard's names of the keys."""
    luns: list[LunStatus] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its directory below /dev/iscsi, or another program's target name."""
        return self.target_name if self.bus is None else f"bus{self.bus}/target{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole status at the time ``written``."""

    version: str
    pid: int | None
    """``None``: no daemon runs, this is what the kernel shows."""
    written: float
    monotonic: float | None = None
    """The same moment on the monotonic clock; what ``with_clock`` needs."""
    initiator_name: str = ""
    basedir: str = ""
    bindings: int | None = None
    """The number of bindings."""
    discoveries: list[DiscoveryStatus] = field(default_factory=list)
    sessions: list[SessionStatus] = field(default_factory=list)


def for_terminals(value: _Any) -> _Any:
    """Return a value with every text in it made printable: targets, workers and processes choose
    some, and an escape sequence would go to the terminal of whoever lists sessions."""
    result: Any = value
    if isinstance(value, str):
        result = unprintable_escaped(value)
    elif isinstance(value, list | tuple):
        result = type(value)(map(for_terminals, value))
    elif isinstance(value, dict):
        result = {for_terminals(key): for_terminals(each) for key, each in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        changed = {each.name: for_terminals(getattr(value, each.name)) for each in fields(value)}
        result = replace(value, **changed)
    return cast(_Any, result)


CLOCK_TOLERANCE = 2.0
"""Seconds: times are written to the second, and a clock that is slewed moves a little."""


def with_clock(status: Status, clock: float) -> Status:
    """Return the status with its times on the wall clock as it is set now.

    ``clock`` is the time of day, in seconds since 1970, when the monotonic clock was at 0. If the
    wall clock has been set since the status was written, the ages would be off by as much.
    """
    if status.monotonic is None:
        return status
    moved = clock - (status.written - status.monotonic)
    if abs(moved) < CLOCK_TOLERANCE:
        return status
    return replace(
        status,
        written=status.written + moved,
        discoveries=[_moved(each, moved) for each in status.discoveries],
        sessions=[_moved(each, moved) for each in status.sessions],
    )


def negotiated(parameters: AgreedParameters) -> dict[str, str | int]:
    """Return the agreed parameters by the standard's names, with the standard's values."""
    values = ((key, getattr(parameters, name)) for name, key in KEYS.items())
    return {key: _word(value) for key, value in values}


def to_json(status: Status) -> str:
    """Return the status as a JSON text."""
    return join_json(status, map(session_json, status.sessions))


def session_json(session: SessionStatus) -> str:
    """Return one session as it stands in the status."""
    text = _json(_with_times(asdict(session)))
    # No line feed is within a string. (textwrap.indent knows other ends of lines, too.)
    return "  " + text.replace("\n", "\n  ")


def join_json(status: Status, sessions: Iterable[str]) -> str:
    """Return the status as a JSON text, with sessions that are text already."""
    plain = _with_times(asdict(replace(status, sessions=[])))
    text = _json(plain)
    # They are the last field, and so stand at the end.
    start = text.removesuffix("[]\n}")
    joined = ",\n".join(sessions)
    return f"{start}[\n{joined}\n ]\n}}\n" if joined else f"{text}\n"


def _json(value: Any) -> str:
    """Return a JSON text of printable characters and line feeds."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return _NOT_ASCII.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def from_json(text: str) -> Status:
    """Return the status that ``to_json`` wrote; unknown fields are ignored.

    Raises ``ValueError`` for anything else.
    """
    try:
        data = _without_times(json.loads(text))
        sessions = [
            SessionStatus(**_known(SessionStatus, each) | {"luns": _each(LunStatus, each["luns"])})
            for each in data["sessions"]
        ]
        discoveries = _each(DiscoveryStatus, data["discoveries"])
        lists = {"sessions": sessions, "discoveries": discoveries}
        return Status(**_known(Status, data) | lists)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no status of iscsid: {error}") from None


def _moved(status: _Timed, moved: float) -> _Timed:
    times = {
        name: getattr(status, name) + moved
        for name in ("since", "next_attempt")
        if getattr(status, name) is not None
    }
    return replace(status, **times)


def _each(kind: type[_Kind], data: list[dict[str, Any]]) -> list[_Kind]:
    return [kind(**_known(kind, each)) for each in data]


def _known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _with_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: format_time(each) if key in _TIMES and each is not None else _with_times(each)
            for key, each in value.items()
        }
    return [_with_times(each) for each in value] if isinstance(value, list) else value


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _parse_time(each) if key in _TIMES and each is not None else _without_times(each)
            for key, each in value.items()
        }
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def format_time(seconds: float) -> str:
    """Write a time as it stands in JSON, to the second."""
    return datetime.fromtimestamp(round(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _word(value: object) -> str | int:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return value if isinstance(value, int) else str(getattr(value, "value", value))
