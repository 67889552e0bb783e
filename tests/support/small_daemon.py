"""A daemon of a few lines, made of the modules under test: for tests of how one lives and ends.

Usage: small_daemon.py [-n] --pidfile=FILE [--trace=FILE] [--fail=WHEN] [--basedir=D]
It writes what happens to it into the trace. On SIGINT it removes the tree of links.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from argparse import ArgumentParser, Namespace

from iscsid.errors import IscsidError
from iscsid.facts import HangupReceived, InterruptReceived, PowerDownReceived
from iscsid.process.background import Background
from iscsid.process.loop import Loop
from iscsid.process.pidfile import PidFile
from iscsid.process.signals import Signals


class Trace:
    """Lines in a file, each written as it happens."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, line: str) -> None:
        if self._path:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def main() -> int:
    options = _options()
    trace = Trace(options.trace)
    try:
        with Background(PidFile(options.pidfile), foreground=options.foreground) as background:
            return live(options, background, trace)
    except IscsidError as error:
        print(f"iscsid: {error}", file=sys.stderr)
        return 1


def live(options: Namespace, background: Background, trace: Trace) -> int:
    fail(options.fail)
    loop = Loop(lambda level, log_prefix, text: trace.write(text))
    signals = Signals()
    loop.add(signals.fileno(), signals.read)
    background.ready()
    trace.write(f"ready {os.getpid()} {os.getcwd()} {os.umask(0o022):03o} {os.getsid(0)}")
    while True:
        for fact in loop.wait():
            trace.write(type(fact).__name__)
            if isinstance(fact, InterruptReceived) and options.fail != "busy":
                shutil.rmtree(options.basedir, ignore_errors=True)
            if not isinstance(fact, HangupReceived | PowerDownReceived):
                return 0


def fail(how: str) -> None:
    """Make the start fail in one of the ways in which one may."""
    match how:
        case "error":
            raise IscsidError("the kernel's iSCSI\nis missing", advice="load iscsi_tcp")
        case "os":
            raise FileNotFoundError(2, "No such file", "/etc/iscsi.conf")
        case "exit":
            raise SystemExit(3)
        case "bug":
            raise AssertionError("one that was not expected")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)


def _options() -> Namespace:
    parser = ArgumentParser()
    parser.add_argument("-n", dest="foreground", action="store_true")
    parser.add_argument("--pidfile", required=True)
    parser.add_argument("--basedir", default="")
    parser.add_argument("--initiatorname", default="")
    parser.add_argument("--trace", default="")
    parser.add_argument("--fail", default="")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
