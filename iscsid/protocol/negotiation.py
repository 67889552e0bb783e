"""Operational negotiation as the initiator leads it (RFC 7143, sections 6.2 and 13).

Three sets of values are separate: what we *offered*, what the target *answered* or offered itself,
and what is *agreed*. The row of a key defines which answer is legal; this module decides whether a
pair is an answer, an offer or a declaration, and what to reply. It knows no PDUs and no stages.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from iscsid.errors import NegotiationError, ProtocolError
from iscsid.protocol.keys import (
    IRRELEVANT,
    KEYS,
    NO_VALUES,
    NOT_UNDERSTOOD,
    REJECT,
    Irrelevant,
    Key,
    Rule,
    Sender,
    Value,
    format_value,
)
from iscsid.protocol.parameters import AgreedParameters, Digest, LoginPlan
from iscsid.protocol.printable import printable
from iscsid.protocol.text import MAX_VALUE_LENGTH, Pairs

MAX_UNKNOWN_KEYS = 32
"""Keys answered with NotUnderstood in one login; a target that sends more is not followed."""

_DIGESTS = (KEYS["HeaderDigest"], KEYS["DataDigest"])


class OperationalNegotiation:
    """All keys of one login but those of the security methods.

    ``identity`` goes into the first request, ``offers`` into the first of the operational stage;
    ``receive`` takes every text of the target, in whichever stage it comes.
    """

    def __init__(self, plan: LoginPlan) -> None:
        self._plan = plan
        self._is_discovery = plan.target_name is None
        self._declared = _identity(plan)
        self._offered: dict[str, str] = {}
        self._seen: set[str] = set()
        self._unknown_keys = 0
        self._agreed: dict[str, Value] = {}
        self.target_alias: str | None = None
        self.target_portal_group_tag: int | None = None

    @property
    def identity(self) -> Pairs:
        """The names of initiator and target, sent once in a login."""
        return tuple(self._declared.items())

    def offers(self) -> Pairs:
        """Return all that we offer and declare, but for what the target brought up already."""
        for key in KEYS.values():
            if key.attribute and key.name not in self._seen and not self._is_irrelevant(key):
                self._offered[key.name] = self._our_offer(key)
        self._offered.update(self._plan.offer.extra)
        return tuple(self._offered.items())

    def receive(self, pairs: Pairs) -> Pairs:
        """Take what the target sent; return the answers it is owed.

        Raises ``NegotiationError`` on an answer, a declaration or a repetition that is not legal.
        """
        return tuple(answer for name, text in pairs for answer in self._receive(name, text))

    def agreed(self) -> AgreedParameters:
        """Return the agreed parameters; keys not negotiated have the standard's default.

        Raises ``NegotiationError`` if the plan excludes that default.
        """
        agreed: dict[str, Any] = self._settled_by_offer() | self._agreed
        for key in _DIGESTS:
            if key.attribute not in agreed:
                self._keep_default(key, "nothing")
            agreed[key.attribute] = Digest(agreed.get(key.attribute, key.default))
        declared = self._plan.offer.max_recv_data_segment_length
        parameters = AgreedParameters(max_recv_data_segment_length=declared, **agreed)
        # The two were negotiated apart; the kernel refuses a first burst longer than a whole one.
        first_burst = min(parameters.first_burst_length, parameters.max_burst_length)
        return replace(parameters, first_burst_length=first_burst)

    def _settled_by_offer(self) -> dict[str, Value]:
        """Return the results of our offers that needed no answer, and got none."""
        unanswered = (KEYS[name] for name in self._offered.keys() & KEYS.keys() - self._seen)
        ours = ((key, self._ours(key)) for key in unanswered)
        return {key.attribute: value for key, value in ours if key.needs_no_answer(value)}

    # --- our offers -----------------------------------------------------------------------------

    def _ours(self, key: Key) -> Value:
        """Return the value we hold in a negotiation of ``key``."""
        offer = self._plan.offer
        if key.name == "FirstBurstLength":
            return min(offer.first_burst_length, offer.max_burst_length)
        value: Value = getattr(offer, key.ours, key.default)
        return value

    def _our_list(self, key: Key) -> tuple[str, ...]:
        digests: tuple[Digest, ...] | None = getattr(self._plan.offer, key.ours, None)
        return key.supported if digests is None else tuple(digest.value for digest in digests)

    def _our_offer(self, key: Key) -> str:
        if key.rule is Rule.LIST:
            return ",".join(self._our_list(key))
        return format_value(self._ours(key))

    def _is_irrelevant(self, key: Key) -> bool:
        if key.irrelevant is Irrelevant.NEVER:
            return False
        # With these two offers there is no unsolicited data whatever the target answers.
        never_unsolicited = self._plan.offer.initial_r2t and not self._plan.offer.immediate_data
        return self._is_discovery or (
            key.irrelevant is Irrelevant.WITHOUT_UNSOLICITED_DATA and never_unsolicited
        )

    # --- pairs from the target ------------------------------------------------------------------

    def _receive(self, name: str, text: str) -> Iterator[tuple[str, str]]:
        key = KEYS.get(name)
        if name in self._seen and name != "TargetAddress":
            raise self._illegal(name, text, "the key came a second time", "6.3")
        self._seen.add(name)
        if key is None:
            yield from self._receive_unknown(name, text)
        elif key.is_declared:
            self._receive_declaration(key, text)
        elif name in self._offered:
            self._receive_answer(key, text)
        else:
            yield name, self._answer_offer(key, text)

    def _receive_unknown(self, name: str, text: str) -> Iterator[tuple[str, str]]:
        if name in self._offered:
            return
        if text in NO_VALUES:
            raise self._illegal(name, text, "an answer to nothing", "6.2")
        self._unknown_keys += 1
        if self._unknown_keys > MAX_UNKNOWN_KEYS:
            raise ProtocolError(
                f"the target offered more than {MAX_UNKNOWN_KEYS} unknown keys", section="6.2"
            )
        yield name, NOT_UNDERSTOOD

    def _receive_declaration(self, key: Key, text: str) -> None:
        """Note what the target declares; it gets no answer (RFC 7143, section 6.2)."""
        sent = self._sent(key.name)
        if key.sender is not Sender.TARGET and text in NO_VALUES and sent is not None:
            if text == REJECT and key.name in self._declared:
                raise self._illegal(key.name, text, "the target does not take it", key.section)
            return
        # Some targets echo our declarations, which is harmless; another value is not.
        if key.sender is Sender.INITIATOR and text != sent:
            raise self._illegal(key.name, text, "a key that only the initiator sends", key.section)
        value = self._parse(key, text)
        if key.name == "TargetAlias":
            self.target_alias = printable(text, MAX_VALUE_LENGTH)
        elif key.name == "TargetPortalGroupTag":
            self.target_portal_group_tag = int(value)
        elif key.attribute:
            self._agreed[key.attribute] = value

    def _receive_answer(self, key: Key, text: str) -> None:
        if text in NO_VALUES:
            self._keep_default(key, text)
            return
        value = self._parse(key, text)
        if key.rule is Rule.LIST:
            if value not in self._our_list(key):
                raise self._illegal(key.name, text, "not one of those offered", key.section)
        elif key.combine(self._ours(key), value) != value:
            raise self._illegal(key.name, text, f"the result is {key.rule.value}", key.section)
        self._agreed[key.attribute] = value

    def _answer_offer(self, key: Key, text: str) -> str:
        """Answer what the target brought up itself; LIO and tgtd do, and wait for every answer."""
        if text in NO_VALUES:
            raise self._illegal(key.name, text, "an answer to nothing", "6.2")
        if key.rule is Rule.OBSOLETE:
            return str(key.default)
        if self._is_irrelevant(key):
            return IRRELEVANT
        if key.rule is Rule.LIST:
            result: Value = key.choose(text, self._our_list(key))
            if result == REJECT and key.attribute:
                raise self._no_common_digest(key, text)
        else:
            try:
                result = key.combine(self._ours(key), key.parse(text))
            except ProtocolError:
                return REJECT
        if key.attribute:
            self._agreed[key.attribute] = result
        return format_value(result)

    def _keep_default(self, key: Key, answered: str) -> None:
        """Let the default of ``key`` stand, unless it is a digest the plan rules out."""
        # istgt answers our None with Reject if it requires a digest, completes the login all the
        # same, and then ignores every PDU without a digest.
        is_digest = key.rule is Rule.LIST
        if is_digest and (answered == REJECT or key.default not in self._our_list(key)):
            raise self._no_common_digest(key, answered)

    def _no_common_digest(self, key: Key, text: str) -> NegotiationError:
        why = f"there is none that both sides allow; see {key.name} in iscsi.conf(5)"
        return self._illegal(key.name, text, why, key.section)

    def _parse(self, key: Key, text: str) -> Value:
        try:
            return key.parse(text)
        except ProtocolError as error:
            raise self._illegal(key.name, text, f"not {key.wanted}", key.section) from error

    def _illegal(self, name: str, text: str, why: str, section: str) -> NegotiationError:
        return NegotiationError(name, self._sent(name) or "nothing", text, why, section=section)

    def _sent(self, name: str) -> str | None:
        return self._declared.get(name) or self._offered.get(name)


def _identity(plan: LoginPlan) -> dict[str, str]:
    """Return what the first Login Request must hold (RFC 7143, section 6.3.1)."""
    identity = {"InitiatorName": str(plan.initiator_name)}
    if plan.initiator_alias:
        identity["InitiatorAlias"] = plan.initiator_alias
    if plan.target_name is None:
        return {**identity, "SessionType": "Discovery"}
    return {**identity, "SessionType": "Normal", "TargetName": str(plan.target_name)}
