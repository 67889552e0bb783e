"""The life of a session as a table: state, event -> next state, actions.

Pure data. The states are the daemon's view of one session; the standard's session states (RFC
7143, section 8.3) are given beside them. Every pair of state and event is either a row here or
listed as meaningless, and ``tests/initiator/test_session_table.py`` holds the table to that.

Read a column to see what may happen in a state:

* WAITING, LOGGING_IN, STARTING: the kernel knows nothing of the session (Q1 FREE).
* UP, LEAVING_TO_RETURN: the kernel runs it (Q3 LOGGED_IN).
* DOWN, PROBING, REJOINING, RESUMING: the kernel keeps it without a connection (Q4 FAILED).
* UNBINDING, LEAVING, ENDING: on the way out.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto


class State(Enum):
    WAITING = "waiting"
    """For a timer, for SIGHUP, or for a child's place."""
    LOGGING_IN = "logging in"
    STARTING = "starting"
    """The kernel has been ordered to start it."""
    UP = "up"
    LEAVING_TO_RETURN = "leaving to return"
    """The target asked for a logout; a login follows."""
    DOWN = "down"
    PROBING = "probing"
    """The kernel has been asked for its CmdSN."""
    REJOINING = "rejoining"
    """Logging in for a session the kernel keeps."""
    RESUMING = "resuming"
    UNBINDING = "unbinding"
    """The kernel flushes and removes the disks."""
    LEAVING = "leaving"
    """A Logout Request is out."""
    ENDING = "ending"
    """The kernel has been ordered to destroy it."""
    GONE = "gone"


class Event(Enum):
    ATTEMPT_DUE = auto()
    LOGIN_SUCCEEDED = auto()
    LOGIN_FAILED = auto()
    STARTED = auto()
    REFUSED = auto()
    CMD_SN_LEARNED = auto()
    BROKE = auto()
    DOOMED = auto()
    """The kernel will never carry it on: it can only be destroyed, and made anew."""
    LOGOUT_ASKED = auto()
    """By the target, or because settings changed that only a new login can change."""
    UNWANTED = auto()
    """The configuration or the targets' lists lost it, or the daemon ends for good."""
    DISKS_UNUSED = auto()
    DISKS_IN_USE = auto()
    UNBOUND = auto()
    LOGGED_OUT = auto()
    PATIENCE_ENDED = auto()
    """A step of a logout took too long."""
    DESTROYED = auto()


class Action(Enum):
    START_LOGIN = auto()
    STOP_LOGIN = auto()
    RETRY_LATER = auto()
    START_IN_KERNEL = auto()
    RESUME_IN_KERNEL = auto()
    COME_UP = auto()
    SCAN = auto()
    SCAN_LATER = auto()
    GO_DOWN = auto()
    LEARN_CMD_SN = auto()
    CHECK_DISKS = auto()
    STAY = auto()
    """The disks are in use: keep the session and say why."""
    UNBIND = auto()
    SEND_LOGOUT = auto()
    DESTROY = auto()
    WAIT_A_LITTLE = auto()
    START_AFRESH = auto()
    """The kernel lost the session: log in as if for the first time."""
    FORGET = auto()


Row = tuple[State, tuple[Action, ...]]

