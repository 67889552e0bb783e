"""``iscsid --check --login`` as a program, against scripted targets in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from iscsid.cli.options import parse
from iscsid.errors import IscsidError
from iscsid.exit_status import ExitStatus
from iscsid.jobs import Job
from iscsid.login_check.run import run_login_check
from iscsid.workers.fork_server import ForkServer
from iscsid.workers.reporter import Reporter
from tests.support.patience import FACTOR, PATIENCE, wait_until
from tests.support.programs import started
from tests.support.supervisor_harness import forked
from tests.target.portal import listen, serve
from tests.target.profile import LIO
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget

NAME = "iqn.2003-02.org.example"
ME = f"{NAME}:me"
SECRET = "open-sesame-1"
NOBODY = 65534
ONLY_CHECK = ("--check", "--login")

Serve = Callable[[Script], str]


@pytest.fixture
def served() -> Iterator[Serve]:
    """Start scripted targets; each call returns the address of one."""
    running = []

    def start(script: Script) -> str:
        with listen() as listener:
            process = forked(lambda: serve(listener, lambda: ScriptedTarget(script)))
            process.__enter__()
            running.append(process)
            return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for process in running:
        process.__exit__(None, None, None)


class Command:
    """The program, with files of its own."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "iscsi.conf"
        self.initiatorname = directory / "initiatorname.iscsi"
        self.initiatorname.write_text(f"InitiatorName={ME}\n")

    def configure(self, *lines: str) -> None:
        self.config.write_text("".join(f"{line}\n" for line in lines))
        self.config.chmod(0o600)

    def line(self, *options: str) -> list[str]:
        files = ["-f", str(self.config), "--initiatorname", str(self.initiatorname)]
        return [sys.executable, "-m", "iscsid", "--check", "--login", *files, *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.line(*options), capture_output=True, text=True, timeout=PATIENCE)

    def shown(self, *options: str) -> tuple[int, list[str]]:
        """Return the exit status, and the lines behind those about the two files."""
        done = self.run(*options)
        assert done.stderr == "", done.stderr
        lines = done.stdout.splitlines()
        assert lines[:2] == [
            f"{self.config}: no errors (DiscoveryAddress: "
            f"{self.config.read_text().count('DiscoveryAddress')}, targets with Address: "
            f"{self.config.read_text().count(' Address')})",
            f"{self.initiatorname}: no errors (this initiator is {ME})",
        ]
        return done.returncode, lines[2:]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def listing(*names: str, address: str = "") -> tuple[Listed, ...]:
    return tuple(Listed(f"{NAME}:{name}", (address,) if address else ()) for name in names)


def test_if_all_is_well_every_target_is_reported_and_the_status_is_0(
    served: Serve, command: Command
) -> None:
    # A target without an address of its own is where it was found.
    address = served(Script(listed=listing("red", "green"), values={"MaxBurstLength": "65536"}))
    command.configure(f"DiscoveryAddress={address}", f"TargetName={NAME}:green", " Enabled=no")
    status, lines = command.shown()
    assert status == 0
    assert lines[0] == f"DiscoveryAddress {address}: 2 targets"
    assert lines[2:4] == [
        f"TargetName {NAME}:red (found at {address})",
        f"    {address}: logged in and out, without authentication",
    ]
    assert "MaxBurstLength=65536" in lines[5]
    assert lines[-5:] == [
        "",
        f"TargetName {NAME}:green (found at {address})",
        "    not enabled",
        "",
        "1 discovery, 1 login: all is well",
    ]


def test_a_static_target_needs_no_discovery(served: Serve, command: Command) -> None:
    address = served(Script(profile=LIO, accounts={"alice": SECRET.encode()}))
    login = (" Username=alice", f" Password={SECRET}")
    command.configure(f"TargetName={NAME}:red", f" Address={address}", *login)
    status, lines = command.shown()
    assert status == 0
    assert f"    {address}: logged in and out, authenticated by CHAP as alice" in lines
    assert "        TargetAlias=LIO Target" in lines
    assert SECRET not in "\n".join(lines)


