"""tgtd with all that a login can meet in it: accounts, redirections, any parameter."""

from __future__ import annotations

from iscsid.protocol.names import Portal, parse_portal
from tests.loopback.ports import free_port
from tests.vm.lio import Account
from tests.vm.tgtd import Tgtd


class LiveTgtd(Tgtd):
    """A tgtd on a free port of ``host``, and one of ::1.

    It never redirects an initiator to the address the initiator has itself, 127.0.0.1 here: what
    is to be moved to must have another, 127.0.0.2 for instance.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(f"{host}:{free_port(host)}", f"[::1]:{free_port('::1')}")

    @property
    def portal(self) -> Portal:
        return parse_portal(self.portals[0])

    @property
    def ipv6_portal(self) -> Portal:
        return parse_portal(self.portals[1])

    def redirect(self, name: str, portal: Portal, *, permanent: bool) -> None:
        """Answer every login to a target with the address of another portal."""
        self.update(name, "RedirectAddress", portal.host)
        self.update(name, "RedirectPort", str(portal.port))
        self.update(name, "RedirectReason", "Permanent" if permanent else "Temporary")

    def update(self, name: str, key: str, value: str) -> None:
        """Set one parameter of a target: an operational key, or tgtd's own word."""
        tid = str(self._targets[name])
        self._change("target", "update", "--tid", tid, "--name", key, "--value", value)

    def admit(self, name: str, initiator_name: str) -> None:
        """Let an initiator with this name log in to a target; tgtd compares octets."""
        tid = str(self._targets[name])
        self._change("target", "bind", "--tid", tid, "--initiator-name", initiator_name)

    def require_for_discovery(self, account: Account) -> None:
        """Let only those discover who know the account."""
        self._add_user(account.user, account.password)
        self._change("account", "bind", "--user", account.user)

    def open_discovery(self, account: Account) -> None:
        self._change("account", "unbind", "--user", account.user)
