"""What iscsi-ls prints with -l and -c: all details of each session, in blocks. Pure.

The blocks have the keys of the Linux-iSCSI driver's iscsi-ls, ``KEY : value``, one to a line.
"""

from __future__ import annotations

from collections.abc import Iterator

from iscsid.status.humanize import size
from iscsid.status.model import UP, DiscoveryStatus, LunStatus, SessionStatus, Status, format_time

RULE = "*" * 79
THIN_RULE = "-" * 79
_WIDTH = 17


def format_details(status: Status, *, luns: bool, parameters: bool) -> Iterator[str]:
    """Yield the lines: a block for each discovery and each session."""
    yield RULE
    yield f"iscsid version {status.version}"
    yield RULE
    for discovery in status.discoveries:
        yield from _discovery_block(discovery)
    for session in status.sessions:
        yield from _session_block(session)
        if parameters:
            yield from _parameters(session)
        if luns:
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
    if session.initiator_name:
        yield _pair("INITIATOR NAME", session.initiator_name)
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
            yield f"  Links in {basedir}/{session.label}/lun{lun.lun}:"
        for link, node in lun.links.items():
            yield f"  {link:<7} -> {node}"
    if not session.luns:
        yield "no logical units"


def _device(lun: LunStatus) -> Iterator[str]:
    yield _pair("LUN ID", str(lun.lun))
    if lun.replaced:
        yield "  Another logical unit than before answers: there are no links (see the log)."
    if lun.gone:
        yield "  The target has removed it; it stays because its disk is in use."
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
