"""A hostile case: what a target does, and what the daemon must log about it.

The tables of cases are in ``*_cases``; what must hold of each is in ``oracle``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.target.portal import Target
from tests.target.script import Amend, Edit, Script
from tests.target.scripted import ScriptedTarget

ALICE, ALICES_SECRET = "alice", b"secret-of-alice-1234"
BOB, BOBS_SECRET = "bob", b"secret-of-bob-567890"
ONE_WAY = (f"OutgoingUsername={ALICE}", f"OutgoingPassword={ALICES_SECRET.decode()}")
MUTUAL = (*ONE_WAY, f"IncomingUsername={BOB}", f"IncomingPassword={BOBS_SECRET.decode()}")


class Kind(Enum):
    """What the daemon wants of the target."""

    LOGIN = "a session"
    DISCOVERY = "one answer to SendTargets"
    KEPT = "a discovery session that lasts"


MakeTarget = Callable[[int], Target]
"""Makes the target of one connection; the argument is the port at which it listens."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    make: MakeTarget
    cause: str
    """A pattern of what the line about it must hold; empty if the daemon must bear it silently."""
    kind: Kind = Kind.LOGIN
    settings: tuple[str, ...] = ()
    """Lines of the configuration."""
    lines: int = 1
    """At most so many different lines of the log."""


def plays(**what: Any) -> MakeTarget:
    """Return what makes targets of this script."""
    return lambda _port: ScriptedTarget(Script(**what))


def amends(amend: Amend, **what: Any) -> MakeTarget:
    return plays(amend=amend, **what)


def edits(edit: Edit, **what: Any) -> MakeTarget:
    return plays(edit=edit, **what)


def cases(
    rows: Mapping[str, tuple[MakeTarget, str]],
    kind: Kind = Kind.LOGIN,
    settings: tuple[str, ...] = (),
    lines: int = 1,
) -> tuple[Case, ...]:
    """Return the cases of a table: name, target and cause."""
    return tuple(
        Case(name, make, cause, kind, settings, lines) for name, (make, cause) in rows.items()
    )


def chap(mutual: bool = False, **what: Any) -> Script:
    """Return the script of a target that knows alice, and can prove itself as bob."""
    return Script(
        accounts={ALICE: ALICES_SECRET}, own_account=(BOB, BOBS_SECRET) if mutual else None, **what
    )


def plays_chap(mutual: bool = False, **what: Any) -> MakeTarget:
    return lambda _port: ScriptedTarget(chap(mutual, **what))
