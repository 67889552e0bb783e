"""The states of a session as a table: state, event -> next state, actions.

Pure data. The states are the daemon's view of one session; the standard's session states (RFC
7143, section 8.3) are given beside them. Every pair of state and event is either a row here or
listed as meaningless, and ``tests/initiator/test_session_fsm.py`` holds the table to that.

Read a column to see what may happen in a state:

* WAITING, LOGGING_IN, STARTING: the kernel knows nothing of the session (Q1 FREE).
* UP, LOGOUT_FOR_RELOGIN: the kernel runs it (Q3 LOGGED_IN).
* DOWN, READING_CMD_SN, RELOGIN, RESUMING: the kernel keeps it without a connection (Q4 FAILED).
* UNBINDING, LOGGING_OUT, DESTROYING: on the way out.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto


class State(Enum):
    WAITING = "waiting"
    """For a timer, for SIGHUP, or for a free worker."""
    LOGGING_IN = "logging in"
    STARTING = "starting"
    """The kernel has been ordered to start it."""
    UP = "up"
    LOGOUT_FOR_RELOGIN = "logging out to log in again"
    """The target asked for a logout; a login follows."""
    DOWN = "down"
    READING_CMD_SN = "reading CmdSN"
    """The kernel has been asked for its CmdSN."""
    RELOGIN = "logging in again"
    """Logging in for a session the kernel keeps."""
    RESUMING = "resuming"
    UNBINDING = "unbinding"
    """The kernel flushes and removes the disks."""
    LOGGING_OUT = "logging out"
    """A Logout Request is out."""
    DESTROYING = "being destroyed"
    """The kernel has been ordered to destroy it."""
    GONE = "gone"


class Event(Enum):
    ATTEMPT_DUE = auto()
    LOGIN_SUCCEEDED = auto()
    LOGIN_FAILED = auto()
    STARTED = auto()
    REFUSED = auto()
    CMD_SN_LEARNED = auto()
    CONNECTION_LOST = auto()
    UNRECOVERABLE = auto()
    """The kernel will never carry it on: it can only be destroyed, and made anew."""
    LOGOUT_REQUESTED = auto()
    """By the target."""
    SETTINGS_CHANGED = auto()
    """Only a new login can bring the session the settings that it should have."""
    UNWANTED = auto()
    """The configuration or the targets' lists lost it, or the daemon ends for good."""
    DISKS_UNUSED = auto()
    DISKS_IN_USE = auto()
    UNBOUND = auto()
    LOGGED_OUT = auto()
    TIMED_OUT = auto()
    """A step of a logout took too long."""
    DESTROYED = auto()


class Action(Enum):
    START_LOGIN = auto()
    STOP_LOGIN = auto()
    RETRY_LATER = auto()
    START_IN_KERNEL = auto()
    RESUME_IN_KERNEL = auto()
    MARK_UP = auto()
    SCAN = auto()
    SCAN_LATER = auto()
    MARK_DOWN = auto()
    LEARN_CMD_SN = auto()
    CHECK_DISKS = auto()
    KEEP_IN_USE = auto()
    """The disks are in use: keep the session and log why."""
    UNBIND = auto()
    SEND_LOGOUT = auto()
    DESTROY = auto()
    DESTROY_LATER = auto()
    RESTART_LOGIN = auto()
    """The kernel lost the session: log in as if for the first time."""
    CLEAN_UP = auto()


Row = tuple[State, tuple[Action, ...]]

