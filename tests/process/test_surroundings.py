"""The daemon in surroundings that fail: file systems, limits, locales, what others have planted.

One row for each fault. The daemon program runs with the fake kernel, in a mount namespace of its
own if the row mounts something, with an honest target. It either refuses to start, with one line
and status 1, or goes on: the target gets its session, and SIGTERM ends the daemon with status 0.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.support.patience import PATIENCE, wait_until
from tests.support.surroundings import (
    Place,
    check_log,
    end,
    full,
    read_only,
    running,
    until_up,
)
from tests.target.portal import Portals

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@dataclass(frozen=True)
class Fault:
    """``before`` is done before the start, ``after`` in the namespace while the daemon runs.

    Both are commands of a shell in the directory with the daemon's files, each of which has a
    directory of its own. ``words`` are in the one line about it; none, and there is no line.
    """

    before: str = "true"
    words: str = ""
    refuses: bool = False
    after: str = ""
    signals: tuple[signal.Signals, ...] = ()
    limit: str = ""
    """What is set by ulimit."""
    variables: tuple[str, ...] = ()
    lines: int = 1


def refuses(before: str, words: str, **more: object) -> Fault:
    return Fault(before, words, refuses=True, **more)  # type: ignore[arg-type]


IN_RUN = "mkdir run/iscsid"
HANGUP = (signal.SIGHUP,)
STARTS: dict[str, Fault] = {
    # The configuration and the name of the initiator.
    "no-configuration": refuses("rm conf/file", "conf/file"),
    "configuration-is-a-directory": refuses("rm conf/file; mkdir conf/file", "conf/file"),
    "configuration-is-a-pipe": refuses("rm conf/file; mkfifo conf/file", "conf/file"),
    "configuration-is-a-device": refuses("rm conf/file; ln -s /dev/zero conf/file", "conf/file"),
    "configuration-links-to-itself": refuses("ln -sf file conf/file", "conf/file"),
    "configuration-of-proc": refuses(
        "ln -sf /proc/self/mem conf/file", "conf/file"),
    "no-name": refuses("rm name/file", "iscsi-iname"),
    "name-is-a-directory": refuses("rm name/file; mkdir name/file", "name/file"),
    "name-is-empty": refuses(": >name/file", "name/file"),
    "name-links-to-itself": refuses("ln -sf file name/file", "name/file"),
    "name-is-binary": refuses("printf '\\000\\033\\377\\200=' >name/file", "name/file"),
    # The bindings.
    "bindings-read-only": Fault(read_only("bindings"), "bindings/file", lines=2),
    "bindings-full": Fault(full("bindings"), "bindings/file", lines=2),
    "bindings-below-a-file": refuses("rmdir bindings; touch bindings", "bindings"),
    "bindings-are-a-directory": refuses("mkdir bindings/file", "not a regular file"),
    "bindings-are-a-pipe": refuses("mkfifo bindings/file", "not a regular file"),
    "bindings-link-to-themselves": refuses("ln -s file bindings/file", "bindings/file"),
    "bindings-are-zeros": Fault("head -c 4096 /dev/zero >bindings/file", "bindings/file", lines=4),
    "bindings-have-no-directory": Fault("rmdir bindings"),
    "bindings-lock-is-a-link": Fault(
        "ln -s ../victim bindings/.file.lock", "bindings/file", lines=2),
    "bindings-lock-is-a-pipe": Fault("mkfifo bindings/.file.lock"),
    "new-bindings-are-a-link": Fault("ln -s ../victim bindings/.file.new"),
    "new-bindings-are-a-directory": Fault(
        "mkdir bindings/.file.new", "bindings/file", lines=2),
    # The pid file and its lock.
    "lock-is-a-link": refuses("ln -s ../victim run/iscsid.pid.lock", "symbolic link"),
    "lock-of-another": refuses(
        "touch run/iscsid.pid.lock; chown nobody run/iscsid.pid.lock", "another user's"),
    "new-pid-file-is-a-link": Fault("ln -s ../victim run/iscsid.pid.new"),
    "new-pid-file-is-a-directory": refuses("mkdir run/iscsid.pid.new", "Is a directory"),
    "pid-file-full": refuses(full("run"), "No space left"),
    "pid-file-read-only": refuses(read_only("run"), "Read-only file system"),
    "pid-file-has-no-directory": refuses("rmdir run", "No such file or directory"),
    "pid-file-is-a-link": refuses("ln -s /etc/passwd run/iscsid.pid", "symbolic link"),
    "pid-file-is-a-directory": refuses("mkdir run/iscsid.pid", "run/iscsid.pid"),
    "pid-file-is-another-file": refuses("echo precious >run/iscsid.pid", "not overwritten"),
    # The status files, in a directory beside the pid file.
    "status-is-a-file": Fault("touch run/iscsid", "the status is not written"),
    "status-is-a-link": Fault("mkdir far; ln -s ../far run/iscsid", "the status is not written"),
    "status-read-only": Fault(f"mkdir run/iscsid; {read_only('run/iscsid')}", "status is not"),
    "status-full": Fault(f"mkdir run/iscsid; {full('run/iscsid')}", "the status is not written"),
    "status-of-another": Fault(f"{IN_RUN}; chown nobody run/iscsid", "another user may write"),
    "status-for-all": Fault("mkdir -m 0777 run/iscsid", "another user may write"),
    "status-file-is-a-link": Fault(f"{IN_RUN}; ln -s ../../victim run/iscsid/status.json"),
    "status-file-is-a-directory": Fault(
        f"{IN_RUN}; mkdir run/iscsid/status.json", "the status is not written"),
    "new-status-is-a-link": Fault(f"{IN_RUN}; ln -s ../../victim run/iscsid/.status.json.new"),
    "new-status-is-a-directory": Fault(
        f"{IN_RUN}; mkdir run/iscsid/.status.json.new", "the status is not written"),
    "new-status-is-a-pipe": Fault(f"{IN_RUN}; mkfifo run/iscsid/.status.json.new"),
    "devices-are-a-link": Fault(f"{IN_RUN}; ln -s ../../victim run/iscsid/devices"),
    "new-devices-are-a-link": Fault(f"{IN_RUN}; ln -s ../../victim run/iscsid/.devices.new"),
    # The tree of links.
    "links-are-a-file": Fault("touch links", "links"),
    "links-are-a-link": Fault("ln -s /etc links", "links"),
    "links-read-only": Fault(f"mkdir links; {read_only('links')}"),
    "links-hold-junk": Fault("mkdir -p links/bus0/target0/lun0; touch links/bus0/target0/x"),
    # Limits and locales.
    "few-descriptors": refuses("true", "raise the limit of descriptors", limit="-n 9"),
    "fewer-descriptors": refuses("true", "raise the limit of descriptors", limit="-n 6"),
    "no-processes": refuses("touch no-forks", "raise the limit of processes"),
    "memory-for-python-alone": refuses("true", "", limit="-v 30000"),
    "some-descriptors": Fault(limit="-n 40"),
    "no-core": Fault(limit="-c 0"),
    "no-locked-memory": Fault(limit="-l 0"),
    "locale-that-does-not-exist": Fault(variables=("LC_ALL=xx_XX.UTF-8", "LANG=xx")),
    "locale-of-ascii": Fault(variables=("LC_ALL=C", "PYTHONUTF8=0", "PYTHONIOENCODING=ascii")),
    "no-environment": Fault(variables=("HOME=", "TERM=", "LANG=")),
    "a-zone-that-does-not-exist": Fault(variables=("TZ=:/nowhere",)),
}  # fmt: skip

RUNNING: dict[str, Fault] = {
    "configuration-vanishes": Fault(
        after="rm conf/file", words="conf/file", signals=HANGUP, lines=2),
    "configuration-file-system-vanishes": Fault(
        "cp conf/file kept; mount -t tmpfs tmpfs conf; cp -p kept conf/file; chmod 600 conf/file",
        after="umount -l conf; rm conf/file", words="conf/file", signals=HANGUP, lines=2),
    "name-vanishes": Fault(after="rm name/file", words="name/file", signals=HANGUP, lines=2),
    "bindings-vanish": Fault(after="rm -rf bindings", signals=HANGUP),
    "bindings-become-a-directory": Fault(
        after="rm -rf bindings/file; mkdir bindings/file", words="bindings/file", signals=HANGUP,
        lines=2),
    "run-vanishes": Fault(after="rm -rf run", words="the status is not written", signals=HANGUP),
    # A link such as /var/run may be on a disk that waits for the daemon: it is followed once.
    "link-to-the-pid-file-vanishes": Fault(
        "mv run real; ln -s real run",
        after="rm run real/iscsid.pid; until [ -s real/iscsid.pid ]; do sleep 0.1; done"),
    "links-vanish": Fault(after="rm -rf links", signals=HANGUP),
    "its-own-program-vanishes": Fault(after="mount -t tmpfs tmpfs {top}/iscsid", signals=HANGUP),
}  # fmt: skip


def prepared(fault: Fault) -> str:
    """Return what a shell does before the daemon's start."""
    exports = "".join(f"export {each}; " for each in fault.variables)
    return f"{fault.before}; {exports}ulimit {fault.limit or '-S -c 0'}"


