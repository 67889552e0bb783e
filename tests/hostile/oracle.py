"""What must hold of every hostile target, and of the run of the daemon with all of them.

Each function returns what is wrong, in words; nothing is what it should return.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.hostile.attempt import AT_ONCE, Outcome, Run
from tests.hostile.case import ALICES_SECRET, BOBS_SECRET
from tests.support.patience import scaled

ENDED = 7.0
"""Seconds: the 3 for all of a login, 2 of grace, 1 until SIGKILL, and one for the test itself."""
SERVED = 3.0
"""Seconds in which an honest target gets its session."""
LONGEST_LINE = 1024
"""Octets."""
WORKER_MEMORY, DAEMON_MEMORY = 64 << 20, 128 << 20
"""Octets. A worker has 20 MiB before it has read anything, a daemon of 450 targets 40."""
STARTING, AN_OCTET = 0.2, 2e-7
"""Processor seconds of a worker: without any octet, and for each."""
INFORMATION = 4
"""Lines about a discovery session that report how it goes: how many targets, and that it ended."""


def faults_of(outcome: Outcome) -> list[str]:
    """Return what is wrong with what became of a hostile target."""
    return [*_ending(outcome), *_lines(outcome), *_means(outcome)]


def _ending(outcome: Outcome) -> Iterator[str]:
    assert outcome.case is not None
    if outcome.session_after is not None:
        yield "the kernel was asked for a session"
    if not outcome.is_over:
        yield "nothing came of it"
    elif outcome.failed_after is not None and outcome.failed_after > scaled(ENDED):
        yield f"it took {outcome.failed_after:.1f} s"


def _lines(outcome: Outcome) -> Iterator[str]:
    case = outcome.case
    assert case is not None
    failures = list(dict.fromkeys(outcome.failures))
    name = outcome.target if outcome.is_login else outcome.address
    if case.cause and not any(re.search(case.cause, line) for line in failures):
        yield f"no line names the cause {case.cause!r}: {failures}"
    if not case.cause and failures:
        yield f"it is borne, and yet: {failures}"
    if len(failures) > case.lines:
        yield f"more than {case.lines} lines: {failures}"
    most = (case.lines + INFORMATION) * max(1, outcome.portal.connections)
    if len(outcome.lines) > most:
        yield f"{len(outcome.lines)} lines of {outcome.portal.connections} connections"
    for line in outcome.lines:
        if len(line.encode()) > LONGEST_LINE or not line.isprintable():
            yield f"a line is too long or not escaped: {line!r}"
        if line.startswith("iscsid: ") and name in line:
            continue
        yield f"a line does not name the target: {line}"


def _means(outcome: Outcome) -> Iterator[str]:
    if outcome.memory > WORKER_MEMORY:
        yield f"a worker had {outcome.memory >> 20} MiB"
    octets = outcome.portal.octets
    allowed = (STARTING + octets * AN_OCTET) * max(1, outcome.portal.connections)
    if outcome.processor > allowed:
        yield f"{outcome.processor:.2f} s of processor time for {octets} octets"


def faults_of_run(run: Run) -> list[str]:
    """Return what is wrong with the daemon, and with what became of others."""
    return [*_service(run), *_daemon(run), *secrets_in(run)]


def _service(run: Run) -> Iterator[str]:
    for each in run.honest:
        if each.session_after is None:
            yield f"no session for the honest {each.target}"
        elif each.session_after > scaled(SERVED):
            yield f"the honest {each.target} waited {each.session_after:.1f} s"
    if run.requests.count("CREATE_SESSION") != len(run.honest):
        yield f"{run.requests.count('CREATE_SESSION')} sessions of {len(run.honest)} honest targets"


def _daemon(run: Run) -> Iterator[str]:
    if run.status != 0:
        yield f"the daemon ended with {run.status}"
    if "Traceback" in run.log or "internal error" in run.log:
        yield "a traceback in the log"
    written = run.written.decode(errors="backslashreplace")
    if not written.replace("\n", "").replace("\t", "").isprintable():
        yield "a file has something unprintable, which goes to the terminal of its reader"
    if run.memory > DAEMON_MEMORY:
        yield f"the daemon had {run.memory >> 20} MiB"
    if run.processor > scaled(0.1 * run.seconds + 0.02 * len(run.outcomes)):
        yield f"the daemon took {run.processor:.1f} s in {run.seconds:.1f} s, {AT_ONCE} at once"


def secrets_in(run: Run) -> Iterator[str]:
    places = {
        "the log": run.log.encode(),
        "a file": run.written,
        "a title": "".join(run.titles).encode(),
    }
    for place, octets in places.items():
        for secret in (ALICES_SECRET, BOBS_SECRET):
            if secret in octets or secret.hex().encode() in octets:
                yield f"a secret in {place}"
