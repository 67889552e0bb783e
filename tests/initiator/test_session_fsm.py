"""The session table is total: every pair of state and event is a row, or listed as meaningless."""

from __future__ import annotations

from itertools import product

import pytest

from iscsid.initiator.session_fsm import MEANINGLESS, TRANSITIONS, Action, Event, State

PAIRS = list(product(State, Event))


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda v: v.name)
def test_every_pair_is_either_a_row_or_listed_as_meaningless(state: State, event: Event) -> None:
    is_row = (state, event) in TRANSITIONS
    is_meaningless = state in MEANINGLESS[event][0]
    assert is_row != is_meaningless


def test_every_action_is_used() -> None:
    used = {action for _, actions in TRANSITIONS.values() for action in actions}
    assert used == set(Action)


def test_every_state_can_be_reached_and_only_gone_is_final() -> None:
    # UP is where an adopted session begins, WAITING where a new one does.
    reachable = {State.WAITING, State.UP}
    while True:
        more = {to for (state, _), (to, _) in TRANSITIONS.items() if state in reachable}
        if more <= reachable:
            break
        reachable |= more
    assert reachable == set(State)
    assert set(State) - {state for state, _ in TRANSITIONS} == {State.GONE}


@pytest.mark.parametrize("state", [s for s in State if s is not State.GONE], ids=lambda s: s.name)
def test_a_session_can_leave_from_every_state(state: State) -> None:
    seen = {state}
    while State.GONE not in seen:
        more = {to for (source, _), (to, _) in TRANSITIONS.items() if source in seen} | seen
        assert more != seen
        seen = more


def test_the_kernel_is_given_a_socket_only_after_a_login_that_succeeded() -> None:
    for (_, event), (_, actions) in TRANSITIONS.items():
        if Action.START_IN_KERNEL in actions or Action.RESUME_IN_KERNEL in actions:
            assert event is Event.LOGIN_SUCCEEDED


def test_a_session_the_kernel_keeps_logs_in_only_with_the_cmd_sn_just_learnt() -> None:
    for (state, event), (to, actions) in TRANSITIONS.items():
        if Action.START_LOGIN in actions and to is State.RELOGIN:
            assert (state, event) == (State.READING_CMD_SN, Event.CMD_SN_LEARNED)


def test_disks_are_taken_away_only_after_they_were_found_unused() -> None:
    for (_, event), (_, actions) in TRANSITIONS.items():
        if Action.UNBIND in actions:
            assert event is Event.DISKS_UNUSED


def test_a_session_that_may_have_disks_is_destroyed_only_if_they_are_unused_or_lost() -> None:
    """Its disks are gone, unused, or of a session that the kernel will never carry on."""
    leaving = {State.UNBINDING, State.LOGGING_OUT, State.DESTROYING}
    for (state, event), (_, actions) in TRANSITIONS.items():
        if Action.DESTROY in actions and state not in leaving:
            assert event in (Event.UNBOUND, Event.DISKS_UNUSED, Event.UNRECOVERABLE)
