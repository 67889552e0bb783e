"""The words and the JSON of a trial, to the letter."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.facts import LoginSucceeded
from iscsid.jobs import JobId, LoginJob
from iscsid.login_check.plan import PlannedDiscovery, PlannedLogin, PlannedTarget
from iscsid.login_check.report import (
    DiscoveryReport,
    Report,
    Result,
    TargetReport,
    format_discovery,
    format_summary,
    format_target,
    to_plain,
)
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import (
    Authentication,
    Credentials,
    Isid,
    LoginPlan,
    LoginResult,
)
from iscsid.secret import Secret

RED = IscsiName("iqn.2003-02.org.example:red")
A, B = Portal("192.0.2.1"), Portal("2001:db8::1")
OURS = Credentials("alice", Secret("open-sesame-1"))
THEIRS = Credentials("vault", Secret("close-sesame-2"))
REFUSED = Failure(Retry.SOON, "connecting: connection refused", "start the target")


def planned(
    portal: Portal = A, authentication: Authentication | None = None, tag: int | None = 1
) -> PlannedLogin:
    settings = SessionSettings(authentication=authentication or Authentication())
    job = LoginJob(
        id=JobId(1),
        portal=portal,
        login=LoginPlan(initiator_name=RED, target_name=RED, isid=Isid(bytes(6))),
        timeouts=settings.timeouts,
        tcp_window_size=0,
        deadline=0,
        only_try=True,
    )
    return PlannedLogin(TargetAddress(portal, tag), settings, job)


def success(*notes: str, portal: Portal = A, alias: str | None = None) -> Result:
    login = LoginResult(isid=Isid(bytes(6)), tsih=1, cmd_sn=1, exp_stat_sn=1, target_alias=alias)
    return Result(True, success=LoginSucceeded(JobId(1), login, portal), notes=list(notes))


def target(*logins: tuple[PlannedLogin, Result], found_at: Portal | None = A) -> TargetReport:
    return TargetReport(PlannedTarget(RED, found_at, tuple(p for p, _ in logins)), logins)


def discovery(result: Result | None) -> DiscoveryReport:
    return DiscoveryReport(PlannedDiscovery(A, None), result)


FAILED = Result(True, failure=REFUSED, notes=["sent on from here to there for now"])
FOUND = Result(True, records=[DiscoveryRecord(RED, ())], notes=["skipped 0.0.0.0"])


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (None, ["DiscoveryAddress 192.0.2.1:3260: not enabled"]),
        (Result(True), ["DiscoveryAddress 192.0.2.1:3260: 0 targets"]),
        (FOUND, ["DiscoveryAddress 192.0.2.1:3260: 1 target", "    skipped 0.0.0.0"]),
        (
            replace(FOUND, notes=[], skipped=2),
            ["DiscoveryAddress 192.0.2.1:3260: 1 target, 2 skipped"],
        ),
        (
            FAILED,
            [
                "DiscoveryAddress 192.0.2.1:3260: FAILED",
                "    sent on from here to there for now",
                "    connecting: connection refused",
                "    advice: start the target",
            ],
        ),
    ],
)
def test_a_discovery_is_reported_with_what_went_wrong(
    result: Result | None, lines: list[str]
) -> None:
    assert list(format_discovery(discovery(result))) == lines


def test_a_target_is_reported_portal_by_portal() -> None:
    report = target((planned(), success(alias="The \x1b[31mvault")), (planned(B), FAILED))
    assert list(format_target(report)) == [
        "",
        "TargetName iqn.2003-02.org.example:red (found at 192.0.2.1:3260)",
        "    192.0.2.1:3260,1: logged in and out, without authentication",
        "        TargetAlias=The \\x1b[31mvault",
        "        HeaderDigest=None  DataDigest=None  InitialR2T=Yes  ImmediateData=Yes",
        "        FirstBurstLength=65536  MaxBurstLength=262144  MaxOutstandingR2T=1",
        "        DefaultTime2Wait=2  DefaultTime2Retain=20  ErrorRecoveryLevel=0",
        "        our MaxRecvDataSegmentLength=8192, the target's=8192",
        "    [2001:db8::1]:3260,1: FAILED",
        "        sent on from here to there for now",
        "        connecting: connection refused",
        "        advice: start the target",
    ]


@pytest.mark.parametrize(
    ("authentication", "words"),
    [
        (Authentication(), "without authentication"),
        (Authentication(OURS), "authenticated by CHAP as alice"),
        (
            Authentication(OURS, THEIRS),
            "authenticated by CHAP as alice, and the target has proved itself",
        ),
    ],
)
def test_how_both_sides_proved_themselves_is_reported_without_the_secrets(
    authentication: Authentication, words: str
) -> None:
    report = target((planned(authentication=authentication), success()))
    lines = list(format_target(report))
    assert lines[2].endswith(f": logged in and out, {words}")
    assert "sesame" not in "".join(lines)
    assert "sesame" not in json.dumps(to_plain(Report([], [report])))


def test_a_redirection_and_an_origin_are_reported() -> None:
    lines = list(format_target(target((planned(tag=None), success(portal=B)), found_at=None)))
    assert lines[1].endswith("(named in the file)")
    assert lines[2].startswith("    192.0.2.1:3260: logged in")
    assert lines[3] == "        the login succeeded at [2001:db8::1]:3260"


def test_a_target_that_is_not_enabled_is_reported_as_such() -> None:
    assert list(format_target(target()))[2:] == ["    not enabled"]


GOOD = Report([discovery(FOUND)], [target((planned(), success()))])


@pytest.mark.parametrize(
    ("report", "is_well", "line"),
    [
        (Report(), True, "0 discoveries, 0 logins: all is well"),
        (GOOD, True, "1 discovery, 1 login: all is well"),
        (Report([discovery(None)], [target()]), True, "0 discoveries, 0 logins: all is well"),
        (
            Report([discovery(replace(FOUND, skipped=2))], GOOD.targets),
            False,
            "1 discovery, 1 login: 2 targets skipped",
        ),
        (
            Report([discovery(FAILED)], GOOD.targets),
            False,
            "1 discovery, 1 login: 1 failed",
        ),
        (
            Report(GOOD.discoveries, [target((planned(), success()), (planned(B), FAILED))]),
            False,
            "1 discovery, 2 logins: 1 failed",
        ),
    ],
)
def test_all_is_well_only_where_nothing_failed(report: Report, is_well: bool, line: str) -> None:
    assert report.is_well == is_well
    assert list(format_summary(report)) == ["", line]


def test_half_an_answer_counts_for_nothing() -> None:
    assert GOOD.found() == {A: (FOUND.records[0],)}
    assert Report([discovery(replace(FOUND, failure=REFUSED))]).found() == {}


def test_json_holds_what_the_text_does() -> None:
    chap = planned(authentication=Authentication(OURS))
    report = Report([discovery(FOUND)], [target((chap, success()), (planned(B), FAILED))])
    plain = json.loads(json.dumps(to_plain(report)))
    assert plain["ok"] is False
    assert plain["discoveries"] == [
        {
            "portal": "192.0.2.1:3260",
            "enabled": True,
            "ok": True,
            "error": None,
            "advice": None,
            "notes": ["skipped 0.0.0.0"],
            "targets": [RED],
            "skipped_targets": 0,
        }
    ]
    (red,) = plain["targets"]
    good, bad = red.pop("portals")
    assert red == {"target_name": RED, "found_at": "192.0.2.1:3260", "enabled": True}
    assert (good["ok"], good["authenticated_as"], good["target_authenticated"]) == (
        True,
        "alice",
        False,
    )
    assert good["negotiated"]["InitialR2T"] is True
    assert good["negotiated"]["MaxRecvDataSegmentLength"] == {"initiator": 8192, "target": 8192}
    assert (bad["ok"], bad["error"]) == (False, "connecting: connection refused")
    assert bad["advice"] == "start the target" and "negotiated" not in bad


def test_json_of_what_is_not_enabled() -> None:
    plain = to_plain(Report([discovery(None)], [target()]))
    assert plain["discoveries"] == [{"portal": "192.0.2.1:3260", "enabled": False, "targets": []}]
    assert plain["targets"][0]["portals"] == [] and plain["targets"][0]["enabled"] is False


def test_a_contradiction_is_shown_and_not_all_is_well() -> None:
    report = Report(contradictions=["iqn.x: discovery at 192.0.2.2 reports other portals"])
    lines = list(format_summary(report))
    assert lines[-2:] == [report.contradictions[0], "0 discoveries, 0 logins: 1 contradiction"]
    assert not report.is_well
    assert json.loads(json.dumps(to_plain(report)))["contradictions"] == report.contradictions
