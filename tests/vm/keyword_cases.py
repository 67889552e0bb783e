"""What each keyword of iscsi.conf changes in the kernel or at the target: a row per keyword.

A row is one target, two values of the keyword, and where to look. What only a running session can
show is here; what acts on the timers of the daemon or on discovery is in ``test_keyword_effects``,
which also checks that the two tables are complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm import disks, sessions
from tests.vm.daemon import INITIATOR_NAME, Daemon
from tests.vm.lio import Account

NAME = "iqn.2003-02.org.example"
LIO = ("127.0.0.1:3260", "127.0.0.2:3260", "127.0.0.3:3260")
"""Portals of LIO, which agrees to whatever is offered."""
TGTD = "127.0.0.1:3261"
"""Knows fewer algorithms than LIO, and answers SendTargets."""
DEAD = "127.0.0.1:1"
LUNS = (0, 1, 3, 5, 6, 7, 9)
ACCOUNT = Account("alice", "secret-of-alice", "vault", "secret-of-vault")
OURS = ("Username=alice", "Password=secret-of-alice")

View = Callable[[Daemon, str], str]
"""Looks at what there is of a target, by its name."""


@dataclass(frozen=True)
class Effect:
    """``first`` and ``second``: the lines below TargetName that differ, and what is seen then.

    The keyword's own value is the only thing in which the lines differ. ``around``: lines that
    stand there in both cases. ``account``: what the target asks for.
    """

    keyword: str
    view: View
    first: tuple[str, str]
    second: tuple[str, str]
    around: tuple[str, ...] = ()
    portals: tuple[str, ...] = LIO[:1]
    account: Account | None = None
    has_disks: bool = False
    is_live: bool = True
    """The second value reaches the session of the first at SIGHUP; otherwise it holds from the
    next start on, and a second target shows what it does."""
    is_global: bool = False
    """The lines stand outside of any entry, before the target's own."""

    @property
    def name(self) -> str:
        return f"{NAME}:{self.keyword.lower()}"

    @property
    def twin(self) -> str:
        """The target that has the second value, where the first one's session cannot."""
        return self.name if self.is_live else f"{self.name}.2"

    def entry(self, name: str, line: str) -> list[str]:
        """Return the lines of the file for one of the targets, with one of the values."""
        if self.is_global and not self.portals:
            return line.splitlines()
        entry = [f"TargetName={name}", *(f"    Address={portal}" for portal in self.portals)]
        entry += [f"    {each}" for each in self.around]
        if self.is_global:
            return [*line.splitlines(), *entry]
        return [*entry, *([f"    {line}"] if line else [])]


# --- where one looks ----------------------------------------------------------------------------


def _sids(name: str) -> list[int]:
    return [sid for sid in sessions.session_ids() if sessions.attribute(sid, "targetname") == name]


def session(*attributes: str) -> View:
    """What the kernel shows of the session."""
    return lambda _daemon, name: " ".join(
        sessions.attribute(sid, attribute) for sid in _sids(name) for attribute in attributes
    )


def connection(attribute: str) -> View:
    """What the kernel shows of the connections, in order."""
    return lambda _daemon, name: " ".join(
        sorted(sessions.connection_attribute(sid, attribute) for sid in _sids(name))
    )


def state(_daemon: Daemon, name: str) -> str:
    return " ".join(sessions.attribute(sid, "state") for sid in _sids(name)) or "no session"


def state_or_refusal(daemon: Daemon, name: str) -> str:
    """Distinguish a session that will not come from one that is not there yet."""
    if _sids(name):
        return state(daemon, name)
    return "refused" if daemon.lines_about(name, "refused") else "nothing yet"


def socket_buffers(_daemon: Daemon, name: str) -> str:
    """Return the receive and the send buffer, which the kernel sets to double the value."""
    (sid,) = _sids(name)
    port = sessions.connection_attribute(sid, "local_port")
    disks.run("modprobe", "-a", "tcp_diag", "inet_diag")
    shown = disks.run("ss", "-tnmH", "sport", "=", port)
    memory = dict.fromkeys(("rb", "tb"), "")
    for word in shown.partition("skmem:(")[2].partition(")")[0].split(","):
        if word[:2] in memory and word[2:].isdigit():
            memory[word[:2]] = word[2:]
    return f"{memory['rb']} {memory['tb']}"


