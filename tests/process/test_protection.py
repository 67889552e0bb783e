"""The daemon's protection, seen from outside in /proc; each is tried in a process of its own."""

from __future__ import annotations

import json
import os
import resource

import pytest

from tests.support.programs import run

PROTECT = """
    import ctypes, gc, json, os, resource
    from pathlib import Path
    {before}
    from iscsid.process.protection import protect
    refusals = protect()
    status = Path("/proc/self/status").read_text()
    PR_GET_IO_FLUSHER = 58
    print(json.dumps({{
        "refusals": refusals,
        "locked": next(line for line in status.splitlines() if line.startswith("VmLck")).split()[1],
        "spared": Path("/proc/self/oom_score_adj").read_text().strip(),
        "flusher": ctypes.CDLL(None).prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "frozen": gc.get_freeze_count(),
    }}))
    """

REFUSAL = {
    "locked": "not protected by keeping its memory from being swapped out: ",
    "spared": "not protected by being spared by the out-of-memory killer: ",
    "flusher": "not protected by allocating without waiting for writeback: ",
}


def protect(before: str = "") -> dict[str, object]:
    result: dict[str, object] = json.loads(run(PROTECT.format(before=before)))
    return result


def refusals(result: dict[str, object]) -> list[str]:
    lines = result["refusals"]
    assert isinstance(lines, list)
    return lines


@pytest.mark.skipif(os.geteuid() != 0, reason="protection is root's")
def test_the_daemon_is_protected_or_reports_what_is_missing() -> None:
    """Where a container's root lacks a capability, the daemon goes on, and the log shows it."""
    result = protect()
    lines = refusals(result)
    seen = {
        "locked": int(str(result["locked"])) > 1000,
        "spared": result["spared"] == "-1000",
        "flusher": result["flusher"] == 1,
    }
    for what, is_protected in seen.items():
        refused = [line for line in lines if line.startswith(REFUSAL[what])]
        assert is_protected != bool(refused), (what, result)
    assert len(lines) == list(seen.values()).count(False)


def test_what_exists_at_the_start_is_left_alone_by_the_collector() -> None:
    assert int(str(protect()["frozen"])) > 1000


def test_the_soft_limit_of_open_files_is_raised() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 65536 if hard < 0 else min(65536, hard)
    lowered = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({wanted // 2}, {hard}))"
    assert protect(lowered)["files"] == [wanted, hard]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_without_privileges_every_refusal_is_one_line_and_none_is_fatal() -> None:
    result = protect(
        """
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    import iscsid.process.protection
    os.setresuid(65534, 65534, 65534)
    """
    )
    lines = refusals(result)
    assert [line[: line.index(": ") + 2] for line in lines] == list(REFUSAL.values())
    assert all("\n" not in line for line in lines)