def test_a_dead_portal_holds_no_other_up_and_costs_the_good_status(
    served: Serve, command: Command
) -> None:
    limit = max(1, round(FACTOR))  # in which the other target must log in
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = f"127.0.0.1:{silent.getsockname()[1]}"
        address = served(Script(listed=listing("red")))
        command.configure(
            f"DiscoveryAddress={address}", f"TargetName={NAME}:green", f" Address={dead}"
        )
        status, lines = command.shown(f"--login-timeout={limit}")
    assert status == 1
    assert lines[2:6] == [
        f"TargetName {NAME}:green (named in the file)",
        f"    {dead}: FAILED",
        f"        logging in: no answer within the {limit} s for all of the login",
        "        advice: look at the cable, the switch and the firewalls on the way, "
        "and whether the target runs",
    ]
    assert f"    {address}: logged in and out, without authentication" in lines
    assert lines[-1] == "1 discovery, 2 logins: 1 failed"


def test_a_wrong_secret_is_reported_with_advice_and_without_the_secret(
    served: Serve, command: Command
) -> None:
    address = served(Script(accounts={"alice": b"another-secret-2"}))
    login = (" Username=alice", f" Password={SECRET}")
    command.configure(f"TargetName={NAME}:red", f" Address={address}", *login)
    done = command.run("-dd")
    assert done.returncode == 1
    assert f"    {address}: FAILED\n" in done.stdout and "advice: " in done.stdout
    assert "CHAP_R" in done.stderr, "the exchange is not shown"
    assert SECRET not in done.stdout + done.stderr


def test_a_redirection_is_reported(served: Serve, command: Command) -> None:
    there = served(Script())
    here = served(Script(statuses={0: 0x0101}, moved_to=(there,)))
    command.configure(f"TargetName={NAME}:red", f" Address={here}")
    status, lines = command.shown()
    assert status == 0
    assert f"        sent on from {here} to {there} for now" in lines
    assert f"        the login succeeded at {there}" in lines


def test_errors_in_the_files_come_before_any_login(command: Command) -> None:
    command.configure("DiscoveryAddress=127.0.0.1:1", "Foo=1")
    done = command.run()
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{command.config}:2:1: unknown keyword 'Foo'" in done.stdout
    assert "127.0.0.1" not in done.stdout
    done = command.run("--json")
    assert done.returncode == 1
    (error,) = json.loads(done.stdout)["errors"]
    assert error.startswith(f"{command.config}:2:1: unknown keyword 'Foo'")


def test_json_is_all_there_is_on_standard_output(served: Serve, command: Command) -> None:
    address = served(Script(listed=listing("red")))
    command.configure(f"DiscoveryAddress={address}", "DiscoveryAddress=127.0.0.1:1")
    done = command.run("--json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["ok"]) == (1, "", False)
    assert [each["ok"] for each in report["discoveries"]] == [True, False]
    assert report["targets"][0]["portals"][0]["negotiated"]["ErrorRecoveryLevel"] == 0


def test_steps_are_printed_on_standard_error_when_they_are_asked_for(
    served: Serve, command: Command
) -> None:
    address = served(Script(listed=listing("red")))
    command.configure(f"DiscoveryAddress={address}")
    done = command.run("-d")
    lines = done.stderr.splitlines()
    assert f"discovery at {address}: asking for targets" in lines
    assert f"login {NAME}:red via {address}: logging out" in lines
    assert not any("CSG" in line for line in lines)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may look into, other than pytest's."""
    with tempfile.TemporaryDirectory(prefix="iscsid-trial-") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def test_no_user_needs_to_be_root(served: Serve, open_directory: Path) -> None:
    """In a fork of the test: another user may not even read the Python of some machines."""
    address = served(Script(listed=listing("red")))
    command = Command(open_directory)
    command.configure(f"DiscoveryAddress={address}")
    command.config.chmod(0o644)
    options = parse(command.line()[3:])
    with (open_directory / "output").open("w+") as output:
        pid = os.fork()
        if pid == 0:
            status = ExitStatus.BUG.value
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setresgid(NOBODY, NOBODY, NOBODY)
                    os.setresuid(NOBODY, NOBODY, NOBODY)
                with closing(ForkServer()) as fork_server:
                    status = run_login_check(options, fork_server, output, output)
                output.flush()
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0) == (pid, 0)
        output.seek(0)
        assert output.read().endswith("1 discovery, 1 login: all is well\n")