def socket_shows(what: str) -> View:
    """Return the local address of the connection with its interface, or its Type of Service."""

    def view(_daemon: Daemon, name: str) -> str:
        (sid,) = _sids(name)
        port = sessions.connection_attribute(sid, "local_port")
        disks.run("modprobe", "-a", "tcp_diag", "inet_diag")
        shown = disks.run("ss", "-tnH", "--tos", "sport", "=", f":{port}")
        if what == "addresses":
            # Nothing is shown of a connection that has just gone.
            return "".join(shown.split()[3:4]).rpartition(":")[0]
        return next((word[4:] for word in shown.split() if word.startswith("tos:")), "0")

    return view


def can_queue(_daemon: Daemon, name: str) -> str:
    (sid,) = _sids(name)
    host = (sessions.SESSIONS / f"session{sid}" / "device").resolve().parent
    return (host / "scsi_host" / host.name / "can_queue").read_text().strip()


def queue_depths(_daemon: Daemon, name: str) -> str:
    return " ".join(sorted({(path / "queue_depth").read_text().strip() for path in _disks(name)}))


def luns(_daemon: Daemon, name: str) -> str:
    return " ".join(sorted(path.name.rpartition(":")[2] for path in _disks(name)))


def command_timeouts(_daemon: Daemon, name: str) -> str:
    return " ".join(sorted({(path / "timeout").read_text().strip() for path in _disks(name)}))


def _disks(name: str) -> list[Path]:
    """Return the directory of every disk of a target; its controllers are left out."""
    units = (sessions.SESSIONS / f"session{sid}" / "device" for sid in _sids(name))
    found = (path for unit in units for path in unit.glob("target*/*:*:*:*"))
    return [path for path in found if (path / "type").read_text().strip() == "0"]


def _row(keyword: str, view: View, default: str, value: str, seen: str, **more: Any) -> Effect:
    """A row that begins with the default, which no line sets."""
    return Effect(keyword, view, ("", default), (f"{keyword}={value}", seen), **more)


def _secret(keyword: str, right: str, wrong: str, *around: str) -> Effect:
    """A row in which both sides must agree: with anything else there is no session."""
    # The short names of our own name and secret, the long ones of the target's.
    name = keyword.removeprefix("Outgoing")
    lines = (f"{name}={right}", "LOGGED_IN"), (f"{name}={wrong}", "FAILED")
    return Effect(keyword, state, *lines, around=around, account=ACCOUNT)


_IN_USERNAME, _IN_PASSWORD = "IncomingUsername=vault", "IncomingPassword=secret-of-vault"
_PORTAL = connection("persistent_address")

