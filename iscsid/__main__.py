"""The command: arguments in, exit status out.

It may read the command line and write one line to standard error; all else is the business of
whom it calls.
"""

from __future__ import annotations

import os
import sys

from iscsid import __version__
from iscsid.cli.options import HELP, Action, Options, UsageError, parse
from iscsid.errors import IscsidError
from iscsid.exit_status import ExitStatus


def main() -> int:
    """Run ``iscsid``; return its exit status."""
    try:
        options = parse(sys.argv[1:], _directory())
        if options.action is Action.RUN:
            return _act(options)
        return _print_all(options)
    except UsageError as error:
        return _complain(error, ExitStatus.USAGE)
    except IscsidError as error:
        return _complain(error, ExitStatus.FAILURE)


def _act(options: Options) -> int:
    match options.action:
        case Action.HELP:
            print(HELP)
        case Action.VERSION:
            print(f"iscsid {__version__}")
        case Action.CHECK:
            if options.login:
                from iscsid.login_check.run import run_login_check

                return run_login_check(options, sys.stdout, sys.stderr)
            from iscsid.cli.check import run_check

            return run_check(options.config, options.initiatorname, sys.stdout)
        case Action.SHOW_CONFIG:
            from iscsid.cli.check import known_targets, run_show_config

            known = known_targets(options.bindings, sys.stderr)
            return run_show_config(options.config, known, as_json=options.json, stdout=sys.stdout)
        case Action.WAIT:
            from iscsid.cli.wait import wait

            return wait(options.pidfile, options.wait)
        case Action.RUN:
            from iscsid.daemon import run

            return run(options)
    return ExitStatus.SUCCESS


def _print_all(options: Options) -> int:
    """Do what prints; a reader that has seen enough, such as head(1), is no reason to complain."""
    try:
        status = _act(options)
        print(end="", flush=True)
    except BrokenPipeError:
        # What is left would be written at the very end, and be complained of there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILURE
    return status


def _directory() -> str:
    """Return where the shell is; empty where that directory has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _complain(error: IscsidError, status: ExitStatus) -> ExitStatus:
    for line in str(error).splitlines():
        print(f"iscsid: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
