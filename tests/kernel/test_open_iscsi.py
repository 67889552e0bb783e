"""open-iscsi's daemon is noticed by the address it listens at, and is not called."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from iscsid.errors import AlreadyRunning
from iscsid.kernel.open_iscsi import refuse_open_iscsi
from tests.support.supervisor_harness import forked

ADDRESS = b"\0ISCSIADM_ABSTRACT_NAMESPACE"
NOBODY = 65534


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(ADDRESS)
        listener.listen()
        listener.setblocking(False)
        yield listener


def test_machine_without_open_iscsi_is_ours() -> None:
    refuse_open_iscsi()
    refuse_open_iscsi()


def test_running_open_iscsi_is_refused_by_name(listener: socket.socket) -> None:
    with pytest.raises(AlreadyRunning, match="open-iscsi's iscsid .*systemctl disable --now"):
        refuse_open_iscsi()


def test_asking_does_not_wake_what_systemd_listens_for(listener: socket.socket) -> None:
    with pytest.raises(AlreadyRunning):
        refuse_open_iscsi()
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
def test_a_user_who_takes_the_address_does_not_keep_the_daemon_from_starting() -> None:
    """Anybody can: the address is in the abstract namespace."""
    is_taken, report = os.pipe()

    def life() -> None:
        os.setuid(NOBODY)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(ADDRESS)
            sock.listen()
            os.write(report, b"x")
            signal.pause()

    with forked(life):
        assert os.read(is_taken, 1) == b"x"
        refuse_open_iscsi()
    os.close(is_taken)
    os.close(report)


def test_asking_leaves_the_address_free_for_its_owner() -> None:
    refuse_open_iscsi()
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(ADDRESS)
