"""Every failure of a connection in words, with what to do."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from iscsid.errors import ConnectionFailed, Retry
from iscsid.workers.connect_errors import (
    BY_ERRNO,
    BY_RESOLVER,
    Reason,
    connection_failed,
    explain,
    timed_out,
    together,
)


@pytest.mark.parametrize("row", [*BY_ERRNO.values(), *BY_RESOLVER.values()])
def test_every_row_has_words_and_advice_and_never_gives_up(row: Reason) -> None:
    """A target that is merely unreachable, at boot above all, is tried for ever."""
    assert row.words and row.advice
    assert row.retry is not Retry.NEVER


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), "connection refused"),
        (OSError(errno.EHOSTUNREACH, ""), "no route to the host"),
        (OSError(errno.ENETUNREACH, ""), "the network is unreachable"),
        (ConnectionResetError(errno.ECONNRESET, ""), "the connection was reset"),
        (TimeoutError("timed out"), "no answer in time"),
        (OSError(errno.ETIMEDOUT, ""), "no answer in time"),
        (socket.gaierror(socket.EAI_NONAME, ""), "no such name is known"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "the name service does not answer"),
        (socket.gaierror(-99, "strange"), "strange"),
        (OSError("no number"), "an unknown error"),
    ],
)
def test_an_error_reads_as_what_was_done_and_what_came_of_it(error: OSError, words: str) -> None:
    failed = connection_failed("connecting to 192.0.2.1:3260", error)
    assert failed.what == f"connecting to 192.0.2.1:3260: {words}"


def test_an_error_that_is_not_listed_has_the_systems_words_and_its_name() -> None:
    assert explain(errno.EXDEV).words == f"{os.strerror(errno.EXDEV)} (EXDEV)"
    assert explain(9999).words.endswith("(9999)")


def test_a_missed_limit_is_reported_with_how_long_it_was() -> None:
    assert timed_out("logging in", "15 s").what == "logging in: no answer within 15 s"


def test_several_addresses_make_one_error() -> None:
    first = ConnectionFailed("connecting to [::1]:1: connection refused", advice="a")
    last = ConnectionFailed("connecting to 127.0.0.1:1: refused", advice="b")
    failure = together([first, last]).failure()
    assert failure.what == f"{first.what}; {last.what}"
    assert failure.advice == "b"


def test_the_machines_own_refusal_is_in_the_table() -> None:
    with socket.create_server(("127.0.0.1", 0)) as portal:
        address = portal.getsockname()
    with pytest.raises(ConnectionRefusedError) as caught:
        socket.create_connection(address)
    assert explain(caught.value.errno).words == "connection refused"
