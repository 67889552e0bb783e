"""The command line of ``iscsid``: one argparse parser, and ``Options`` as the result.

Where the letters of the two manual pages clash, Linux-iSCSI's meaning keeps the letter and
FreeBSD's gets a long name. It opens nothing and looks nothing up; --help and --version print and
raise ``SystemExit``, as argparse does.
"""

from __future__ import annotations

import os
import re
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from iscsid import __version__
from iscsid.cli.command import CommandParser, UsageError
from iscsid.errors import InvalidName
from iscsid.protocol.names import IscsiName, Portal, parse_iscsi_name, parse_portal
from iscsid.protocol.printable import printable

LARGEST = 2**31 - 1
PATHS = ("config", "initiatorname", "bindings", "basedir", "pidfile")


class Purpose(Enum):
    """What ``iscsid`` was called for."""

    RUN = "run"
    CHECK = "check"
    SHOW_CONFIG = "show-config"
    WAIT = "wait"
    DISCOVER = "discover"
    CONVERT = "from-open-iscsi"


PRINT_JSON = (Purpose.CHECK, Purpose.SHOW_CONFIG, Purpose.DISCOVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line, typed and complete; every path is absolute."""

    purpose: Purpose = Purpose.RUN
    config: str = "/etc/iscsi.conf"
    initiatorname: str = "/etc/initiatorname.iscsi"
    bindings: str = "/var/iscsi/bindings"
    basedir: str = "/dev/iscsi"
    mode: int = 0o755
    """Of the directories made under ``basedir``."""
    pidfile: str = "/var/run/iscsid.pid"
    foreground: bool = False
    debug: int = 0
    login_timeout: int = 60
    """Seconds for one worker to resolve, connect and log in; 0 is no limit."""
    max_processes: int = 30
    """Workers at once; 0 is no limit."""
    once: bool = False
    """Handle one connection, then exit with its outcome."""
    login: bool = False
    """With ``Purpose.CHECK``: log in and out at every target, too."""
    address: Portal | None = None
    """With ``login`` and ``Purpose.DISCOVER``: the portal to ask; ``None``: those of the file."""
    target: IscsiName | None = None
    """With ``login``: only this target."""
    json: bool = False
    """With one of ``PRINT_JSON``."""
    from_open_iscsi: str = ""
    """With ``Purpose.CONVERT``: the directory of the database; empty: where it usually is."""
    wait: int = 0
    """Seconds for ``Purpose.WAIT``; 0 is no limit."""


def make_parser() -> CommandParser:
    """Return the parser. An option that is not given leaves no attribute: see ``Options``."""
    preset = Options()
    parser = CommandParser(
        "iscsid",
        "Make and keep iSCSI sessions with the targets that /etc/iscsi.conf leads to.",
        usage="iscsid [OPTION]... [ADDRESS] [TARGET]",
        argument_default=SUPPRESS,
    )
    add, flag = parser.add_argument, "store_true"

    def add_file(letter: str, name: str, metavar: str, help: str) -> None:
        letters = [letter] if letter else []
        add(*letters, f"--{name}", type=_path, metavar=metavar, help=help)

    add_file("-b", "bindings", "FILE", f"keep bus and target ids here ({preset.bindings})")
    add("-d", "--debug", action="count", help="log more; each -d raises the level by one")
    add_file("-f", "config", "FILE", f"read this configuration ({preset.config})")
    add_file("-l", "basedir", "DIR", f"make the tree of links here ({preset.basedir})")
    mode = f"mode of the directories in it ({preset.mode:04o})"
    add("-m", "--mode", type=_mode, metavar="OCTAL", help=mode)
    add("-n", "--foreground", action=flag, help="stay in the foreground, log to standard error")
    add_file("-P", "pidfile", "FILE", f"keep the process id here ({preset.pidfile})")
    limit = f"for one login ({preset.login_timeout}); 0: no limit"
    add("-t", "--login-timeout", type=_number, metavar="SECONDS", help=limit)
    version = f"%(prog)s {__version__}"
    add("-v", "--version", action="version", version=version, help="print the version and exit")
    add_file("", "initiatorname", "FILE", f"take our name from it ({preset.initiatorname})")
    level = f"set the debug level ({preset.debug})"
    add("--log-level", type=_number, dest="debug", metavar="LEVEL", help=level)
    most = f"workers at once ({preset.max_processes}); 0: no limit"
    add("--max-processes", type=_number, metavar="NUMBER", help=most)

    only = parser.add_mutually_exclusive_group()
    only.add_argument("--once", action=flag, help="handle one connection and exit")
    only.add_argument(
        "--check",
        action="store_const",
        const=Purpose.CHECK,
        dest="purpose",
        help="check the configuration and exit",
    )
    only.add_argument(
        "--show-config",
        action="store_const",
        const=Purpose.SHOW_CONFIG,
        dest="purpose",
        help="print the settings in force and exit",
    )
    only.add_argument(
        "--wait",
        type=_number,
        nargs="?",
        const=0,
        metavar="SECONDS",
        help="wait until the daemon has tried all targets",
    )
    only.add_argument(
        "--discover",
        action="store_const",
        const=Purpose.DISCOVER,
        dest="purpose",
        help="print the targets at ADDRESS and exit",
    )
    only.add_argument(
        "--from-open-iscsi",
        type=_path,
        nargs="?",
        const=None,
        metavar="DIR",
        help="print a configuration made from open-iscsi's database",
    )
    add("--login", action=flag, help="with --check: log in to all targets, and out")
    add("--json", action=flag, help="with --check, --show-config, --discover: as JSON")
    what = "with --discover, --login: ask this address; with --login: only this target"
    add("what", nargs="*", metavar="ADDRESS|TARGET", default=[], help=what)
    return parser


def parse(arguments: Sequence[str], directory: str = "/") -> Options:
    """Return what a command line (without the program's name) asks for; raises ``UsageError``.

    ``directory`` is where relative paths start: the daemon's own directory is another one. It is
    empty if it has been deleted, and then no path may be relative.
    """
    values = vars(make_parser().parse(arguments))
    if "wait" in values:
        values["purpose"] = Purpose.WAIT
    if "from_open_iscsi" in values:
        values["purpose"] = Purpose.CONVERT
        values["from_open_iscsi"] = values["from_open_iscsi"] or ""
    purpose = values.get("purpose", Purpose.RUN)
    if values.get("login") and purpose is not Purpose.CHECK:
        raise UsageError("--login goes with --check only")
    if values.get("json") and purpose not in PRINT_JSON:
        raise UsageError("--json goes with --check, --show-config and --discover only")
    values |= _what(values.pop("what"), purpose, values.get("login", False))
    if values.get("once"):
        # What FreeBSD's -d is: in the foreground, and verbose unless a level was asked for.
        values = {"debug": 1} | values | {"foreground": True}
    for name in PATHS:
        if name in values:
            values[name] = os.path.join(directory, values[name])
            if not os.path.isabs(values[name]):
                raise UsageError(f"--{name}: the current directory has been deleted")
    return Options(**values)


def _what(words: Sequence[str], purpose: Purpose, login: bool) -> dict[str, Portal | IscsiName]:
    """Return the address and the target that are named, as fields of ``Options``."""
    found: dict[str, Portal | IscsiName] = {}
    for word in words:
        is_target = word.lower().startswith(("iqn.", "eui.", "naa."))
        field = "target" if is_target else "address"
        if field in found or not (login or (purpose is Purpose.DISCOVER and not is_target)):
            raise UsageError(f"there is no option or argument '{printable(word)}'")
        try:
            found[field] = parse_iscsi_name(word) if is_target else parse_portal(word)
        except InvalidName as error:
            raise UsageError(str(error)) from None
    if purpose is Purpose.DISCOVER and not found:
        raise UsageError("--discover: expected an address")
    return found


def _mode(text: str) -> int:
    if not re.fullmatch("[0-7]{1,4}", text):
        raise ArgumentTypeError(f"'{text}' is no octal mode such as 0755")
    if int(text, 8) & 0o7002:
        # A link that any user can make would lead root's mount(8) to any device.
        raise ArgumentTypeError(f"'{text}' lets every user write, or has bits above 0777")
    return int(text, 8)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > LARGEST:
        raise ArgumentTypeError(f"'{text}' is no whole number from 0 to {LARGEST}")
    return int(text)


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ArgumentTypeError("the name is empty")
    return text
