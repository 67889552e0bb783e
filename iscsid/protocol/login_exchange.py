"""The login phase of the initiator, from the first request to the last response.

The caller sends ``data_to_send()``, reads at most ``bytes_wanted`` octets, passes them to
``receive_data()``, and repeats that until there is a ``result``; when the stream ends, it raises
what ``connection_closed()`` returns. Each connection needs an exchange of its own. Pure: the caller
limits the time, this module the number of responses.

First the security stage, then the operational one (RFC 7143, section 6.3); ``security`` and
``negotiation`` implement them, ``login_framing`` the PDUs.
"""

from __future__ import annotations

from collections.abc import Callable

from iscsid.errors import ConnectionFailed, IscsidError, ProtocolError
from iscsid.protocol.chap import RANDOM_OCTETS
from iscsid.protocol.codes import Stage
from iscsid.protocol.keys import SECURITY_KEYS
from iscsid.protocol.login_framing import Answer, LoginFraming
from iscsid.protocol.login_status import SUCCESS, Consequence, explain, rejection
from iscsid.protocol.negotiation import OperationalNegotiation
from iscsid.protocol.parameters import LoginPlan, LoginResult, Redirection
from iscsid.protocol.redirect import read_redirection
from iscsid.protocol.security import security_negotiation
from iscsid.protocol.text import Pairs
from iscsid.protocol.trace import Trace

__all__ = ["RANDOM_OCTETS", "LoginExchange"]

MAX_ROUNDS = 256
"""Responses in one login. Real targets need two to seven; every piece of text is one more."""

MAX_BYTES = 65536
"""Octets of text in one login; the standard demands 8192 of a receiver (section 6.1)."""


