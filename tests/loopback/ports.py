"""Free TCP ports on loopback, and whether a target listens on one."""

from __future__ import annotations

import itertools
import random
import socket

# Below the ports that Linux gives to connections (from 32768 on): none of these can take a port
# between the moment it is found free and the moment the target listens on it.
_CANDIDATES = itertools.cycle(range(20000, 32000))
_START = random.SystemRandom().randrange(12000)
"""Test commands that run at the same time begin at different ports."""

_ports = itertools.islice(_CANDIDATES, _START, None)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens; each call returns another one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in _ports:
        try:
            socket.create_server((host, port), family=family).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a connection to a port is accepted."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