def is_over(output: Path) -> bool:
    return output.exists() and "1 failed" in output.read_text()


def test_a_worker_that_was_taken_over_cannot_send_the_terminal_anything(
    command: Command, tmp_path: Path
) -> None:
    """Its lines are printed with -d."""

    def run_job(_job: Job, reporter: Reporter) -> None:
        reporter.progress("\x1b]0;owned\x07")
        raise IscsidError("over")

    command.configure("DiscoveryAddress=127.0.0.1:1")
    options = parse(command.line("-d")[3:])

    def check() -> None:
        with closing(ForkServer(run_job)) as fork_server, (tmp_path / "output").open("w") as output:
            run_login_check(options, fork_server, output, output)

    with forked(check):
        wait_until(lambda: is_over(tmp_path / "output"), lambda: "it goes on")
    output = (tmp_path / "output").read_text()
    assert "\\x1b]0;owned" in output and "\x1b" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_its_children(command: Command, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command.configure(f"DiscoveryAddress=127.0.0.1:{silent.getsockname()[1]}")
        with started(command.line("-d"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert "connecting" in process.stderr.readline()
            silent.settimeout(PATIENCE)
            connection, _ = silent.accept()
            process.send_signal(number)
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert errors.splitlines()[-1] == "iscsid: ended by a signal"
            # The worker is gone: its end of the connection is closed.
            connection.settimeout(PATIENCE)
            while connection.recv(65536):
                pass
            connection.close()


def test_the_targets_at_an_address_are_printed_without_a_file(
    served: Serve, command: Command
) -> None:
    elsewhere = (f"{NAME}:green", ("192.0.2.9:3260,2", "[2001:db8::9]:3261"))
    address = served(Script(listed=(*listing("red"), Listed(*elsewhere))))
    line = [each for each in command.line("--discover", address) if each not in ONLY_CHECK]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{address} {NAME}:red",
        f"192.0.2.9:3260,2 {NAME}:green",
        f"[2001:db8::9]:3261 {NAME}:green",
    ]
    done = subprocess.run([*line, "--json"], capture_output=True, text=True, timeout=PATIENCE)
    (discovery,) = json.loads(done.stdout)["discoveries"]
    assert discovery["targets"] == [f"{NAME}:red", f"{NAME}:green"]


def test_an_address_that_does_not_answer_costs_one_line(command: Command) -> None:
    line = [each for each in command.line("--discover", "127.0.0.1:1") if each not in ONLY_CHECK]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "iscsid: 127.0.0.1:1: connecting to 127.0.0.1:1: connection refused"
    )
    assert done.stderr.count("\n") == 1


def test_one_address_and_one_target_are_tried_without_a_file(
    served: Serve, command: Command
) -> None:
    address = served(Script(listed=listing("red", "green")))
    done = command.run(address, f"{NAME}:green")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"DiscoveryAddress {address}: 2 targets"
    assert lines[2] == f"TargetName {NAME}:green (found at {address})"
    assert lines[-1] == "1 discovery, 1 login: all is well"
    assert f"{NAME}:red" not in done.stdout
    done = command.run(address, f"{NAME}:blue")
    assert done.returncode == 1
    assert done.stdout.endswith(f"no target {NAME}:blue was found\n")
