"""Fuzz target: what a worker sends to the daemon.

``python -m tests.fuzz.channel_messages -max_total_time=60``. The oracle: a message of the job's own
kind, or ``Malformed``; what is written again is read as the same.
"""

from __future__ import annotations

from iscsid.workers.codec import Malformed
from iscsid.workers.job_kinds import decode, encode
from tests.fuzz import engine
from tests.support.jobs import discovery_job, login_job, scan_job


def test_one_input(data: bytes) -> None:
    """Read the octets as a message of each kind of job."""
    for job in (discovery_job(1), login_job(2), scan_job(3)):
        try:
            message = decode(job, data)
        except Malformed as error:
            assert str(error).isprintable() and len(str(error)) < 500
            continue
        assert decode(job, encode(message)) == message


if __name__ == "__main__":
    engine.run(__file__)
