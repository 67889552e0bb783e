"""Free TCP ports on loopback, and a wait until somebody listens there."""

from __future__ import annotations

import socket
import time

PATIENCE = 30.0


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on now; a target is to take it at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_listener(port: int, host: str = "127.0.0.1") -> None:
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < limit, f"nobody listens on port {port}"
            time.sleep(0.05)
        else:
            return