EFFECTS = (
    # Openers of entries.
    Effect(
        "TargetName",
        state,
        (f"TargetName={NAME}:targetname\n    Address={LIO[0]}", "LOGGED_IN"),
        ("", "no session"),
        portals=(),
        is_global=True,
    ),
    Effect(
        "DiscoveryAddress",
        state,
        (f"DiscoveryAddress={TGTD}", "LOGGED_IN"),
        ("", "no session"),
        portals=(),
        is_global=True,
    ),
    Effect(
        "Address",
        _PORTAL,
        (f"Address={LIO[0]}", "127.0.0.1"),
        (f"Address={LIO[1]}", "127.0.0.2"),
        portals=(),
        is_live=False,
    ),
    Effect(
        "Subnet",
        session("abort_tmo"),
        ("Subnet=127.0.0.3/32\n    AbortTimeout=44", "44"),
        ("Subnet=127.0.0.9/32\n    AbortTimeout=44", "10"),
        portals=(LIO[2],),
        is_global=True,
    ),
    # Authentication.
    _secret("OutgoingUsername", "alice", "mallory", OURS[1]),
    _secret("OutgoingPassword", "secret-of-alice", "secret-of-nobody", OURS[0]),
    _secret("IncomingUsername", "vault", "chest", *OURS, _IN_PASSWORD),
    _secret("IncomingPassword", "secret-of-vault", "secret-of-chest", *OURS, _IN_USERNAME),
    Effect(
        "CHAPAlgorithms",
        state,
        ("CHAPAlgorithms=MD5", "LOGGED_IN"),
        ("CHAPAlgorithms=SHA256", "FAILED"),
        around=OURS,
        portals=(TGTD,),
        account=Account("alice", "secret-of-alice"),
    ),
    # LIO lets every initiator in, under whatever name.
    _row(
        "InitiatorName",
        session("initiatorname"),
        INITIATOR_NAME,
        f"{NAME}:Other-Machine",
        f"{NAME}:Other-Machine",
        is_live=False,
    ),
    # Targets and their sessions.
    _row("Enabled", state, "LOGGED_IN", "no", "no session"),
    _row("LUNs", luns, "0 1 3 5 6 7 9", "0,3,5-7", "0 3 5 6 7", has_disks=True, is_live=False),
    _row("Multipath", _PORTAL, "127.0.0.1", "portal", "127.0.0.1 127.0.0.2", portals=LIO[:2]),
    # LIO would end the first of two sessions with the same ISID.
    _row("Sessions", _PORTAL, "127.0.0.1", "2", "127.0.0.1 127.0.0.1"),
    Effect(
        "PortalFailover",
        state_or_refusal,
        ("PortalFailover=no", "refused"),
        ("PortalFailover=yes", "LOGGED_IN"),
        portals=(DEAD, LIO[0]),
        is_live=False,
    ),
    *(
        _row(name, _PORTAL, "127.0.0.1", value, "127.0.0.2", portals=LIO[:2], is_live=False)
        for name, value in (("PreferredPortal", "127.0.0.2"), ("PreferredSubnet", "127.0.0.2/31"))
    ),
    # Timeouts.
    _row("ActiveTimeout", connection("recv_tmo"), "5", "24", "24"),
    _row("IdleTimeout", connection("recv_tmo"), "5", "4", "4"),
    _row("PingTimeout", connection("ping_tmo"), "90", "99", "99"),
    _row("ConnFailTimeout", session("recovery_tmo"), "off", "123", "123"),
    _row("AbortTimeout", session("abort_tmo"), "10", "21", "21"),
    _row("ResetTimeout", session("lu_reset_tmo", "tgt_reset_tmo"), "30 30", "1m", "60 60"),
    _row("DiskCommandTimeout", command_timeouts, "30", "77", "77", has_disks=True),
    # Parameters of the connection.
    _row("HeaderDigest", connection("header_digest"), "0", "always", "1"),
    _row("DataDigest", connection("data_digest"), "0", "always", "1"),
    _row("InitialR2T", session("initial_r2t"), "0", "yes", "1"),
    _row("ImmediateData", session("immediate_data"), "1", "no", "0"),
    _row("MaxRecvDataSegmentLength", connection("max_recv_dlength"), "131072", "65536", "65536"),
    _row("FirstBurstLength", session("first_burst_len"), "262144", "32768", "32768"),
    _row("MaxBurstLength", session("max_burst_len"), "16776192", "524288", "524288"),
    _row("Interface", socket_shows("addresses"), "127.0.0.1", "lo", "127.0.0.1%lo"),
    _row("SourceAddress", socket_shows("addresses"), "127.0.0.1", "127.0.0.9", "127.0.0.9"),
    _row("DSCP", socket_shows("tos"), "0", "af21", "0x48"),
    # The kernel keeps 15 of them for its own PDUs.
    _row("CommandsMax", can_queue, "113", "256", "241", is_live=False),
    _row("QueueDepth", queue_depths, "32", "64", "64", has_disks=True, is_live=False),
    _row("TCPWindowSize", socket_buffers, "524288 524288", "65536", "131072 131072"),
)
