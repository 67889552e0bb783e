"""A filter in the kernel for a socket of messages: what does not concern us does not wake us.

It is the classic one of linux/filter.h, a handful of instructions run on every message before it
is queued. Touches the one socket it is given.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

_SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; Python's library has no name for it."""

_INSTRUCTION = struct.Struct("HBBI")
"""struct sock_filter: what to do, how far to jump if so and if not, and an operand."""
_PROGRAM = struct.Struct("HP")
"""struct sock_fprog: the number of instructions, and where they are."""

_LOAD_WORD_AT = 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06
_WHOLE_MESSAGE = 0xFFFFFFFF
_WORD = 4
"""Octets that are compared at once. A message that ends before them is dropped."""


def attach_prefix_filter(descriptor: int, beginning: bytes) -> None:
    """Drop every message to come that has another ``beginning``, of four octets at least.

    Messages that wait already stay. Raises ``OSError`` where the kernel refuses the filter.
    """
    program = _instructions(beginning)
    text = ctypes.create_string_buffer(program, len(program))
    value = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(text))
    with socket.socket(fileno=os.dup(descriptor)) as its_socket:
        its_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)


def _instructions(beginning: bytes) -> bytes:
    """Return the program; where the length is no multiple of a word, the last two overlap."""
    last = len(beginning) - _WORD
    offsets = [*range(0, last, _WORD), last]
    steps = []
    for number, offset in enumerate(offsets, 1):
        word = int.from_bytes(beginning[offset : offset + _WORD], "big")
        to_the_end = 2 * (len(offsets) - number) + 1
        steps.append(_INSTRUCTION.pack(_LOAD_WORD_AT, 0, 0, offset))
        steps.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, to_the_end, word))
    steps.append(_INSTRUCTION.pack(_RETURN, 0, 0, _WHOLE_MESSAGE))
    steps.append(_INSTRUCTION.pack(_RETURN, 0, 0, 0))
    return b"".join(steps)
