"""When the tree of names is complete."""

from __future__ import annotations

from iscsid.view.completeness import missing, progress
from iscsid.view.status import DiscoveryStatus, LunStatus, SessionStatus, Status

NAME = "iqn.2024-01.org.example:disk"


def discovery(targets: int | None = 1, error: str = "") -> DiscoveryStatus:
    return DiscoveryStatus(
        address="192.0.2.1:3260", state="waiting", since=0, targets=targets, last_error=error
    )


def session(*luns: LunStatus, state: str = "up", is_tried: bool = True) -> SessionStatus:
    return SessionStatus(
        bus=0, target=0, target_name=NAME, state=state, is_tried=is_tried, luns=list(luns)
    )


def status(*parts: DiscoveryStatus | SessionStatus) -> Status:
    return Status(
        version="4",
        pid=1,
        written=0,
        discoveries=[part for part in parts if isinstance(part, DiscoveryStatus)],
        sessions=[part for part in parts if isinstance(part, SessionStatus)],
    )


DISK = LunStatus(lun=1, kind="Direct-Access", links={"disk": "/dev/sda"})


def test_nothing_configured_is_complete() -> None:
    assert missing(status()) == ()


def test_a_discovery_that_has_not_answered_or_failed_yet_is_waited_for() -> None:
    assert missing(status(discovery(None))) == ("discovery at 192.0.2.1:3260",)
    assert missing(status(discovery(None, "connection refused"))) == ()
    assert missing(status(discovery(0))) == ()


def test_a_session_that_was_never_tried_is_waited_for_and_a_dead_one_is_not() -> None:
    untried = session(state="logging in", is_tried=False)
    assert missing(status(untried)) == (f"session with {NAME}",)
    assert missing(status(session(state="waiting"))) == ()


def test_a_disk_without_a_link_is_waited_for() -> None:
    unlinked = LunStatus(lun=1, kind="Direct-Access")
    assert missing(status(session(DISK, unlinked))) == (f"link to LUN 1 of {NAME}",)
    assert missing(status(session(DISK))) == ()


def test_a_replaced_unit_and_one_without_a_driver_are_not_waited_for() -> None:
    replaced = LunStatus(lun=1, kind="Direct-Access", replaced=True)
    controller = LunStatus(lun=0, kind="type 12")
    assert missing(status(session(replaced, controller))) == ()


def test_progress_counts_sessions() -> None:
    assert progress(status(session(), session(state="down"))) == "1 of 2 sessions up"
    assert progress(status(session())) == "1 of 1 session up"
