"""After a refused list of CHAP algorithms MD5 is tried alone, and after nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.errors import ChapAlgorithmsRefused, LoginRejected
from iscsid.protocol.parameters import ChapAlgorithm
from iscsid.protocol.security import fallback_plan
from tests.target.chap_fixtures import BOB, ONE_WAY, script, with_algorithms
from tests.target.pairing import failure_of, result_of
from tests.target.script import Script, hang_up, only


@pytest.mark.parametrize(
    "refusing",
    [
        script(refuses_lists=True),
        script(amend=hang_up(1)),
        script(statuses={1: 0x0200}),
        script(statuses={1: 0x0202}),
        script(edit=only(1, ("CHAP_A", "Reject"))),
        script(edit=only(1, ("CHAP_A", "NotUnderstood"))),
        script(statuses={2: 0x0200}, algorithms=(7,)),
    ],
    ids=["0201", "silence", "0200", "0202", "Reject", "NotUnderstood", "tgtd"],
)
def test_after_a_refused_list_md5_is_tried_alone(refusing: Script) -> None:
    plan = with_algorithms(ChapAlgorithm.SHA256, ChapAlgorithm.MD5)
    error = failure_of(refusing, plan)
    assert isinstance(error, ChapAlgorithmsRefused)
    second = fallback_plan(plan, error)
    assert second == with_algorithms(ChapAlgorithm.MD5)
    assert result_of(script(refuses_lists=True), second).tsih


def test_md5_alone_is_not_tried_again() -> None:
    error = failure_of(script(edit=only(1, ("CHAP_A", "Reject"))), ONE_WAY)
    assert isinstance(error, ChapAlgorithmsRefused)
    assert fallback_plan(ONE_WAY, error) is None


def test_md5_is_not_tried_where_it_was_not_offered() -> None:
    plan = with_algorithms(ChapAlgorithm.SHA256, ChapAlgorithm.SHA1)
    error = failure_of(script(edit=only(1, ("CHAP_A", "Reject"))), plan)
    assert isinstance(error, ChapAlgorithmsRefused)
    assert fallback_plan(plan, error) is None


@pytest.mark.parametrize("status", [0x0201, 0x0202, 0x0300, 0x0203])
def test_a_wrong_password_is_not_tried_again_with_md5(status: int) -> None:
    plan = with_algorithms(ChapAlgorithm.SHA256, ChapAlgorithm.MD5)
    error = failure_of(script(statuses={2: status}, algorithms=(7,)), plan)
    assert fallback_plan(plan, error) is None


@pytest.mark.parametrize("status", [0x0300, 0x0301, 0x0302])
def test_a_target_in_trouble_has_not_refused_our_algorithms(status: int) -> None:
    plan = with_algorithms(ChapAlgorithm.SHA256, ChapAlgorithm.MD5)
    error = failure_of(script(statuses={1: status}), plan)
    assert isinstance(error, LoginRejected)
    assert fallback_plan(plan, error) is None


def test_a_refusal_in_the_operational_stage_is_not_about_algorithms() -> None:
    """LIO answers 0200 to any value it does not like."""
    plan = with_algorithms(ChapAlgorithm.SHA256, ChapAlgorithm.MD5)
    error = failure_of(script(statuses={3: 0x0200}, algorithms=(7,)), plan)
    assert isinstance(error, LoginRejected)


def test_the_fallback_keeps_everything_but_the_algorithms() -> None:
    plan = with_algorithms(ChapAlgorithm.SHA256, ChapAlgorithm.MD5, mutual=True)
    second = fallback_plan(plan, ChapAlgorithmsRefused("refused"))
    assert second is not None
    assert second.authentication.incoming == BOB
    assert replace(second, authentication=plan.authentication) == plan
