"""The parser of /etc/initiatorname.iscsi: the name of this initiator. Pure.

The file has the lines of /etc/iscsi.conf without its entries: ``InitiatorName=`` and, if wanted,
``InitiatorAlias=``. As in Linux-iSCSI the last InitiatorName counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from shlex import quote

from iscsid.config.diagnostics import (
    ConfigurationErrors,
    Diagnostic,
    nearest,
    quoted_keyword,
)
from iscsid.config.keywords import BY_NAME
from iscsid.config.lexer import Line, decode, first_word, lex
from iscsid.config.values import LONGEST_TEXT
from iscsid.errors import InvalidName
from iscsid.protocol.names import IscsiName, parse_iscsi_name, why_irregular

_KEYWORDS = ("InitiatorName", "InitiatorAlias")


@dataclass(frozen=True, slots=True)
class InitiatorIdentity:
    """The name and alias of this initiator. The alias is for people and may be empty."""

    name: IscsiName
    """As the file writes it, capital letters included: some targets compare octets."""
    alias: str = ""
    notes: tuple[Diagnostic, ...] = field(default=(), compare=False)
    """Remarks about the name that are no errors."""


def command_that_makes(filename: str) -> str:
    """Return the command that writes a new InitiatorName into ``filename``."""
    return f'echo "InitiatorName=$(iscsi-iname)" > {quote(filename)}'


def missing_initiator_name(filename: str) -> Diagnostic:
    """Return the diagnostic for a missing file or a file without InitiatorName."""
    what = "an InitiatorName is required"
    return Diagnostic(filename, 0, 0, what, expected=f"one line: {command_that_makes(filename)}")


def parse_initiator_name(text: str | bytes, filename: str) -> InitiatorIdentity:
    """Parse the text of /etc/initiatorname.iscsi.

    ``filename`` is for messages only. Raises ``ConfigurationErrors`` with all diagnostics,
    and no other exception whatever the text.
    """
    decoded = decode(text, filename)
    if isinstance(decoded, Diagnostic):
        raise ConfigurationErrors([decoded])
    name: IscsiName | None = None
    alias = ""
    notes: tuple[Diagnostic, ...] = ()
    diagnostics: list[Diagnostic] = []
    for line in lex(decoded, filename):
        try:
            match line.keyword.lower():
                case _ if line.flaw:
                    diagnostics.append(line.flaw)
                case "initiatorname":
                    parse_iscsi_name(line.value)
                    place = (filename, line.number, line.value_column)
                    notes = tuple(Diagnostic(*place, each) for each in remarks_on(line.value))
                    name = IscsiName(line.value)
                case "initiatoralias":
                    alias = _parse_alias(line.value)
                case _:
                    diagnostics.append(_unknown_keyword(line, filename))
        except InvalidName as error:
            place = (filename, line.number, line.value_column)
            # Another setting may stand behind the name, a password for instance.
            is_hidden = line.mentions_secret or "=" in line.value
            why = "the value is invalid" if is_hidden else error.what
            diagnostics.append(Diagnostic(*place, f"{line.keyword}: {why}"))
    if name is None and not diagnostics:
        diagnostics.append(missing_initiator_name(filename))
    if name is None or diagnostics:
        raise ConfigurationErrors(diagnostics)
    return InitiatorIdentity(name, alias, tuple(replace(each, is_note=True) for each in notes))


def remarks_on(name: str) -> Iterator[str]:
    """Yield what is unusual about the name of an initiator, which is used as it is written."""
    folded = parse_iscsi_name(name)
    if why := why_irregular(folded):
        yield f"the name is against the rules for iSCSI names ({why}); it is used as it is"
    if name != folded:
        # tgtd and LIO compare octets, although RFC 3722 folds names to lower case.
        yield f"the name is sent as it is written here, not as {folded}: some targets distinguish"


def _parse_alias(text: str) -> str:
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise InvalidName("the alias is not written in UTF-8") from None
    if len(octets) > LONGEST_TEXT:
        raise InvalidName(f"the alias has {len(octets)} octets, more than {LONGEST_TEXT}")
    return text


def _unknown_keyword(line: Line, filename: str) -> Diagnostic:
    place = (filename, line.number, line.column)
    if line.keyword.lower() == "generatename":
        # Linux-iSCSI's start script replaced this line by a name; a daemon does not edit /etc.
        what = "GenerateName is no longer replaced at the start"
        return Diagnostic(*place, what, command_that_makes(filename))
    guess = nearest(first_word(line.keyword), _KEYWORDS)
    expected = "" if guess else " or ".join(_KEYWORDS)
    is_harmless = bool(guess) or line.keyword.lower() in BY_NAME
    what = f"unknown keyword{quoted_keyword(line.keyword) if is_harmless else ''}"
    return Diagnostic(*place, what, expected, guess)
