"""udev's ear on this machine; sessions, and events that are lost, are for the virtual machine."""

from __future__ import annotations

import select

import pytest

from iscsid.devices.udev import Removals, Udev


@pytest.fixture
def udev() -> Udev:
    try:
        return Udev()
    except OSError as error:
        pytest.skip(f"udev's events cannot be heard here: {error}")


def test_devices_of_no_session_are_not_reported(udev: Udev) -> None:
    assert udev.enumerate() == []


def test_reading_when_there_is_nothing_does_not_wait(udev: Udev) -> None:
    assert udev.read_events() == []
    assert select.select([udev], [], [], 0) == ([], [], [])


def test_removals_do_not_wait_for_one(udev: Udev) -> None:
    removals = Removals()
    assert removals.read_events() == []
    assert select.select([removals], [], [], 0) == ([], [], [])