TRANSITIONS: dict[tuple[State, Event], Row] = {
    # A first login. Nothing is made in the kernel before it has succeeded.
    (State.WAITING, Event.ATTEMPT_DUE): (State.LOGGING_IN, (Action.START_LOGIN,)),
    (State.WAITING, Event.UNWANTED): (State.GONE, (Action.CLEAN_UP,)),
    (State.LOGGING_IN, Event.LOGIN_SUCCEEDED): (State.STARTING, (Action.START_IN_KERNEL,)),
    (State.LOGGING_IN, Event.LOGIN_FAILED): (State.WAITING, (Action.RETRY_LATER,)),
    (State.LOGGING_IN, Event.SETTINGS_CHANGED): (
        State.LOGGING_IN,
        (Action.STOP_LOGIN, Action.START_LOGIN),
    ),
    (State.LOGGING_IN, Event.UNWANTED): (State.GONE, (Action.STOP_LOGIN, Action.CLEAN_UP)),
    (State.STARTING, Event.STARTED): (State.UP, (Action.MARK_UP, Action.SCAN)),
    (State.STARTING, Event.REFUSED): (State.WAITING, (Action.RETRY_LATER,)),
    # Up, until the connection breaks or the target requests a logout.
    (State.UP, Event.CONNECTION_LOST): (State.DOWN, (Action.MARK_DOWN,)),
    (State.UP, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.UP, Event.LOGOUT_REQUESTED): (State.LOGOUT_FOR_RELOGIN, (Action.SEND_LOGOUT,)),
    (State.UP, Event.SETTINGS_CHANGED): (State.LOGOUT_FOR_RELOGIN, (Action.SEND_LOGOUT,)),
    (State.UP, Event.UNWANTED): (State.UP, (Action.CHECK_DISKS,)),
    (State.UP, Event.DISKS_UNUSED): (State.UNBINDING, (Action.UNBIND,)),
    (State.UP, Event.DISKS_IN_USE): (State.UP, (Action.KEEP_IN_USE,)),
    (State.UP, Event.UNBOUND): (State.LOGGING_OUT, (Action.SEND_LOGOUT,)),
    (State.UP, Event.DESTROYED): (State.WAITING, (Action.RESTART_LOGIN,)),
    (State.LOGOUT_FOR_RELOGIN, Event.LOGGED_OUT): (State.DOWN, (Action.MARK_DOWN,)),
    (State.LOGOUT_FOR_RELOGIN, Event.REFUSED): (State.DOWN, (Action.MARK_DOWN,)),
    (State.LOGOUT_FOR_RELOGIN, Event.CONNECTION_LOST): (State.DOWN, (Action.MARK_DOWN,)),
    (State.LOGOUT_FOR_RELOGIN, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.LOGOUT_FOR_RELOGIN, Event.TIMED_OUT): (State.DOWN, (Action.MARK_DOWN,)),
    (State.LOGOUT_FOR_RELOGIN, Event.UNBOUND): (State.LOGGING_OUT, ()),
    (State.LOGOUT_FOR_RELOGIN, Event.DESTROYED): (State.WAITING, (Action.RESTART_LOGIN,)),
    # Recovery: the kernel's CmdSN is learnt anew for each attempt, and STOP comes with it.
    (State.DOWN, Event.ATTEMPT_DUE): (State.READING_CMD_SN, (Action.LEARN_CMD_SN,)),
    (State.DOWN, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.DOWN, Event.UNWANTED): (State.DOWN, (Action.CHECK_DISKS,)),
    (State.DOWN, Event.DISKS_UNUSED): (State.DESTROYING, (Action.DESTROY,)),
    (State.DOWN, Event.DISKS_IN_USE): (State.DOWN, (Action.KEEP_IN_USE,)),
    (State.DOWN, Event.UNBOUND): (State.DESTROYING, (Action.DESTROY,)),
    (State.DOWN, Event.DESTROYED): (State.WAITING, (Action.RESTART_LOGIN,)),
    (State.READING_CMD_SN, Event.CMD_SN_LEARNED): (State.RELOGIN, (Action.START_LOGIN,)),
    (State.READING_CMD_SN, Event.REFUSED): (State.DOWN, (Action.RETRY_LATER,)),
    (State.READING_CMD_SN, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.READING_CMD_SN, Event.UNBOUND): (State.DESTROYING, (Action.DESTROY,)),
    (State.READING_CMD_SN, Event.DESTROYED): (State.WAITING, (Action.RESTART_LOGIN,)),
    (State.RELOGIN, Event.LOGIN_SUCCEEDED): (State.RESUMING, (Action.RESUME_IN_KERNEL,)),
    (State.RELOGIN, Event.LOGIN_FAILED): (State.DOWN, (Action.RETRY_LATER,)),
    (State.RELOGIN, Event.SETTINGS_CHANGED): (
        State.READING_CMD_SN,
        (Action.STOP_LOGIN, Action.LEARN_CMD_SN),
    ),
    (State.RELOGIN, Event.UNWANTED): (
        State.DOWN,
        (Action.STOP_LOGIN, Action.RETRY_LATER, Action.CHECK_DISKS),
    ),
    (State.RELOGIN, Event.UNRECOVERABLE): (State.DESTROYING, (Action.STOP_LOGIN, Action.DESTROY)),
    (State.RELOGIN, Event.UNBOUND): (State.DESTROYING, (Action.STOP_LOGIN, Action.DESTROY)),
    (State.RELOGIN, Event.DESTROYED): (State.WAITING, (Action.STOP_LOGIN, Action.RESTART_LOGIN)),
    (State.RESUMING, Event.STARTED): (State.UP, (Action.MARK_UP, Action.SCAN_LATER)),
    (State.RESUMING, Event.REFUSED): (State.DOWN, (Action.RETRY_LATER,)),
    (State.RESUMING, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.RESUMING, Event.DESTROYED): (State.WAITING, (Action.RESTART_LOGIN,)),
    # Out: flush, log out, destroy. Each step has a limit.
    (State.UNBINDING, Event.UNBOUND): (State.LOGGING_OUT, (Action.SEND_LOGOUT,)),
    (State.UNBINDING, Event.CONNECTION_LOST): (State.DESTROYING, (Action.DESTROY,)),
    (State.UNBINDING, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.UNBINDING, Event.REFUSED): (State.DESTROYING, (Action.DESTROY,)),
    (State.UNBINDING, Event.TIMED_OUT): (State.DESTROYING, (Action.DESTROY,)),
    (State.UNBINDING, Event.DESTROYED): (State.GONE, (Action.CLEAN_UP,)),
    (State.LOGGING_OUT, Event.LOGGED_OUT): (State.DESTROYING, (Action.DESTROY,)),
    (State.LOGGING_OUT, Event.REFUSED): (State.DESTROYING, (Action.DESTROY,)),
    (State.LOGGING_OUT, Event.CONNECTION_LOST): (State.DESTROYING, (Action.DESTROY,)),
    (State.LOGGING_OUT, Event.UNRECOVERABLE): (State.DESTROYING, (Action.DESTROY,)),
    (State.LOGGING_OUT, Event.TIMED_OUT): (State.DESTROYING, (Action.DESTROY,)),
    (State.LOGGING_OUT, Event.DESTROYED): (State.GONE, (Action.CLEAN_UP,)),
    (State.DESTROYING, Event.REFUSED): (State.DESTROYING, (Action.DESTROY_LATER,)),
    (State.DESTROYING, Event.TIMED_OUT): (State.DESTROYING, (Action.DESTROY,)),
    (State.DESTROYING, Event.DESTROYED): (State.GONE, (Action.CLEAN_UP,)),
}

