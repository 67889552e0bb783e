"""Every path that the daemon touches has a row in the table of faults, or a reason for none.

The daemon program runs under strace: start, login, discovery, SIGHUP, end. What it touches of its
own files must be in ``OWN``, with the faults that were tried on it; what is not its own in
``FOREIGN``. It writes to no other file, and runs no other program.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.test_file_systems import SECOND
from tests.process.test_surroundings import RUNNING, STARTS
from tests.support.patience import PATIENCE
from tests.support.surroundings import TOP, Place, running, until_up
from tests.target.portal import Portals

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

OWN = {
    "conf/file": ("configuration-is-a-pipe", "configuration-vanishes"),
    "name/file": ("name-links-to-itself", "name-vanishes"),
    "bindings": ("bindings-full", "bindings-below-a-file", "bindings-vanish"),
    "bindings/file": ("bindings-link-to-themselves", "bindings-become-a-directory"),
    "bindings/.file.lock": ("bindings-lock-is-a-link", "bindings-lock-is-a-pipe"),
    "bindings/.file.new": ("new-bindings-are-a-link", "new-bindings-are-a-directory"),
    "run": ("pid-file-has-no-directory", "run-vanishes"),
    "run/iscsid.pid": ("pid-file-is-a-link", "pid-file-full", "run-vanishes"),
    "run/iscsid.pid.lock": ("lock-is-a-link", "lock-of-another"),
    "run/iscsid.pid.new": ("new-pid-file-is-a-link", "new-pid-file-is-a-directory"),
    "run/iscsid": ("status-is-a-link", "status-of-another"),
    "run/iscsid/status.json": ("status-file-is-a-link", "status-file-is-a-directory"),
    "run/iscsid/.status.json.new": ("new-status-is-a-link", "new-status-is-a-pipe"),
    "run/iscsid/devices": ("devices-are-a-link",),
    "run/iscsid/.devices.new": ("new-devices-are-a-link",),
    "links": ("links-are-a-link", "links-read-only", "links-vanish"),
}
"""The daemon's files, and faults of the tables in ``test_surroundings``."""

OF_THE_TEST = ("sys", "asked", "clock", "no-forks", "log", "")
FOREIGN = (
    r"/(sys|proc)/.*",  # the kernel's
    r"/|/sys|/usr/lib|/dev/null|pipe:.*|socket:.*|anon_inode:.*",
    r"/etc/(passwd|hosts|host.conf|nsswitch.conf|resolv.conf|gai.conf|localtime|services)",
    r"/etc/(ld.so.*|locale.alias|ssl/openssl.cnf)",  # the C library's and OpenSSL's
    r"/(var/)?run/(udev|systemd|nscd)/.*",  # of udevd and of name services
    r"/usr/(lib|local|share|bin)/.*|/sbin/ldconfig|/usr/sbin/ldconfig|/lib.*",
)
WRITTEN = re.compile(r"/dev/null|/proc/self/oom_score_adj")
PROGRAMS = re.compile(r"/sbin/ldconfig|/usr/sbin/ldconfig")
"""Of ctypes, by which pyudev finds its library."""

_CALL = re.compile(r'\d+ +(\w+)\((?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"(.*)')
_RENAME = re.compile(r', (?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"')
_CHANGES = re.compile(
    r"mkdir|unlink|rename|symlink|link(at)?$|chmod|chown|rmdir|truncate|mknod|utime"
)


@dataclass(frozen=True)
class Touch:
    """One call: what it was, which file it was about, and whether it may change it."""

    call: str
    path: str
    changes: bool


def touches(trace: Path, directory: Path) -> Iterator[Touch]:
    for line in trace.read_text(errors="replace").splitlines():
        if found := _CALL.match(line):
            call, base, path, rest = found.groups()
            changes = bool(_CHANGES.match(call) or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", rest))
            yield Touch(call, os.path.normpath(Path(base or directory, path)), changes)
            if call.startswith("rename") and (to := _RENAME.match(rest)):
                yield Touch(call, os.path.normpath(Path(to[1] or directory, to[2])), True)


def is_of_python(path: str) -> bool:
    places = {str(TOP), sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix)}
    return any(path == each or path.startswith(f"{each}/") for each in places)


def test_every_path_that_the_daemon_touches_has_a_row(
    place: Place, portals: Portals, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-y", "-s", "300", "-e", "trace=%file", "-o", str(trace)]
    with running(place, wrapper=strace) as process:
        until_up(place, portals, process)
        daemon = int((place.directory / "run/iscsid.pid").read_text())
        configuration = (place.directory / "conf/file").read_text()
        place.configure(f"{configuration}{SECOND}DiscoveryAddress=localhost:9\n")
        os.kill(daemon, signal.SIGHUP)
        place.until_about("discovery at localhost")
        os.kill(daemon, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, place.log
    seen = [each for each in touches(trace, place.directory) if not is_of_python(each.path)]
    assert len(seen) > 100, "strace has seen nothing"
    top = f"{place.directory}/"
    own = {each.path.removeprefix(top) for each in seen if each.path.startswith(top)}
    own = {path for path in own if path.partition("/")[0] not in (*OF_THE_TEST, "trace")}
    assert own == set(OWN), "each of them wants a row in the table of faults"
    others = {each for each in seen if not f"{each.path}/".startswith(top)}
    strange = {each.path for each in others if not re.fullmatch("|".join(FOREIGN), each.path)}
    assert not strange - {*map(str, place.directory.parents)}
    assert {each for each in others if each.changes and not WRITTEN.fullmatch(each.path)} == set()
    executed = {each.path for each in others if each.call.startswith("exec")}
    assert not [path for path in executed if not PROGRAMS.fullmatch(path)]


def test_each_of_these_rows_exists() -> None:
    rows = STARTS.keys() | RUNNING.keys()
    assert {row for each in OWN.values() for row in each} <= rows
