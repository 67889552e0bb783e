"""A string that is never shown.

``repr``, ``str``, ``format``, tracebacks and pickles of a ``Secret`` never hold the text; only
``reveal()`` does, and only CHAP calls it. Touches nothing.
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """A CHAP secret, kept as bytes."""

    __slots__ = ("_octets",)

    def __init__(self, text: str | bytes) -> None:
        self._octets = text.encode() if isinstance(text, str) else bytes(text)

    def reveal(self) -> bytes:
        """Return the octets of the secret."""
        return self._octets

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash(self._octets)

    def __repr__(self) -> str:
        return "Secret(********)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")
