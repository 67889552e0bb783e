"""The result of a login check, as lines for people and as plain values for JSON. Pure.

Negotiated values are shown under the keys of the standard. No secret is ever passed in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure
from iscsid.facts import (
    DiscoveryCompleted,
    DiscoveryFailed,
    Fact,
    LoginFailed,
    LoginSucceeded,
    TargetDiscovered,
    WorkerEnded,
)
from iscsid.login_check.plan import PlannedDiscovery, PlannedLogin, PlannedTarget
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import AgreedParameters
from iscsid.protocol.printable import printable

LONGEST_LINE = 400

Plain = dict[str, Any]


@dataclass(slots=True)
class Result:
    """Of one job: it succeeded once it ``is_over`` without a ``failure``."""

    is_over: bool = False
    failure: Failure | None = None
    records: list[DiscoveryRecord] = field(default_factory=list)
    success: LoginSucceeded | None = None
    notes: list[str] = field(default_factory=list)
    """Lines for people, redirections for instance."""
    skipped: int = 0
    """Targets of a discovery that cannot be used."""

    def take(self, fact: Fact) -> None:
        """Record a fact about the job."""
        match fact:
            case TargetDiscovered():
                self.records.append(fact.record)
            case DiscoveryCompleted():
                self.notes += fact.notes
                self.skipped = fact.skipped
            case LoginSucceeded():
                self.success = fact
            case LoginFailed() | DiscoveryFailed():
                self.failure = fact.failure
            case WorkerEnded():
                self.is_over = True
                self.failure = self.failure or fact.how


@dataclass(frozen=True, slots=True)
class DiscoveryReport:
    """``result`` is ``None`` if the DiscoveryAddress is not enabled."""

    planned: PlannedDiscovery
    result: Result | None


@dataclass(frozen=True, slots=True)
class TargetReport:
    planned: PlannedTarget
    logins: tuple[tuple[PlannedLogin, Result], ...]


@dataclass(slots=True)
class Report:
    """The whole check."""

    discoveries: list[DiscoveryReport] = field(default_factory=list)
    targets: list[TargetReport] = field(default_factory=list)

    untried: int = 0
    """Targets that were not tried, because there are too many."""
    contradictions: list[str] = field(default_factory=list)
    """What different DiscoveryAddresses have reported of one target, and is not used."""
    missing: IscsiName | None = None
    """The only target that was wanted, if it was not found."""

    @property
    def is_well(self) -> bool:
        if self.untried or self.missing or self.contradictions:
            return False
        failed = any(result.failure for result in (*self.asked(), *self.tried()))
        return not failed and not self.skipped()

    def skipped(self) -> int:
        """Return how many reported targets cannot be used."""
        return sum(result.skipped for result in self.asked())

    def asked(self) -> list[Result]:
        """Return the result of every discovery there was."""
        return [each.result for each in self.discoveries if each.result]

    def tried(self) -> list[Result]:
        """Return the result of every login there was."""
        return [result for target in self.targets for _, result in target.logins]

    def found(self) -> dict[Portal, tuple[DiscoveryRecord, ...]]:
        """Return what each DiscoveryAddress has reported; half an answer counts for nothing."""
        return {
            each.planned.portal: tuple(each.result.records)
            for each in self.discoveries
            if each.result and not each.result.failure
        }


_NEGOTIATED: tuple[tuple[str, Callable[[AgreedParameters], bool | int | str]], ...] = (
    ("HeaderDigest", lambda agreed: agreed.header_digest.value),
    ("DataDigest", lambda agreed: agreed.data_digest.value),
    ("InitialR2T", lambda agreed: agreed.initial_r2t),
    ("ImmediateData", lambda agreed: agreed.immediate_data),
    ("FirstBurstLength", lambda agreed: agreed.first_burst_length),
    ("MaxBurstLength", lambda agreed: agreed.max_burst_length),
    ("MaxOutstandingR2T", lambda agreed: agreed.max_outstanding_r2t),
    ("DefaultTime2Wait", lambda agreed: agreed.default_time2wait),
    ("DefaultTime2Retain", lambda agreed: agreed.default_time2retain),
    ("ErrorRecoveryLevel", lambda agreed: agreed.error_recovery_level),
)
_OURS, _THEIRS = "our MaxRecvDataSegmentLength", "the target's"
_ROWS = (4, 3, 3)
"""How many of them stand in a line."""


# --- for people ---------------------------------------------------------------------------------


def format_discovery(report: DiscoveryReport) -> Iterator[str]:
    """Yield the lines about one DiscoveryAddress."""
    where = f"DiscoveryAddress {report.planned.portal}"
    result = report.result
    if result is None:
        yield f"{where}: not enabled"
    elif result.failure:
        yield from _failure(where, result)
    else:
        skipped = f", {result.skipped} skipped" if result.skipped else ""
        yield f"{where}: {_count(len(result.records), 'target')}{skipped}"
        yield from _indented(result.notes, 4)


def format_records(result: Result, asked: Portal) -> Iterator[str]:
    """Yield a line for each address of each target: ``192.0.2.1:3260,1 iqn.2001-04...``."""
    for record in result.records:
        for address in record.addresses or (TargetAddress(asked, None),):
            tag = "" if address.portal_group_tag is None else f",{address.portal_group_tag}"
            yield printable(f"{address.portal}{tag} {record.name_to_send}", LONGEST_LINE)


def format_target(report: TargetReport) -> Iterator[str]:
    """Yield the lines about one target, an empty one first."""
    target = report.planned
    origin = f"found at {target.found_at}" if target.found_at else "named in the file"
    yield ""
    yield f"TargetName {target.target_name} ({origin})"
    if not report.logins:
        yield "    not enabled"
    for login, result in report.logins:
        if result.failure:
            yield from _failure(f"    {login.address}", result, 8)
        else:
            yield f"    {login.address}: logged in and out, {_proof(login.settings)}"
            yield from _indented(_details(login, result), 8)


def format_summary(report: Report) -> Iterator[str]:
    """Yield the last lines."""
    asked, tried = report.asked(), report.tried()
    yield ""
    yield from report.contradictions
    failed = sum(1 for result in (*asked, *tried) if result.failure)
    done = f"{_count(len(asked), 'discovery', 'discoveries')}, {_count(len(tried), 'login')}"
    troubles = [f"{failed} failed"] if failed else []
    if skipped := report.skipped():
        troubles.append(f"{_count(skipped, 'target')} skipped")
    if report.contradictions:
        troubles.append(f"{_count(len(report.contradictions), 'contradiction')}")
    if report.untried:
        troubles.append(
            f"{_count(report.untried, 'target')} not tried, because there are too many;"
            " name an address and a target"
        )
    if report.missing:
        troubles.append(f"no target {report.missing} was found")
    yield f"{done}: {', '.join(troubles) or 'all is well'}"


def _details(login: PlannedLogin, result: Result) -> Iterator[str]:
    yield from result.notes
    if result.success is None:
        return
    moved = result.success.portal
    if moved != login.address.portal:
        yield f"the login succeeded at {moved}"
    if alias := result.success.result.target_alias:
        yield f"TargetAlias={printable(alias)}"
    agreed = result.success.result.parameters
    words = [f"{key}={_word(value(agreed))}" for key, value in _NEGOTIATED]
    for length in _ROWS:
        yield "  ".join(words[:length])
        words = words[length:]
    ours, theirs = agreed.max_recv_data_segment_length, agreed.target_max_recv_data_segment_length
    yield f"{_OURS}={ours}, {_THEIRS}={theirs}"


def _failure(where: str, result: Result, indent: int = 4) -> Iterator[str]:
    assert result.failure
    yield f"{where}: FAILED"
    yield from _indented([*result.notes, result.failure.what], indent)
    if result.failure.advice:
        yield from _indented([f"advice: {result.failure.advice}"], indent)


def _indented(lines: Iterable[str], indent: int) -> Iterator[str]:
    return (" " * indent + printable(line, LONGEST_LINE) for line in lines)


def _proof(settings: SessionSettings) -> str:
    """Return how the two sides proved themselves: nothing less than was configured is accepted."""
    authentication = settings.authentication
    if authentication.outgoing is None:
        return "without authentication"
    both = ", and the target has proved itself" if authentication.incoming else ""
    return f"authenticated by CHAP as {printable(authentication.outgoing.username)}{both}"


def _word(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return str(value)


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


# --- for programs -------------------------------------------------------------------------------


def to_plain(report: Report) -> Plain:
    """Return the report as what JSON has words for."""
    return {
        "ok": report.is_well,
        "untried_targets": report.untried,
        "contradictions": report.contradictions,
        "missing_target": report.missing,
        "discoveries": [
            {
                "portal": str(each.planned.portal),
                "enabled": each.result is not None,
                **(_discovery_outcome(each.result) if each.result else {}),
                "targets": [record.target_name for record in each.result.records]
                if each.result and not each.result.failure
                else [],
            }
            for each in report.discoveries
        ],
        "targets": [
            {
                "target_name": each.planned.target_name,
                "found_at": str(each.planned.found_at) if each.planned.found_at else None,
                "enabled": bool(each.logins),
                "portals": [_login(login, result) for login, result in each.logins],
            }
            for each in report.targets
        ],
    }


def _login(login: PlannedLogin, result: Result) -> Plain:
    plain: Plain = {
        "portal": str(login.address.portal),
        "portal_group_tag": login.address.portal_group_tag,
        **_outcome(result),
    }
    if result.success and not result.failure:
        agreed = result.success.result.parameters
        authentication = login.settings.authentication
        plain |= {
            "reached_at": str(result.success.portal),
            "authenticated_as": authentication.outgoing and authentication.outgoing.username,
            "target_authenticated": authentication.incoming is not None,
            "target_alias": result.success.result.target_alias,
            "negotiated": {key: value(agreed) for key, value in _NEGOTIATED}
            | {
                "MaxRecvDataSegmentLength": {
                    "initiator": agreed.max_recv_data_segment_length,
                    "target": agreed.target_max_recv_data_segment_length,
                }
            },
        }
    return plain


def _discovery_outcome(result: Result) -> Plain:
    return {**_outcome(result), "skipped_targets": result.skipped}


def _outcome(result: Result) -> Plain:
    failure = result.failure
    return {
        "ok": failure is None,
        "error": failure.what if failure else None,
        "advice": failure.advice if failure else None,
        "notes": result.notes,
    }
