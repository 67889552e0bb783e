"""Cuts text that comes in pieces into its pairs, without joining the pieces again. Pure."""

from __future__ import annotations

from collections.abc import Iterator


class PairSplitter:
    """Cuts pieces of text at their NULs, wherever the pieces themselves were cut.

    Of a pair longer than ``limit`` octets the first ``limit + 1`` are kept, which tells that it
    was too long; so whatever comes in, no more than that is ever remembered.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unfinished = b""

    def split(self, piece: bytes) -> Iterator[bytes]:
        """Yield every pair that ends in this piece, without its NUL; empty ones are left out."""
        start = 0
        while (end := piece.find(b"\0", start)) >= 0:
            pair = self._extend(piece, start, end)
            self._unfinished = b""
            start = end + 1
            if pair:
                yield pair
        self._unfinished = self._extend(piece, start, len(piece))

    def take_rest(self) -> bytes:
        """Return what came after the last NUL, and forget it."""
        rest, self._unfinished = self._unfinished, b""
        return rest

    def _extend(self, piece: bytes, start: int, end: int) -> bytes:
        room = self._limit + 1 - len(self._unfinished)
        return self._unfinished + piece[start : min(end, start + room)]
