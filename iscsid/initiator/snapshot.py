"""What the initiator knows, as a ``Status`` for people and programs. Pure.

Secrets never get in: nothing of the settings is shown, and of a login only what was negotiated.
"""

from __future__ import annotations

from iscsid.errors import Failure
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.reconciler import Reconciler
from iscsid.initiator.session import Session
from iscsid.protocol.printable import printable
from iscsid.protocol.scsi import is_permitted
from iscsid.status.model import DiscoveryStatus, LunStatus, SessionStatus, Status, negotiated


def take_snapshot(
    reconciler: Reconciler, *, now: float, clock: float, version: str, pid: int, basedir: str
) -> Status:
    """Return all there is to show as of ``now`` (monotonic, seconds).

    ``clock`` is the time of day, in seconds since 1970, when the monotonic clock was at 0.
    """
    snapshot = _Snapshot(clock)
    discoveries = reconciler.targets.discoveries.values()
    sessions = sorted(reconciler.sessions, key=lambda session: session.plan.binding)
    return Status(
        version=version,
        pid=pid,
        written=clock + now,
        monotonic=round(now, 3),
        initiator_name=reconciler.identity.initiator_name,
        basedir=basedir,
        bindings=len(reconciler.bindings),
        discoveries=[snapshot.discovery(discovery) for discovery in discoveries],
        sessions=[snapshot.session(session, reconciler.device_links) for session in sessions],
    )


class _Snapshot:
    """Turns the initiator's monotonic times into times of day."""

    def __init__(self, clock: float) -> None:
        self._clock = clock

    def discovery(self, discovery: Discovery) -> DiscoveryStatus:
        return DiscoveryStatus(
            address=str(discovery.settings.portal),
            state=discovery.state.value,
            since=self._clock + discovery.since,
            targets=len(discovery.targets) if discovery.has_answered else None,
            last_error=_words(discovery.last_failure),
            next_attempt=self._time(discovery.next_attempt_at),
        )

    def session(self, session: Session, device_links: DeviceLinks) -> SessionStatus:
        plan, login = session.plan, session.login
        result = None if login is None else login.result
        return SessionStatus(
            bus=plan.binding.bus,
            target=plan.binding.target,
            target_name=plan.target_name,
            target_alias=printable((result and result.target_alias) or ""),
            state=session.state.value,
            since=self._clock + session.since,
            portal=str(session.portal),
            portal_group_tag=session.portal_group_tag,
            portals=[str(option.portal) for option in plan.options],
            connected_to="" if login is None else str(login.portal),
            found_at=str(plan.found_at or ""),
            initiator_name=session.initiator_name,
            isid=session.isid.hex(),
            tsih=None if result is None else result.tsih,
            sid=session.sid,
            host_no=session.host_no,
            is_tried=session.has_been_tried,
            last_error=_words(session.last_failure),
            next_attempt=self._time(session.next_attempt_at),
            kept_because=list(session.kept_because),
            negotiated={} if result is None else negotiated(result.parameters),
            luns=_luns(session, device_links),
        )

    def _time(self, at: float | None) -> float | None:
        return None if at is None else self._clock + at


def _luns(session: Session, device_links: DeviceLinks) -> list[LunStatus]:
    binding = session.plan.binding
    replaced, wanted = device_links.replaced_luns(binding), session.settings.luns
    return [
        LunStatus(
            lun=lun,
            links=links,
            replaced=lun in replaced,
            gone=lun in session.lun_scanner.kept,
            permitted=is_permitted(lun, wanted),
        )
        for lun, links in device_links.links_of(binding).items()
    ]


def _words(failure: Failure | None) -> str:
    return "" if failure is None else str(failure)
