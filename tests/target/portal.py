"""Scripted targets behind a listening socket, as many connections at once as come.

One process, one selector, no threads: ``python -m tests.target`` runs it for initiators that are
programs of their own, and a test may fork it.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

from tests.target.scripted import ScriptedTarget


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a listening socket, by default on a free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def serve(listener: socket.socket, make_target: Callable[[], ScriptedTarget]) -> None:
    """Give every connection a target of its own, until the process is ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    connection, _ = listener.accept()
                    selector.register(connection, selectors.EVENT_READ, make_target())
                elif isinstance(key.fileobj, socket.socket) and _is_over(key.fileobj, key.data):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def _is_over(connection: socket.socket, target: ScriptedTarget) -> bool:
    """Let the target read and answer once; say whether the connection is to be closed."""
    try:
        data = connection.recv(65536)
        target.receive_data(data)
        connection.sendall(target.data_to_send())
    except ConnectionError:
        return True
    return not data or target.is_closed
