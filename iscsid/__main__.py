"""The command ``iscsid``: arguments in, exit status out. It only chooses what is run.

What a command needs is imported when it is chosen: --help needs no kernel interface.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import closing

from iscsid.cli.command import run_command
from iscsid.cli.options import Options, Purpose, parse


def main() -> int:
    """Run ``iscsid``; return its exit status."""
    return run_command("iscsid", _run)


def _run() -> int:
    options = parse(sys.argv[1:], _directory())
    match options.purpose:
        case Purpose.CONVERT:
            from iscsid.cli.from_open_iscsi import run_conversion

            return run_conversion(options.from_open_iscsi, sys.stdout)
        case Purpose.DISCOVER:
            return _run_discovery(options)
        case Purpose.CHECK if options.login:
            return _run_login_check(options)
        case Purpose.CHECK:
            from iscsid.cli.check import run_check

            files = options.config, options.initiatorname
            return run_check(*files, sys.stdout, as_json=options.json)
        case Purpose.SHOW_CONFIG:
            from iscsid.cli.check import known_targets, run_show_config

            known = known_targets(options.bindings, sys.stderr)
            return run_show_config(options.config, known, as_json=options.json, stdout=sys.stdout)
        case Purpose.WAIT:
            from iscsid.cli.wait import wait

            return wait(options.pidfile, options.wait)
        case Purpose.RUN:
            return _run_daemon(options)


def _run_daemon(options: Options) -> int:
    """Start the fork server, then import and run the rest: workers inherit none of it.

    Nothing that an import makes is ever garbage: looking for some took a sixth of the imports.
    """
    gc.disable()
    from iscsid.workers.fork_server import ForkServer

    with closing(ForkServer()) as fork_server:
        from iscsid.daemon import run

        gc.freeze()
        gc.enable()
        return run(options, fork_server)


def _run_login_check(options: Options) -> int:
    from iscsid.workers.fork_server import ForkServer

    with closing(ForkServer()) as fork_server:
        from iscsid.login_check.run import run_login_check

        return run_login_check(options, fork_server, sys.stdout, sys.stderr)


def _run_discovery(options: Options) -> int:
    from iscsid.workers.fork_server import ForkServer

    with closing(ForkServer()) as fork_server:
        from iscsid.login_check.run import run_discovery

        return run_discovery(options, fork_server, sys.stdout, sys.stderr)


def _directory() -> str:
    """Return the current directory; empty if it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
