"""The daemon program against every hostile target there is a case of, many at a time.

One run of the daemon meets all cases, sixteen at once; then each case is looked at by itself.
``-k`` chooses cases, and only these are run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import oracle
from tests.hostile.attempt import ANSWER, Run, run_cases, run_check
from tests.hostile.case import Case
from tests.hostile.chap_cases import CHAP_CASES
from tests.hostile.discovery_cases import DISCOVERY_CASES
from tests.hostile.login_cases import LOGIN_CASES

CASES = LOGIN_CASES + CHAP_CASES + DISCOVERY_CASES
LEAST = 300
FEW = 20
"""Cases that are run if none is chosen by itself."""


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    ours = [each for each in request.session.items if each.nodeid.startswith(request.node.nodeid)]
    chosen = [each.callspec.params["case"] for each in ours if hasattr(each, "callspec")]
    return run_cases(chosen or CASES[:FEW], tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("case", CASES, ids=[f"{each.kind.name}-{each.name}" for each in CASES])
def test_a_hostile_target_costs_one_line_and_nothing_else(case: Case, run: Run) -> None:
    (outcome,) = (each for each in run.outcomes if each.case is case)
    assert oracle.faults_of(outcome) == []


def test_others_are_served_meanwhile_and_the_daemon_is_well(run: Run) -> None:
    assert oracle.faults_of_run(run) == []


def test_the_login_check_reports_each_failure_and_no_secret_in_its_trace(tmp_path: Path) -> None:
    status, printed = run_check(CHAP_CASES, tmp_path, "-dd", f"--login-timeout={3 * ANSWER}")
    assert status == 1
    assert printed.count(": FAILED") == len(CHAP_CASES)
    assert "Traceback" not in printed and "internal error" not in printed
    assert list(oracle.secrets_in(Run([], log=printed))) == []


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(CASES) >= LEAST
    assert len({(each.kind, each.name) for each in CASES}) == len(CASES)
