"""A relay in front of a target that notes the opcode of every request: was a Logout sent?

Without digests a PDU's length follows from its Basic Header Segment (RFC 7143, section 11.2.1).
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

LOGOUT = 0x06
NOP_OUT = 0x00
SCSI_COMMAND = 0x01
LOGIN = 0x03
_BHS = 48


class PduRelay:
    """Listens on a port of loopback, and passes everything on to ``target``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[tuple[float, int]] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def count(self, opcode: int) -> int:
        return sum(seen == opcode for _, seen in self.requests)

    def break_connections(self) -> None:
        """Close every connection there is; new ones are accepted as before."""
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def refuse(self) -> None:
        """Be a target that has died: close the connections, and accept none."""
        # A listener that is only closed would still accept in the thread that waits there.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()

    def _start(self, call: object, *arguments: object) -> None:
        assert callable(call)
        threading.Thread(target=call, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                try:
                    outer = socket.create_connection(self._target)
                except OSError:
                    inner.close()
                    continue
                self._sockets += [inner, outer]
                self._start(self._pass_requests, inner, outer)
                self._start(self._pass_responses, outer, inner)

    def _pass_requests(self, source: socket.socket, sink: socket.socket) -> None:
        pending, missing = b"", 0
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
                pending += piece
                while True:
                    skipped = min(missing, len(pending))
                    pending, missing = pending[skipped:], missing - skipped
                    if missing or len(pending) < _BHS:
                        break
                    self.requests.append((time.monotonic(), pending[0] & 0x3F))
                    data = int.from_bytes(pending[5:8], "big")
                    missing = _BHS + 4 * pending[4] + (data + 3) // 4 * 4
        self._end(source, sink)

    def _pass_responses(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        self._end(source, sink)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