def check_lines(place: Place, fault: Fault) -> None:
    check_log(place)
    assert (place.directory / "victim").read_text() == "precious\n"
    found = place.about(fault.words) if fault.words else []
    assert len(set(found)) <= fault.lines, found
    if fault.words:
        assert found, place.log


@pytest.mark.parametrize("fault", STARTS.values(), ids=STARTS)
def test_it_refuses_to_start_in_one_line_or_goes_on(
    fault: Fault, place: Place, portals: Portals
) -> None:
    with running(place, prepared(fault)) as process:
        if fault.refuses:
            assert process.wait(PATIENCE) == 1, place.log
            assert len(place.log) == 1, place.log
        else:
            until_up(place, portals, process)
            wait_until(lambda: not fault.words or place.about(fault.words), lambda: str(place.log))
            end(process, place)
    check_lines(place, fault)


@pytest.mark.parametrize("fault", RUNNING.values(), ids=RUNNING)
def test_it_goes_on_when_its_surroundings_fail(
    fault: Fault, place: Place, portals: Portals
) -> None:
    with running(place, prepared(fault)) as process:
        until_up(place, portals, process)
        place.do(process.pid, fault.after)
        for number in fault.signals:
            process.send_signal(number)
        wait_until(lambda: not fault.words or place.about(fault.words), lambda: str(place.log))
        assert process.poll() is None, place.log
        end(process, place)
    check_lines(place, fault)


def test_systemd_gets_signs_of_life_while_the_loop_turns(place: Place, portals: Portals) -> None:
    """A daemon with nothing to do turns, too."""
    path = str(place.directory / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE)
        fault = Fault(variables=(f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=200000"))
        with running(place, prepared(fault)) as process:
            until_up(place, portals, process)
            for _ in range(3):
                while manager.recv(4096) != b"WATCHDOG=1":
                    pass
            end(process, place)
