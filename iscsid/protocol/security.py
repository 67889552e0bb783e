"""The security stage as the initiator leads it (RFC 7143, sections 6.3.2 and 12.1).

Two classes with one interface: the first request, the reply to a response, and the error if the
target refuses or closes the connection. ``WithoutAuthentication`` offers None;
``ChapAuthentication`` performs the steps of CHAP and accepts no step left out. They know no PDUs,
and only the keys of the two methods. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from iscsid.errors import (
    AuthenticationFailed,
    ChapAlgorithmsRefused,
    IscsidError,
    NegotiationError,
    ProtocolError,
)
from iscsid.protocol import chap
from iscsid.protocol.keys import IRRELEVANT, NO_VALUES, NOT_UNDERSTOOD, REJECT
from iscsid.protocol.login_status import (
    AUTHENTICATION_FAILURE,
    INITIATOR_ERROR,
    authentication_required,
    closed_unanswered,
    explain,
    rejection,
)
from iscsid.protocol.parameters import (
    Authentication,
    ChapAlgorithm,
    Credentials,
    LoginPlan,
)
from iscsid.protocol.text import Pairs, parse_number

NONE = "None"
CHAP = "CHAP"


@dataclass(frozen=True, slots=True)
class SecurityReply:
    """What to send next, and whether to ask for the transit to the operational stage."""

    pairs: Pairs = ()
    transit: bool = False


class WithoutAuthentication:
    """Offers None only: CHAP is offered only with credentials.

    Some arrays choose CHAP whenever it is offered, and then wait for a response.
    """

    def __init__(self, *, is_discovery: bool) -> None:
        self._is_discovery = is_discovery

    def opening(self) -> SecurityReply:
        return SecurityReply((("AuthMethod", NONE),), transit=True)

    def receive(self, keys: Mapping[str, str], *, transit: bool) -> SecurityReply:
        """Take the security keys of an answer; an answer may also leave them out."""
        for name, text in keys.items():
            if name != "AuthMethod":
                raise ProtocolError(f"{name} came though CHAP was not offered", section="12.1")
            if text in (REJECT, CHAP):
                raise authentication_required(is_discovery=self._is_discovery)
            # tgtd and LIO answer NotUnderstood if they want to skip the stage.
            if text not in (NONE, NOT_UNDERSTOOD, IRRELEVANT):
                raise NegotiationError(name, NONE, text, "it was not offered", section="12.1")
        return SecurityReply(transit=True)

    def error_for_status(self, status: int) -> IscsidError:
        """Make the exception for a status other than success, in the security stage."""
        return rejection(status, has_credentials=False, is_discovery=self._is_discovery)

    def error_for_close(self, *, has_answered: bool) -> IscsidError | None:
        """Return the error for a connection closed by the target; ``None``: none of this stage."""
        if has_answered:
            return None
        return closed_unanswered(is_discovery=self._is_discovery)


class Step(Enum):
    """The progress of CHAP, by what was sent last."""

    METHOD_OFFERED = "after AuthMethod was offered"
    ALGORITHMS_OFFERED = "after CHAP_A was offered"
    CHALLENGE_SENT = "after the target was challenged"
    COMPLETE = "after CHAP was complete"
    """The initiator has proven itself and, with mutual CHAP, so has the target."""


class ChapAuthentication:
    """One-way or mutual CHAP, and nothing less: None is neither offered nor accepted.

    An answer of None, or a transit before every step was made, is what a machine in the middle
    without the secret would send; so both are authentication failures, for one-way CHAP too.
    """

    def __init__(
        self,
        credentials: Credentials,
        authentication: Authentication,
        random_octets: bytes,
        *,
        is_discovery: bool,
    ) -> None:
        self._is_discovery = is_discovery
        incoming = authentication.incoming
        self._credentials = credentials
        self._algorithms = authentication.algorithms
        self._challenger = chap.Challenger(incoming, random_octets) if incoming else None
        self._algorithm = ChapAlgorithm.MD5
        self._response = b""
        self._step = Step.METHOD_OFFERED

    def opening(self) -> SecurityReply:
        return SecurityReply((("AuthMethod", CHAP),))

    def receive(self, keys: Mapping[str, str], *, transit: bool) -> SecurityReply:
        """Take the security keys of an answer.

        Raises ``AuthenticationFailed`` if the target leaves a step out or fails in one, and
        ``ProtocolError`` if it sends a key that is not allowed at this step.
        """
        step = self._step
        for name in keys:
            if name not in _EXPECTED[step]:
                raise ProtocolError(f"{name} came {step.value}", section=chap.SECTION)
        reply = (
            _ACTIONS[step](self, keys) if keys else SecurityReply(transit=step in _TRANSIT_ASKED)
        )
        if transit and step not in _TRANSIT_ASKED:
            raise self._downgraded(f"it left the security stage {step.value}")
        if transit and self._step is not Step.COMPLETE:
            raise chap.not_proven("it left the security stage without answering our challenge")
        return reply

    def error_for_status(self, status: int) -> IscsidError:
        """Make the exception for a status other than success, in the security stage."""
        if self._step is Step.METHOD_OFFERED and status == AUTHENTICATION_FAILURE:
            return self._not_taken(f"status {status:04x}")
        if self._is_about_algorithms(status):
            return self._algorithms_refused(f"{explain(status).words} (status {status:04x})")
        return rejection(status, has_credentials=True, is_discovery=self._is_discovery)

    def _is_about_algorithms(self, status: int) -> bool:
        """Whether a status means that the target supports none of our algorithms."""
        if self._step is Step.ALGORITHMS_OFFERED:
            is_list = len(self._algorithms) > 1
            return status == INITIATOR_ERROR or (is_list and status >> 8 == INITIATOR_ERROR >> 8)
        # tgtd and IET call SHA-1 by the number 7 that is SHA-256's, and then find the response
        # too long; for a wrong password they send another status.
        is_response_sent = self._step in _TRANSIT_ASKED
        return (
            is_response_sent
            and self._algorithm is not ChapAlgorithm.MD5
            and status == INITIATOR_ERROR
        )

    def error_for_close(self, *, has_answered: bool) -> IscsidError | None:
        """Return the error for a connection closed by the target; ``None``: none of this stage."""
        if self._step is Step.ALGORITHMS_OFFERED and len(self._algorithms) > 1:
            return self._algorithms_refused("it closed the connection")
        if self._step in _TRANSIT_ASKED:
            return AuthenticationFailed(
                "the target closed the connection instead of accepting our CHAP response",
                advice=explain(AUTHENTICATION_FAILURE).advice,
            )
        return None

    def _receive_method(self, keys: Mapping[str, str]) -> SecurityReply:
        method = keys["AuthMethod"]
        if method in NO_VALUES:
            raise self._not_taken(f"AuthMethod={method}")
        if method == NONE:
            raise self._downgraded("it chose None where only CHAP was offered")
        if method != CHAP:
            raise NegotiationError("AuthMethod", CHAP, method, "not offered", section="12.1")
        self._step = Step.ALGORITHMS_OFFERED
        return SecurityReply((("CHAP_A", self._algorithm_list),))

    def _receive_challenge(self, keys: Mapping[str, str]) -> SecurityReply:
        self._algorithm = self._receive_algorithm(keys.get("CHAP_A"))
        challenge = chap.Challenge.from_keys(keys)
        self._response = chap.response(self._algorithm, self._credentials.password, challenge)
        answer = chap.answer(self._credentials, self._response)
        if self._challenger is None:
            self._step = Step.COMPLETE
            return SecurityReply(answer, transit=True)
        if hmac.compare_digest(self._challenger.challenge.octets, challenge.octets):
            raise AuthenticationFailed("the target's CHAP challenge is the one we were to make")
        self._step = Step.CHALLENGE_SENT
        return SecurityReply(answer + self._challenger.challenge.to_keys(), transit=True)

    def _receive_algorithm(self, text: str | None) -> ChapAlgorithm:
        if text in NO_VALUES:
            raise self._algorithms_refused(f"CHAP_A={text}")
        for algorithm in self._algorithms:
            if text is not None and _is_number(text, algorithm):
                return algorithm
        raise NegotiationError(
            "CHAP_A", self._algorithm_list, text or "nothing", "not offered", section=chap.SECTION
        )

    @property
    def _algorithm_list(self) -> str:
        return ",".join(str(int(each)) for each in self._algorithms)

    def _receive_proof(self, keys: Mapping[str, str]) -> SecurityReply:
        assert self._challenger is not None
        self._challenger.check(self._algorithm, keys, self._response)
        self._step = Step.COMPLETE
        return SecurityReply(transit=True)

    def _downgraded(self, how: str) -> AuthenticationFailed:
        return AuthenticationFailed(
            "the target would have us log in without the authentication that is set: " + how,
            advice=self._advice,
        )

    def _not_taken(self, how: str) -> AuthenticationFailed:
        return AuthenticationFailed(
            f"the target does not take CHAP, and a user name and a password are set for it: {how}",
            advice=self._advice,
        )

    @property
    def _advice(self) -> str:
        if self._is_discovery:
            return "set DiscoveryCHAP=no if the target's discovery is open to all"
        return (
            "let the target authenticate us with CHAP, or remove the user name and the password "
            "set for it from the configuration"
        )

    def _algorithms_refused(self, how: str) -> ChapAlgorithmsRefused:
        offered = ", ".join(each.name for each in self._algorithms)
        return ChapAlgorithmsRefused(
            f"the target takes none of the CHAP algorithms offered ({offered}): {how}",
            advice="set CHAPAlgorithms to what the target supports; every target supports MD5",
        )


def _is_number(text: str, number: int) -> bool:
    try:
        return parse_number(text) == number
    except ProtocolError:
        return False


_EXPECTED = {
    Step.METHOD_OFFERED: frozenset({"AuthMethod"}),
    Step.ALGORITHMS_OFFERED: frozenset({"CHAP_A", "CHAP_I", "CHAP_C"}),
    Step.CHALLENGE_SENT: frozenset({"CHAP_N", "CHAP_R"}),
    Step.COMPLETE: frozenset[str](),
}
"""The keys a target may send at each step."""

_ACTIONS: dict[Step, Callable[[ChapAuthentication, Mapping[str, str]], SecurityReply]] = {
    Step.METHOD_OFFERED: ChapAuthentication._receive_method,
    Step.ALGORITHMS_OFFERED: ChapAuthentication._receive_challenge,
    Step.CHALLENGE_SENT: ChapAuthentication._receive_proof,
}
"""What becomes of them."""

_TRANSIT_ASKED = (Step.CHALLENGE_SENT, Step.COMPLETE)
"""The steps in which our last request asked for the transit."""


def security_negotiation(
    authentication: Authentication, random_octets: bytes, *, is_discovery: bool
) -> WithoutAuthentication | ChapAuthentication:
    """Choose the way through the security stage that ``authentication`` asks for."""
    if authentication.outgoing is None:
        return WithoutAuthentication(is_discovery=is_discovery)
    return ChapAuthentication(
        authentication.outgoing, authentication, random_octets, is_discovery=is_discovery
    )


def fallback_plan(plan: LoginPlan, error: IscsidError) -> LoginPlan | None:
    """Return what to try at once, on a new connection, after ``error``; ``None`` for nothing.

    LIO before Linux 3.15 and some Synology arrays cannot read a list of CHAP algorithms, and tgtd
    takes SHA-256 for SHA-1, yet all take MD5 alone. A list with MD5 in it permits MD5.
    """
    authentication = plan.authentication
    if not isinstance(error, ChapAlgorithmsRefused) or len(authentication.algorithms) < 2:
        return None
    if ChapAlgorithm.MD5 not in authentication.algorithms:
        return None
    return replace(plan, authentication=replace(authentication, algorithms=(ChapAlgorithm.MD5,)))