TRANSITIONS: dict[tuple[State, Event], Row] = {
    # A first login. Nothing is made in the kernel before it has succeeded.
    (State.WAITING, Event.ATTEMPT_DUE): (State.LOGGING_IN, (Action.START_LOGIN,)),
    (State.WAITING, Event.UNWANTED): (State.GONE, (Action.FORGET,)),
    (State.LOGGING_IN, Event.LOGIN_SUCCEEDED): (State.STARTING, (Action.START_IN_KERNEL,)),
    (State.LOGGING_IN, Event.LOGIN_FAILED): (State.WAITING, (Action.RETRY_LATER,)),
    (State.LOGGING_IN, Event.UNWANTED): (State.GONE, (Action.STOP_LOGIN, Action.FORGET)),
    (State.STARTING, Event.STARTED): (State.UP, (Action.COME_UP, Action.SCAN)),
    (State.STARTING, Event.REFUSED): (State.WAITING, (Action.RETRY_LATER,)),
    # Up, until the connection breaks or the target asks us to leave.
    (State.UP, Event.BROKE): (State.DOWN, (Action.GO_DOWN,)),
    (State.UP, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.UP, Event.LOGOUT_ASKED): (State.LEAVING_TO_RETURN, (Action.SEND_LOGOUT,)),
    (State.UP, Event.UNWANTED): (State.UP, (Action.CHECK_DISKS,)),
    (State.UP, Event.DISKS_UNUSED): (State.UNBINDING, (Action.UNBIND,)),
    (State.UP, Event.DISKS_IN_USE): (State.UP, (Action.STAY,)),
    (State.UP, Event.UNBOUND): (State.LEAVING, (Action.SEND_LOGOUT,)),
    (State.UP, Event.DESTROYED): (State.WAITING, (Action.START_AFRESH,)),
    (State.LEAVING_TO_RETURN, Event.LOGGED_OUT): (State.DOWN, (Action.GO_DOWN,)),
    (State.LEAVING_TO_RETURN, Event.REFUSED): (State.DOWN, (Action.GO_DOWN,)),
    (State.LEAVING_TO_RETURN, Event.BROKE): (State.DOWN, (Action.GO_DOWN,)),
    (State.LEAVING_TO_RETURN, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.LEAVING_TO_RETURN, Event.PATIENCE_ENDED): (State.DOWN, (Action.GO_DOWN,)),
    (State.LEAVING_TO_RETURN, Event.UNBOUND): (State.LEAVING, ()),
    (State.LEAVING_TO_RETURN, Event.DESTROYED): (State.WAITING, (Action.START_AFRESH,)),
    # Recovery: the kernel's CmdSN is learnt anew for each attempt, and STOP comes with it.
    (State.DOWN, Event.ATTEMPT_DUE): (State.PROBING, (Action.LEARN_CMD_SN,)),
    (State.DOWN, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.DOWN, Event.UNWANTED): (State.DOWN, (Action.CHECK_DISKS,)),
    (State.DOWN, Event.DISKS_UNUSED): (State.ENDING, (Action.DESTROY,)),
    (State.DOWN, Event.DISKS_IN_USE): (State.DOWN, (Action.STAY,)),
    (State.DOWN, Event.UNBOUND): (State.ENDING, (Action.DESTROY,)),
    (State.DOWN, Event.DESTROYED): (State.WAITING, (Action.START_AFRESH,)),
    (State.PROBING, Event.CMD_SN_LEARNED): (State.REJOINING, (Action.START_LOGIN,)),
    (State.PROBING, Event.REFUSED): (State.DOWN, (Action.RETRY_LATER,)),
    (State.PROBING, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.PROBING, Event.UNBOUND): (State.ENDING, (Action.DESTROY,)),
    (State.PROBING, Event.DESTROYED): (State.WAITING, (Action.START_AFRESH,)),
    (State.REJOINING, Event.LOGIN_SUCCEEDED): (State.RESUMING, (Action.RESUME_IN_KERNEL,)),
    (State.REJOINING, Event.LOGIN_FAILED): (State.DOWN, (Action.RETRY_LATER,)),
    (State.REJOINING, Event.UNWANTED): (
        State.DOWN,
        (Action.STOP_LOGIN, Action.RETRY_LATER, Action.CHECK_DISKS),
    ),
    (State.REJOINING, Event.DOOMED): (State.ENDING, (Action.STOP_LOGIN, Action.DESTROY)),
    (State.REJOINING, Event.UNBOUND): (State.ENDING, (Action.STOP_LOGIN, Action.DESTROY)),
    (State.REJOINING, Event.DESTROYED): (State.WAITING, (Action.STOP_LOGIN, Action.START_AFRESH)),
    (State.RESUMING, Event.STARTED): (State.UP, (Action.COME_UP, Action.SCAN_LATER)),
    (State.RESUMING, Event.REFUSED): (State.DOWN, (Action.RETRY_LATER,)),
    (State.RESUMING, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.RESUMING, Event.DESTROYED): (State.WAITING, (Action.START_AFRESH,)),
    # Out: flush, log out, destroy. Each step has a limit.
    (State.UNBINDING, Event.UNBOUND): (State.LEAVING, (Action.SEND_LOGOUT,)),
    (State.UNBINDING, Event.BROKE): (State.ENDING, (Action.DESTROY,)),
    (State.UNBINDING, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.UNBINDING, Event.REFUSED): (State.ENDING, (Action.DESTROY,)),
    (State.UNBINDING, Event.PATIENCE_ENDED): (State.ENDING, (Action.DESTROY,)),
    (State.UNBINDING, Event.DESTROYED): (State.GONE, (Action.FORGET,)),
    (State.LEAVING, Event.LOGGED_OUT): (State.ENDING, (Action.DESTROY,)),
    (State.LEAVING, Event.REFUSED): (State.ENDING, (Action.DESTROY,)),
    (State.LEAVING, Event.BROKE): (State.ENDING, (Action.DESTROY,)),
    (State.LEAVING, Event.DOOMED): (State.ENDING, (Action.DESTROY,)),
    (State.LEAVING, Event.PATIENCE_ENDED): (State.ENDING, (Action.DESTROY,)),
    (State.LEAVING, Event.DESTROYED): (State.GONE, (Action.FORGET,)),
    (State.ENDING, Event.REFUSED): (State.ENDING, (Action.WAIT_A_LITTLE,)),
    (State.ENDING, Event.PATIENCE_ENDED): (State.ENDING, (Action.DESTROY,)),
    (State.ENDING, Event.DESTROYED): (State.GONE, (Action.FORGET,)),
}

