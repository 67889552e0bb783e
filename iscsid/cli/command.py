"""What all commands share: a parser whose errors are one line, and output that may fail.

A command that cannot write its output ends with one line on standard error and status 1; if the
reader of a pipe has gone, such as head(1), with status 1 alone. May touch the standard streams.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import Action, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn, TextIO

from iscsid.errors import OUT_OF_MEMORY, IscsidError, Retry, advice_in_shortage
from iscsid.exit_status import ExitStatus
from iscsid.protocol.printable import printable, unprintable_escaped


class UsageError(IscsidError):
    """The command line makes no sense."""

    retry = Retry.NEVER

    def __init__(self, what: str, program: str = "iscsid") -> None:
        super().__init__(what, advice=f"'{program} --help' lists the options")


class OutputFailed(IscsidError):
    """Standard output is closed, or its device is full."""

    retry = Retry.NEVER


class CommandParser(ArgumentParser):
    """argparse's parser, but a mistake raises ``UsageError`` and abbreviations are refused."""

    def __init__(self, program: str, description: str, **kwargs: Any) -> None:
        super().__init__(
            prog=program,
            description=description,
            allow_abbrev=False,
            formatter_class=partial(HelpFormatter, max_help_position=34),
            **kwargs,
        )

    def parse(self, arguments: Sequence[str]) -> Namespace:
        """Parse all of the arguments; raises ``UsageError``, and ``SystemExit`` after --help."""
        given, unknown = self.parse_known_args(list(arguments))
        if unknown:
            self.error(f"there is no option or argument '{unknown[0]}'")
        return given

    def options(self) -> list[Action]:
        """Return every option, for what is made of them: the completion of shells, and tests."""
        return [action for action in self._actions if action.option_strings]

    def error(self, message: str) -> NoReturn:
        # "argument -m/--mode: ..." becomes "--mode: ...".
        message = re.sub(r"^argument (?:[^:]*/)?", "", message)
        raise UsageError(printable(message, 200), self.prog)

    def _print_message(self, message: str, file: Any = None) -> None:
        # Help and version: an error of the output is reported like any other.
        write_lines(file or sys.stdout, message.splitlines())


def run_command(program: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status, whatever becomes of its output."""
    _open_closed_streams()
    try:
        status = _run(command)
        flush(sys.stdout)
        return status
    except UsageError as error:
        return _complain(program, error, ExitStatus.USAGE)
    except BrokenPipeError:
        status = ExitStatus.FAILURE
    except IscsidError as error:
        status = _complain(program, error, ExitStatus.FAILURE)
    except OSError as error:
        advice = advice_in_shortage(error)
        subject = error.filename or ("it cannot go on" if advice else "")
        words = f"{subject}: {error.strerror}" if subject else str(error.strerror)
        status = _complain(program, IscsidError(words, advice=advice), ExitStatus.FAILURE)
    except MemoryError:
        status = _complain(program, OUT_OF_MEMORY, ExitStatus.FAILURE)
    except ImportError as error:
        # Python's own libraries are mapped, too, when there is no memory left.
        status = _complain(program, f"it cannot be loaded: {error}", ExitStatus.FAILURE)
    _drop_output()
    return status


def _run(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as end:  # argparse has printed the help or the version
        return int(end.code or 0)


def write_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Print whole lines. Raises ``OutputFailed``, or ``BrokenPipeError`` if the reader has gone."""
    # A terminal that is not UTF-8 shall get escapes, not a traceback.
    encoding = stream.encoding or "utf-8"
    for line in lines:
        _guard(stream.write, line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def flush(stream: TextIO) -> None:
    """Write what is buffered; raises like ``write_lines``."""
    _guard(stream.flush)


def _guard(operation: Callable[..., object], *arguments: str) -> None:
    try:
        operation(*arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"the output cannot be written: {error.strerror}") from None


def _open_closed_streams() -> None:
    """Put /dev/null in the place of standard streams that are closed.

    Otherwise the next file that is opened gets their number. What is printed to a standard output
    that was closed fails, because /dev/null is opened for reading there.
    """
    for fd, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number, which is fd
            os.set_inheritable(fd, True)
            mode = "r" if fd == 0 else "w"
            setattr(sys, name, open(fd, mode, encoding="utf-8", errors="backslashreplace"))


def _drop_output() -> None:
    """Lead standard output to /dev/null: else Python writes its buffer at the end, and fails."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
    except OSError:  # no descriptor is left
        os.close(sys.stdout.fileno())
        return
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _complain(program: str, error: IscsidError | str, status: ExitStatus) -> ExitStatus:
    try:
        # The text may be that of a worker, which may have been taken over by a target.
        lines = map(unprintable_escaped, str(error).split("\n"))
        write_lines(sys.stderr, [f"{program}: {line}" for line in lines])
        flush(sys.stderr)
    except (OutputFailed, BrokenPipeError):
        pass  # the exit status is enough
    return status