_NO_LOGIN = {s for s in State if s not in (State.LOGGING_IN, State.RELOGIN)}
_NOT_STARTING = {s for s in State if s not in (State.STARTING, State.RESUMING)}
_NOT_IN_KERNEL = {State.WAITING, State.LOGGING_IN, State.STARTING, State.GONE}
_IN_TRANSIT = {State.STARTING, State.RESUMING, State.READING_CMD_SN, State.LOGOUT_FOR_RELOGIN}
_NO_CONNECTION = {State.DOWN, State.READING_CMD_SN, State.RELOGIN, State.RESUMING, State.DESTROYING}

LEAVING = frozenset({State.UNBINDING, State.LOGGING_OUT, State.DESTROYING, State.GONE})
"""The session gives up its disks: their device names may be those of other disks at any moment."""
OUTAGE = frozenset({State.DOWN, State.READING_CMD_SN, State.RELOGIN, State.RESUMING})
"""The kernel keeps the session without a connection: I/O waits."""

MEANINGLESS: dict[Event, tuple[Collection[State], str]] = {
    Event.ATTEMPT_DUE: (
        {s for s in State if s not in (State.WAITING, State.DOWN)},
        "an attempt is under way, or none is needed",
    ),
    Event.LOGIN_SUCCEEDED: (_NO_LOGIN, "the login was withdrawn: its socket is closed unused"),
    Event.LOGIN_FAILED: (_NO_LOGIN, "the login was withdrawn"),
    Event.STARTED: (_NOT_STARTING, "no start was ordered"),
    Event.REFUSED: (
        {State.WAITING, State.LOGGING_IN, State.UP, State.DOWN, State.RELOGIN, State.GONE},
        "nothing is ordered of the kernel there that would change the state when refused",
    ),
    Event.CMD_SN_LEARNED: (
        {s for s in State if s is not State.READING_CMD_SN},
        "the session changed its ways after it had asked",
    ),
    Event.CONNECTION_LOST: (
        _NOT_IN_KERNEL | _NO_CONNECTION,
        "there is no connection that could break",
    ),
    Event.UNRECOVERABLE: (
        _NOT_IN_KERNEL | {State.DESTROYING},
        "the kernel has nothing of it, or is destroying it already",
    ),
    Event.LOGOUT_REQUESTED: (
        {s for s in State if s is not State.UP},
        "it is on the way out already, or has no connection",
    ),
    Event.SETTINGS_CHANGED: (
        {s for s in State if s not in (State.UP, State.LOGGING_IN, State.RELOGIN)},
        "the next login takes the new settings",
    ),
    Event.UNWANTED: (
        _IN_TRANSIT | LEAVING,
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
        _NOT_IN_KERNEL | {State.RESUMING, State.LOGGING_OUT, State.DESTROYING},
        "the logout goes on anyhow, or the kernel refuses the resumption",
    ),
    Event.LOGGED_OUT: (
        {s for s in State if s not in (State.LOGGING_OUT, State.LOGOUT_FOR_RELOGIN)},
        "no Logout Request is out",
    ),
    Event.TIMED_OUT: (
        {s for s in State if s not in LEAVING} - {State.LOGOUT_FOR_RELOGIN} | {State.GONE},
        "no step of a logout is under way",
    ),
    Event.DESTROYED: (_NOT_IN_KERNEL, "the kernel has nothing of it that could be destroyed"),
}
"""The pairs that are not in ``TRANSITIONS``, and why nothing happens there."""
