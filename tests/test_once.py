"""What ends ``--once``, and with which exit status; the last tests run it without a kernel."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from iscsid import facts
from iscsid.bindings.binding import Binding
from iscsid.daemon import outcome_of_once
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact
from iscsid.jobs import JobId
from tests.support.patience import PATIENCE
from tests.support.programs import environment, started

JOB = JobId(1)
WHY = Failure(Retry.SOON, "connection refused")


@pytest.mark.parametrize(
    ("fact", "status"),
    [
        (facts.DiscoveryFailed(JOB, WHY), 1),
        (facts.LoginFailed(JOB, WHY), 1),
        (facts.ScanFailed(JOB, WHY), 1),
        (facts.SessionRefused(Binding(0, 0), WHY), 1),
        (facts.WorkerEnded(JOB, WHY), 1),
        (facts.ScanFinished(JOB), 0),
        (facts.WorkerEnded(JOB), None),
        (facts.DiscoveryCompleted(JOB), None),
        (facts.SessionStarted(Binding(0, 0), 1, 2), None),
    ],
)
def test_one_connection_ends_with_its_own_outcome(fact: Fact, status: int | None) -> None:
    assert outcome_of_once(fact) == status


@pytest.fixture
def once(tmp_path: Path) -> list[str]:
    """The command, and a target at a port where nothing answers."""
    (tmp_path / "initiatorname").write_text("InitiatorName=iqn.2024-01.org.example:me\n")
    options = {"-f": "conf", "-b": "bindings", "-l": "links", "-P": "pid"}
    options["--initiatorname"] = "initiatorname"
    files = [word for option, name in options.items() for word in (option, str(tmp_path / name))]
    program = [sys.executable, "-m", "tests.hostile.program", str(tmp_path / "sys")]
    return [*program, str(tmp_path / "asked"), *files, "--once"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_a_login_waits_for_its_target(
    once: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        name = "TargetName=iqn.2024-01.org.example:a"
        (tmp_path / "conf").write_text(f"{name}\n Address={address}\n")
        with started(once, stderr=subprocess.PIPE) as process:
            silent.settimeout(PATIENCE)
            with silent.accept()[0]:
                process.send_signal(number)
                assert process.wait(PATIENCE / 2) == 0
                assert process.stderr is not None
                assert "leaving" in process.stderr.read()


def test_it_ends_with_the_failure_of_its_first_target(once: list[str], tmp_path: Path) -> None:
    entries = "TargetName=iqn.2024-01.org.example:{0}\n Address=127.0.0.1:{1}\n"
    (tmp_path / "conf").write_text(entries.format("a", 1) + entries.format("b", 2))
    done = subprocess.run(
        once, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("connection refused") == 1


def test_it_ends_well_when_there_is_nothing_to_do(once: list[str], tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("")
    done = subprocess.run(once, env=environment(), capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0