class LoginExchange:
    """One login on one connection.

    ``random_octets`` are ``RANDOM_OCTETS`` from the operating system's generator, used for the
    challenge of mutual CHAP; never the same ones twice.

    Every method that takes octets may raise ``ProtocolError``, ``LoginRejected`` or
    ``AuthenticationFailed``; after that, and after a result, the exchange takes no more.
    """

    def __init__(
        self,
        plan: LoginPlan,
        random_octets: bytes,
        *,
        max_rounds: int = MAX_ROUNDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._plan = plan
        self.trace = Trace()
        self._framing = LoginFraming(plan, self.trace, max_rounds=max_rounds, max_bytes=max_bytes)
        self._negotiation = OperationalNegotiation(plan)
        self._security = security_negotiation(
            plan.authentication, random_octets, is_discovery=plan.target_name is None
        )
        self._security_seen: set[str] = set()
        self._stage = Stage.SECURITY_NEGOTIATION
        self._result: LoginResult | Redirection | None = None
        self._has_failed = False
        self._begin()

    @property
    def stage(self) -> Stage:
        """The current stage; FULL_FEATURE_PHASE after the login."""
        return self._stage

    @property
    def result(self) -> LoginResult | Redirection | None:
        """The outcome; ``None`` while a response is due."""
        return self._result

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU has come whose rest has not."""
        return self._framing.is_between_pdus

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read now: never one beyond the PDU that is coming in.

        Zero when the login is over: what follows belongs to the kernel.
        """
        return 0 if self._is_over else self._framing.bytes_wanted

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        return self._framing.data_to_send()

    def receive_data(self, data: bytes) -> None:
        """Take at most ``bytes_wanted`` octets from the target."""
        if self._is_over:
            raise RuntimeError("the login is over")
        try:
            answer = self._framing.receive_data(data)
            if answer is not None:
                self._receive(answer)
        except IscsidError:
            self._has_failed = True
            raise

    def connection_closed(self) -> IscsidError:
        """Return the exception for a connection that the target closes now."""
        self._has_failed = True
        is_security = self._stage is Stage.SECURITY_NEGOTIATION
        if is_security and self._framing.is_between_pdus:
            error = self._security.error_for_close(has_answered=self._framing.has_answered)
            if error is not None:
                return error
        where = "instead of answering" if self._framing.is_between_pdus else "within its answer to"
        return ConnectionFailed(
            f"the target closed the connection {where} a Login Request ({self._stage})",
            advice="look into the target's log",
        )

    # --- the two stages -------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self._has_failed or self._result is not None

    def _begin(self) -> None:
        """Ask the first question (RFC 7143, section 6.3.1)."""
        identity = self._negotiation.identity
        if self._plan.skip_security and self._plan.authentication.outgoing is None:
            self._stage = Stage.OPERATIONAL_NEGOTIATION
            self._ask_operational(identity + self._negotiation.offers())
        else:
            reply = self._security.opening()
            self._ask_security(identity + reply.pairs, transit=reply.transit)

    def _ask_security(self, pairs: Pairs, *, transit: bool) -> None:
        next_stage = Stage.OPERATIONAL_NEGOTIATION if transit else None
        self._framing.ask(pairs, Stage.SECURITY_NEGOTIATION, next_stage)

    def _ask_operational(self, pairs: Pairs) -> None:
        """Send what we have, and ask for the end of the login every time: we are done first."""
        self._framing.ask(pairs, Stage.OPERATIONAL_NEGOTIATION, Stage.FULL_FEATURE_PHASE)

    def _receive(self, answer: Answer) -> None:
        if answer.status != SUCCESS:
            self._receive_failure(answer)
        else:
            _RECEIVE[self._stage](self, answer)

    def _receive_failure(self, answer: Answer) -> None:
        if explain(answer.status).consequence is Consequence.FOLLOW:
            self._result = read_redirection(answer.status, answer.pairs)
        elif self._stage is Stage.SECURITY_NEGOTIATION:
            raise self._security.error_for_status(answer.status)
        else:
            has_credentials = self._plan.authentication.outgoing is not None
            raise rejection(
                answer.status,
                has_credentials=has_credentials,
                is_discovery=self._plan.target_name is None,
            )

    def _receive_security(self, answer: Answer) -> None:
        keys, others = self._divide(answer.pairs)
        reply = self._security.receive(keys, transit=answer.transit)
        answers = self._negotiation.receive(others)
        if answer.transit:
            self._stage = Stage.OPERATIONAL_NEGOTIATION
            self._ask_operational(answers + self._negotiation.offers())
        else:
            self._ask_security(reply.pairs + answers, transit=reply.transit)

    def _receive_operational(self, answer: Answer) -> None:
        keys, others = self._divide(answer.pairs)
        for name in keys:
            raise ProtocolError(f"{name} came after the security stage", section="12.1")
        answers = self._negotiation.receive(others)
        if answer.transit:
            # Offers in the last response cannot be answered any more, so they settle nothing.
            self._finish(answer)
        else:
            self._ask_operational(answers)

    def _finish(self, answer: Answer) -> None:
        tsih = answer.response.tsih
        if tsih == 0:
            raise ProtocolError("the target ended the login with TSIH 0", section="11.13.3")
        self._result = LoginResult(
            isid=self._plan.isid,
            tsih=tsih,
            cmd_sn=self._plan.cmd_sn,
            exp_stat_sn=self._framing.exp_stat_sn,
            target_alias=self._negotiation.target_alias,
            target_portal_group_tag=self._negotiation.target_portal_group_tag,
            parameters=self._negotiation.agreed(),
        )
        self._stage = Stage.FULL_FEATURE_PHASE

    def _divide(self, pairs: Pairs) -> tuple[dict[str, str], Pairs]:
        """Part the keys of the security methods from all others."""
        security: dict[str, str] = {}
        others = []
        for name, value in pairs:
            if name not in SECURITY_KEYS:
                others.append((name, value))
            elif name in self._security_seen:
                raise ProtocolError(f"{name} came a second time", section="6.3")
            else:
                self._security_seen.add(name)
                security[name] = value
        return security, tuple(others)


_RECEIVE: dict[Stage, Callable[[LoginExchange, Answer], None]] = {
    Stage.SECURITY_NEGOTIATION: LoginExchange._receive_security,
    Stage.OPERATIONAL_NEGOTIATION: LoginExchange._receive_operational,
}