_NO_CHILD = {s for s in State if s not in (State.LOGGING_IN, State.REJOINING)}
_NOT_STARTING = {s for s in State if s not in (State.STARTING, State.RESUMING)}
_NOT_IN_KERNEL = {State.WAITING, State.LOGGING_IN, State.STARTING, State.GONE}
_IN_TRANSIT = {State.STARTING, State.RESUMING, State.PROBING, State.LEAVING_TO_RETURN}
_NO_CONNECTION = {State.DOWN, State.PROBING, State.REJOINING, State.RESUMING, State.ENDING}
_LEAVING = {State.UNBINDING, State.LEAVING, State.ENDING, State.GONE}

DISKS_WAIT = _NO_CONNECTION - {State.ENDING}
"""The kernel keeps the session without a connection."""

MEANINGLESS: dict[Event, tuple[Collection[State], str]] = {
    Event.ATTEMPT_DUE: (
        {s for s in State if s not in (State.WAITING, State.DOWN)},
        "an attempt is under way, or none is needed",
    ),
    Event.LOGIN_SUCCEEDED: (_NO_CHILD, "the child was stopped: its socket is closed unused"),
    Event.LOGIN_FAILED: (_NO_CHILD, "the child was stopped"),
    Event.STARTED: (_NOT_STARTING, "only the hand that was ordered to start reports a start"),
    Event.REFUSED: (
        {State.WAITING, State.LOGGING_IN, State.UP, State.DOWN, State.REJOINING, State.GONE},
        "nothing is ordered of the kernel there that would change the state when refused",
    ),
    Event.CMD_SN_LEARNED: (
        {s for s in State if s is not State.PROBING},
        "the session changed its ways after it had asked",
    ),
    Event.BROKE: (_NOT_IN_KERNEL | _NO_CONNECTION, "there is no connection that could break"),
    Event.DOOMED: (
        _NOT_IN_KERNEL | {State.ENDING},
        "the kernel has nothing of it, or is destroying it already",
    ),
    Event.LOGOUT_ASKED: (
        {s for s in State if s is not State.UP},
        "it is on the way out already, or has no connection",
    ),
    Event.UNWANTED: (
        _IN_TRANSIT | _LEAVING,
        "it waits until the step under way is over, or is on the way out already",
    ),
    Event.DISKS_UNUSED: (
        {s for s in State if s not in (State.UP, State.DOWN)},
        "the session changed its ways after it had asked",
    ),
    Event.DISKS_IN_USE: (
        {s for s in State if s not in (State.UP, State.DOWN)},
        "the session changed its ways after it had asked",
    ),
    Event.UNBOUND: (
        _NOT_IN_KERNEL | {State.RESUMING, State.LEAVING, State.ENDING},
        "the logout goes on anyhow, or the kernel refuses the resumption",
    ),
    Event.LOGGED_OUT: (
        {s for s in State if s not in (State.LEAVING, State.LEAVING_TO_RETURN)},
        "no Logout Request is out",
    ),
    Event.PATIENCE_ENDED: (
        {s for s in State if s not in _LEAVING} - {State.LEAVING_TO_RETURN} | {State.GONE},
        "no step of a logout is under way",
    ),
    Event.DESTROYED: (_NOT_IN_KERNEL, "the kernel has nothing of it that could be destroyed"),
}
"""The pairs that are not in ``TRANSITIONS``, and why nothing happens there."""
