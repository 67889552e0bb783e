"""Secrets are in the configuration and in memory: no other place of the daemon program has them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from iscsid.cli import iscsi_ls
from tests.hostile.case import ALICE, ALICES_SECRET, BOB, BOBS_SECRET, MUTUAL, chap
from tests.support.surroundings import NAME, Place, end, running, until_up
from tests.target.portal import Portals, listen
from tests.target.scripted import ScriptedTarget

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

FORMS = [
    form
    for secret in (ALICES_SECRET, BOBS_SECRET)
    for form in (secret, secret.hex().encode(), secret.hex().upper().encode())
]


def processes(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            yield from processes(int(child))


def check_processes(process: subprocess.Popen[str]) -> None:
    """Hold every process against what its /proc shows, and what it would leave if it crashed."""
    found = list(processes(process.pid))
    assert len(found) >= 3, "the daemon and two fork servers"
    for pid in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for name in ("cmdline", "environ", "comm", "status"):
                octets = Path(f"/proc/{pid}/{name}").read_bytes()
                assert not [form for form in FORMS if form in octets], (pid, name)
            limit = Path(f"/proc/{pid}/limits").read_text().partition("Max core file size")[2]
            assert limit.split()[:2] == ["0", "0"], f"{pid} may leave a core file"


def test_secrets_are_nowhere_but_in_the_configuration(
    place: Place, portals: Portals, capsys: pytest.CaptureFixture[str]
) -> None:
    """The processes that read the files could leave a core file, all secrets in it."""
    portal = portals.add(listen(), lambda: ScriptedTarget(chap(mutual=True)))
    settings = "".join(f" {line}\n" for line in MUTUAL)
    text = f"TargetName={NAME}\n Address=127.0.0.1:{portal.number}\n{settings}"
    place.configure(text)
    place.options = ("-n", "-d", "-d")
    unlimited = "ulimit -S -c unlimited || true"
    with running(place, unlimited) as process:
        until_up(place, portals, process)
        check_processes(process)
        place.configure(f"{text}Nonsense {ALICES_SECRET.decode()}\n")
        process.send_signal(signal.SIGHUP)
        place.until_about("the running one stays in force")
        check_processes(process)
        iscsi_ls.main(["-P", str(place.directory / "run/iscsid.pid"), "--json"])
        shown = capsys.readouterr().out
        assert NAME in shown and ALICE not in shown and BOB not in shown
        files = [each for each in place.directory.rglob("*") if each.is_file()]
        others = [each for each in files if each != place.directory / "conf/file"]
        assert {"log", "status.json", "devices"} <= {each.name for each in others}
        for each in others:
            octets = each.read_bytes()
            assert not [form for form in FORMS if form in octets], each
        end(process, place)
