"""The command line: every option is a row of one table, and a command line becomes ``Options``.

Where the letters of the two manual pages clash, Linux-iSCSI's meaning keeps the letter and
FreeBSD's gets a long name. Pure: arguments in, ``Options`` or ``UsageError`` out; nothing is
opened, printed or looked up, so --help and --version are answers like any other.
"""

from __future__ import annotations

import os
import re
from argparse import SUPPRESS, ArgumentError, ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from iscsid.errors import IscsidError, Retry

LARGEST = 2**31 - 1


class UsageError(IscsidError):
    """The command line makes no sense."""

    retry = Retry.NEVER

    def __init__(self, what: str) -> None:
        super().__init__(what, advice="'iscsid --help' lists the options")


class Action(Enum):
    """What ``iscsid`` was called for."""

    RUN = "run"
    CHECK = "check"
    SHOW_CONFIG = "show-config"
    WAIT = "wait"
    VERSION = "version"
    HELP = "help"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line, typed and complete; every path is absolute."""

    action: Action = Action.RUN
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
    """Seconds for one child to resolve, connect and log in; 0 is no limit."""
    max_processes: int = 30
    """Children at once; 0 is no limit."""
    once: bool = False
    """Handle one connection without a fork, then leave with its outcome."""
    login: bool = False
    """With ``Action.CHECK``: log in and out at every target, too."""
    json: bool = False
    """With ``Action.SHOW_CONFIG``, and with ``login``."""
    wait: int = 0
    """Seconds for ``Action.WAIT``; 0 is no limit."""


def _octal(text: str) -> int:
    if not re.fullmatch("[0-7]{1,4}", text):
        raise ArgumentTypeError(f"'{text}' is no octal mode such as 0755")
    return int(text, 8)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > LARGEST:
        raise ArgumentTypeError(f"'{text}' is no whole number from 0 to {LARGEST}")
    return int(text)


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ArgumentTypeError("the name is empty")
    return text


@dataclass(frozen=True, slots=True)
class Row:
    """One option. ``name`` is also the field of ``Options`` it sets, or the ``Action``."""

    letter: str
    name: str
    value: str
    """What its value is called; empty where it takes none."""
    help: str
    how: Mapping[str, Any]
    """What argparse is told of it."""

    @property
    def spelling(self) -> str:
        """How a manual writes it: ``-b, --bindings=FILE``."""
        letter = f"-{self.letter}, " if self.letter else ""
        joint = "=" if self.value and not self.value.startswith("[") else ""
        return f"{letter}--{self.name}{joint}{self.value}"


_COUNT = {"action": "count"}
_FLAG = {"action": "store_true"}
_ACTION = {"action": "append_const", "dest": "actions"}
_PATH = {"type": _path}
_NUMBER = {"type": _number}

TABLE = (
    Row("b", "bindings", "FILE", "keep bus and target ids here (/var/iscsi/bindings)", _PATH),
    Row("d", "debug", "", "log more; each -d raises the level by one", _COUNT),
    Row("f", "config", "FILE", "read this configuration (/etc/iscsi.conf)", _PATH),
    Row("l", "basedir", "DIRECTORY", "make the tree of links here (/dev/iscsi)", _PATH),
    Row("m", "mode", "OCTAL", "mode of the directories in it (0755)", {"type": _octal}),
    Row("n", "foreground", "", "stay in the foreground, log to standard error", _FLAG),
    Row("P", "pidfile", "FILE", "keep the process id here (/var/run/iscsid.pid)", _PATH),
    Row("t", "login-timeout", "SECONDS", "for one login (60); 0: no limit", _NUMBER),
    Row("v", "version", "", "print the version and exit", _ACTION),
    Row("h", "help", "", "print this and exit", _ACTION),
    Row("", "initiatorname", "FILE", "take our name from it (/etc/initiatorname.iscsi)", _PATH),
    Row("", "log-level", "LEVEL", "set the debug level (0)", {"type": _number, "dest": "debug"}),
    Row("", "max-processes", "NUMBER", "children at once (30); 0: no limit", _NUMBER),
    Row("", "once", "", "handle one connection without a fork and exit", _FLAG),
    Row("", "check", "", "check the configuration and exit", _ACTION),
    Row("", "login", "", "with --check: log in to all targets, and out", _FLAG),
    Row("", "show-config", "", "print the settings in force and exit", _ACTION),
    Row("", "json", "", "with --show-config, --login: as JSON", _FLAG),
    Row(
        "",
        "wait",
        "[=SECONDS]",
        "wait until the daemon has tried all targets",
        {"type": _number, "nargs": "?", "const": 0},
    ),
)

HELP = "\n".join(
    (
        "Usage: iscsid [OPTION]...",
        "Make and keep iSCSI sessions with the targets /etc/iscsi.conf leads to.",
        "",
        *(f"  {'' if row.letter else '    '}{row.spelling}".ljust(30) + row.help for row in TABLE),
    )
)
"""Fits a screen of 24 lines and 80 columns."""


def parse(arguments: Sequence[str], directory: str = "/") -> Options:
    """Return what a command line (without the program's name) says; raises ``UsageError``.

    ``directory`` is where relative paths start: the daemon's own directory is another one. It is
    empty where it has been deleted, and then no path may be relative.
    """
    try:
        given, unknown = _parser().parse_known_args(list(arguments))
    except ArgumentError as error:
        name = (error.argument_name or "").rpartition("/")[2]
        raise UsageError(f"{name}: {error.message}") from None
    if unknown:
        raise UsageError(f"there is no option or argument '{unknown[0]}'")
    values = vars(given)
    values["action"] = _action(values)
    if values.get("once"):
        # What FreeBSD's -d is: in the foreground, and verbose unless a level was asked for.
        values = {"debug": 1} | values | {"foreground": True}
    for row in TABLE:
        if row.how is _PATH and row.name in values:
            values[row.name] = os.path.join(directory, values[row.name])
            if not os.path.isabs(values[row.name]):
                raise UsageError(f"--{row.name}: the current directory has been deleted")
    return Options(**values)


def _action(values: dict[str, Any]) -> Action:
    """Take the action out of ``values``, and refuse what does not go together."""
    actions = values.pop("actions", [])
    if "wait" in values:
        actions.append(Action.WAIT)
    # The two that only print win over whatever else is there.
    for action in (Action.HELP, Action.VERSION):
        if action in actions:
            return action
    if len(set(actions)) > 1:
        raise UsageError(
            " and ".join(f"--{action.value}" for action in actions) + " exclude each other"
        )
    action = actions[0] if actions else Action.RUN
    if values.get("login") and action is not Action.CHECK:
        raise UsageError("--login goes with --check only")
    if values.get("json") and not (values.get("login") or action is Action.SHOW_CONFIG):
        raise UsageError("--json goes with --show-config and with --check --login only")
    if values.get("once") and action is not Action.RUN:
        raise UsageError(f"--once and --{action.value} exclude each other")
    return action


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="iscsid",
        usage="",
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=SUPPRESS,
    )
    for row in TABLE:
        how = dict(row.how)
        if row.how is _ACTION:
            how["const"] = Action(row.name)
        letters = [f"-{row.letter}"] if row.letter else []
        parser.add_argument(*letters, f"--{row.name}", **how)
    return parser
