"""What a session presents at its logins: its name, the CmdSN, and what its LUNs must still be.

The kernel and the target know a session by its InitiatorName and its ISID: as long as the kernel
has the session, both stay, whatever InitiatorName the file has meanwhile. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from iscsid.bindings.binding import Binding
from iscsid.config.settings import SessionSettings
from iscsid.facts import CmdSnLearned
from iscsid.initiator.isid import session_isid
from iscsid.initiator.offers import LoginIdentity, login_job
from iscsid.jobs import JobId, LoginJob
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Isid
from iscsid.protocol.vpd import LunIdentity, ReplacedLun

FIRST_CMD_SN = 1


class LoginTerms:
    """The terms of one session, from which each of its login jobs is made."""

    def __init__(self, binding: Binding, identity: LoginIdentity) -> None:
        self._binding = binding
        self._configured = identity
        self.identity = identity
        self.isid = session_isid(identity.initiator_name, binding)
        self._cmd_sn = FIRST_CMD_SN
        self._luns: tuple[LunIdentity, ...] = ()
        """What the kernel's LUNs must still be before I/O goes on."""
        self._replaced: tuple[ReplacedLun, ...] = ()
        """LUNs that are not that any more, as the last login found them."""
        self._accepted: tuple[ReplacedLun, ...] = ()
        """Those of them that SIGHUP has accepted."""

    def identify_as(self, identity: LoginIdentity, *, keeps_name: bool) -> None:
        """Take over the name, the alias and the login timeout of the initiator.

        ``keeps_name``: the kernel has the session, or has been ordered to start it.
        """
        self._configured = identity
        if keeps_name:
            identity = replace(identity, initiator_name=self.identity.initiator_name)
        else:
            self.isid = session_isid(identity.initiator_name, self._binding)
        self.identity = identity

    def adopt(self, initiator_name: str, isid: Isid) -> None:
        """Go on with what the kernel has; an older kernel may not show the name."""
        self.isid = isid
        if initiator_name:
            self.identity = replace(self.identity, initiator_name=IscsiName(initiator_name))

    def begin_anew(self) -> None:
        """The kernel has no such session (any more): it need not keep its name."""
        self._cmd_sn, self._luns, self._replaced, self._accepted = FIRST_CMD_SN, (), (), ()
        self.identify_as(self._configured, keeps_name=False)

    def cmd_sn_learned(self, fact: CmdSnLearned) -> None:
        self._cmd_sn, self._luns = fact.cmd_sn, fact.identities

    def luns_verified(self) -> None:
        """A login has found the LUNs to be what they were, or what was accepted."""
        self._replaced = ()

    def luns_replaced(self, replaced: tuple[ReplacedLun, ...]) -> None:
        self._replaced = replaced

    def accept_luns(self) -> list[int]:
        """Accept what the last login has found; return the LUNs concerned."""
        luns = [each.lun for each in self._replaced]
        if luns:
            self._accepted, self._replaced = self._replaced, ()
        return luns

    def job(
        self, job: JobId, target_name: IscsiName, portal: Portal, settings: SessionSettings
    ) -> LoginJob:
        return login_job(
            job,
            self.identity,
            target_name,
            portal,
            settings,
            isid=self.isid,
            cmd_sn=self._cmd_sn,
            lun_identities=self._luns,
            accepted=self._accepted,
        )
