"""The owner's knowledge as a ``Status``: what may be shown of it. Pure.

Secrets never come in here: of the settings nothing is shown, of a login what was agreed.
"""

from __future__ import annotations

from iscsid.errors import Failure
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.reconciler import Reconciler
from iscsid.initiator.session import Session
from iscsid.protocol.printable import printable
from iscsid.status.model import DiscoveryStatus, LunStatus, SessionStatus, Status, negotiated


class Overview:
    """Turns the owner's clock, which nobody else has, into the time of day.

    ``clock`` is the time of day, in seconds since 1970, when the monotonic clock was at 0.
    """

    def __init__(self, clock: float) -> None:
        self._clock = clock

    def status(
        self, inventory: Reconciler, *, now: float, version: str, pid: int, basedir: str
    ) -> Status:
        """Return the whole picture as of ``now`` (monotonic, seconds)."""
        discoveries = inventory.targets.discoveries.values()
        sessions = sorted(inventory.sessions, key=lambda session: session.path.binding)
        return Status(
            version=version,
            pid=pid,
            written=self._clock + now,
            initiator_name=inventory.identity.initiator_name,
            basedir=basedir,
            bindings=len(inventory.bindings),
            discoveries=[self._discovery(discovery) for discovery in discoveries],
            sessions=[self._session(session, inventory.device_links) for session in sessions],
        )

    def _discovery(self, discovery: Discovery) -> DiscoveryStatus:
        return DiscoveryStatus(
            address=str(discovery.settings.portal),
            state=discovery.state.value,
            since=self._clock + discovery.since,
            targets=len(discovery.targets) if discovery.has_answered else None,
            last_error=_words(discovery.last_failure),
            next_attempt=self._time(discovery.next_attempt_at),
        )

    def _session(self, session: Session, device_links: DeviceLinks) -> SessionStatus:
        path, attempts, login = session.path, session.attempts, session.login
        result = None if login is None else login.result
        return SessionStatus(
            bus=path.binding.bus,
            target=path.binding.target,
            target_name=path.target_name,
            target_alias=printable((result and result.target_alias) or ""),
            state=session.state.value,
            since=self._clock + session.since,
            portal=str(attempts.option.portal),
            portal_group_tag=attempts.option.portal_group_tag,
            portals=[str(option.portal) for option in path.options],
            connected_to="" if login is None else str(login.portal),
            found_at=str(path.found_at or ""),
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
    binding = session.path.binding
    replaced, wanted = device_links.replaced_luns(binding), session.settings.luns
    return [
        LunStatus(
            lun=lun,
            links=links,
            replaced=lun in replaced,
            gone=lun in session.scans.kept,
            permitted=wanted is None or lun in wanted,
        )
        for lun, links in device_links.links_of(binding).items()
    ]


def _words(failure: Failure | None) -> str:
    return "" if failure is None else str(failure)
