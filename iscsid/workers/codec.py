"""The building blocks of the messages between the daemon and its workers.

A ``Codec`` is a pair of functions: ``write`` turns a value into plain JSON, ``read`` turns JSON
into the value or raises ``Malformed``. ``read`` checks exact types, ranges, lengths and sets of
fields, because a worker may have been taken over by its target. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, NoReturn, TypeVar

from iscsid.errors import IscsidError

T = TypeVar("T")
U = TypeVar("U")
Named = TypeVar("Named", bound=Enum)


class Malformed(ValueError):
    """The received message is not valid."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """``write`` makes JSON of a ``T``; ``read`` makes a ``T`` of anything, or ``Malformed``."""

    write: Callable[[T], object]
    read: Callable[[object], T]


def number(least: int, most: int) -> Codec[int]:
    """A whole number in a range."""

    def read(found: object) -> int:
        if type(found) is not int or not least <= found <= most:
            raise Malformed(f"{_show(found)} is no whole number from {least} to {most}")
        return found

    return Codec(lambda value: value, read)


def flag() -> Codec[bool]:
    """True or false."""

    def read(found: object) -> bool:
        if not isinstance(found, bool):
            raise Malformed(f"{_show(found)} is neither true nor false")
        return found

    return Codec(lambda value: value, read)


def text(most: int) -> Codec[str]:
    """A string of at most ``most`` characters; a longer one is cut when it is written."""

    def read(found: object) -> str:
        if not isinstance(found, str) or len(found) > most or found != _encodable(found):
            raise Malformed(f"{_show(found)} is no string of at most {most} characters")
        return found

    return Codec(lambda value: _encodable(value)[:most], read)


def checked(most: int, parse: Callable[[str], T], write: Callable[[T], str]) -> Codec[T]:
    """A string that ``parse`` must accept: its ``ValueError`` or ``IscsidError`` refuses it."""
    plain = text(most)

    def read(found: object) -> T:
        try:
            return parse(plain.read(found))
        except Malformed:
            raise
        except (ValueError, IscsidError) as error:
            raise Malformed(str(error)) from error

    return Codec(write, read)


def octets(least: int, most: int) -> Codec[bytes]:
    """A number of octets in a range, as hexadecimal digits."""

    def parse(found: str) -> bytes:
        value = bytes.fromhex(found)
        if not least <= len(value) <= most or value.hex() != found:
            raise ValueError(f"not {least} to {most} octets in hexadecimal")
        return value

    return checked(2 * most, parse, bytes.hex)


def seconds() -> Codec[float]:
    """A length of time in whole milliseconds, since the messages have no fractions."""
    whole = number(0, 2**53)
    return Codec(lambda value: round(value * 1000), lambda found: whole.read(found) / 1000)


def optional(inner: Codec[T]) -> Codec[T | None]:
    """Either the inner value or nothing."""
    return Codec(
        lambda value: None if value is None else inner.write(value),
        lambda found: None if found is None else inner.read(found),
    )


def several(inner: Codec[T], most: int) -> Codec[tuple[T, ...]]:
    """At most ``most`` inner values; a longer list is cut when it is written."""

    def read(found: object) -> tuple[T, ...]:
        if not isinstance(found, list) or len(found) > most:
            raise Malformed(f"{_show(found)} is no list of at most {most}")
        return tuple(inner.read(item) for item in found)

    return Codec(lambda value: [inner.write(item) for item in value[:most]], read)


def pair(first: Codec[T], second: Codec[U]) -> Codec[tuple[T, U]]:
    """Exactly two values."""

    def read(found: object) -> tuple[T, U]:
        if not isinstance(found, list) or len(found) != 2:
            raise Malformed(f"{_show(found)} is no pair")
        return first.read(found[0]), second.read(found[1])

    return Codec(lambda value: [first.write(value[0]), second.write(value[1])], read)


def as_set(inner: Codec[tuple[T, ...]]) -> Codec[frozenset[T]]:
    """The values of a list, without order."""
    return Codec(
        lambda value: inner.write(tuple(value)), lambda found: frozenset(inner.read(found))
    )


def choice(kind: type[Named]) -> Codec[Named]:
    """A member of an enumeration, by its name."""

    def read(found: object) -> Named:
        if not isinstance(found, str) or found not in kind.__members__:
            raise Malformed(f"{_show(found)} is no {kind.__name__}")
        return kind[found]

    return Codec(lambda value: value.name, read)


def fields(**codecs: Codec[Any]) -> Codec[Any]:
    """The fields of an object, as a dictionary on arrival: exactly these."""

    def write(value: object) -> object:
        return {name: codec.write(getattr(value, name)) for name, codec in codecs.items()}

    def read(found: object) -> dict[str, Any]:
        if not isinstance(found, dict) or found.keys() != codecs.keys():
            raise Malformed(f"{_show(found)} has not exactly the fields {', '.join(codecs)}")
        return {name: codec.read(found[name]) for name, codec in codecs.items()}

    return Codec(write, read)


def record(kind: Callable[..., T], **codecs: Codec[Any]) -> Codec[T]:
    """A dataclass: exactly these fields. An ``IscsidError`` of ``kind`` refuses the values."""
    inner = fields(**codecs)

    def read(found: object) -> T:
        try:
            return kind(**inner.read(found))
        except IscsidError as error:
            raise Malformed(error.what) from error

    return Codec(inner.write, read)


def to_octets(value: object) -> bytes:
    """Write plain JSON as one line of UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def from_octets(message: bytes) -> object:
    """Read what should be JSON; raises ``Malformed`` for everything else."""
    try:
        return json.loads(
            message.decode("utf-8"),
            object_pairs_hook=_without_repetition,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {type(error).__name__}") from error


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a field comes twice")
    return found


def _refuse(found: str) -> NoReturn:
    raise Malformed(f"{_show(found)} is no number we use")


def _encodable(value: str) -> str:
    """Escape lone surrogates, which JSON's escapes allow and UTF-8 does not."""
    return value.encode("utf-8", "backslashreplace").decode()


def _show(found: object) -> str:
    return repr(found)[:80]
