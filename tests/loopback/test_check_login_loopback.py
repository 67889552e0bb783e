"""``iscsid --check --login`` at targets that other people wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iscsid.bindings.binding import Binding
from iscsid.initiator.isid import session_isid
from iscsid.protocol.names import IscsiName
from iscsid.protocol.parameters import LoginPlan
from tests.loopback.driver import log_in
from tests.loopback.istgt import Istgt
from tests.loopback.plans import ALICE, MUTUAL, full_name
from tests.loopback.tgtd_loopback import LiveTgtd
from tests.support.patience import PATIENCE

ME = IscsiName("iqn.2003-02.org.example:me")
CHAP = (f" Username={ALICE.user}", f" Password={ALICE.password}")
INCOMING = (
    f" IncomingUsername={MUTUAL.mutual_user}",
    f" IncomingPassword={MUTUAL.mutual_password}",
)
CLOSED_AT_LOGOUT = "logging out: the target closed the connection"
DIGESTS = (" HeaderDigest=always", " DataDigest=always")


def check(directory: Path, *lines: str, initiator_name: str = ME) -> tuple[int, dict[str, Any]]:
    """Run the command with this configuration; return its exit status and its report."""
    config, initiatorname = directory / "iscsi.conf", directory / "initiatorname.iscsi"
    config.write_text("".join(f"{line}\n" for line in lines))
    config.chmod(0o600)
    initiatorname.write_text(f"InitiatorName={initiator_name}\n")
    files = ["-f", str(config), "--initiatorname", str(initiatorname)]
    done = subprocess.run(
        [sys.executable, "-m", "iscsid", "--check", "--login", "--json", *files],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.stderr == ""
    assert "secret" not in done.stdout
    return done.returncode, json.loads(done.stdout)


def portals(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (found,) = (each for each in report["targets"] if each["target_name"] == full_name(name))
    portals: list[dict[str, Any]] = found["portals"]
    return portals


def test_tgtd_is_tried_with_everything_it_wants_and_each_failure_is_reported(
    tgtd: LiveTgtd, tmp_path: Path
) -> None:
    tgtd.add_target(
        full_name("checksums"), {}, parameters={"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
    )
    try:
        status, report = check(
            tmp_path,
            f"DiscoveryAddress={tgtd.portal}",
            *(f"TargetName={full_name('chap')}", *CHAP),
            *(f"TargetName={full_name('mutual')}", *CHAP, *INCOMING),
            *(f"TargetName={full_name('checksums')}", *DIGESTS),
            *(f"TargetName={full_name('moving')}", " Enabled=no"),
        )
    finally:
        tgtd.remove_target(full_name("checksums"))
    assert status == 0, report
    assert portals(report, "moving") == []
    (plain,) = portals(report, "plain")
    (chap,) = portals(report, "chap")
    (mutual,) = portals(report, "mutual")
    (checksums,) = portals(report, "checksums")
    assert (plain["authenticated_as"], plain["target_authenticated"]) == (None, False)
    assert (chap["authenticated_as"], chap["target_authenticated"]) == ("alice", False)
    assert (mutual["authenticated_as"], mutual["target_authenticated"]) == ("alice", True)
    assert checksums["negotiated"]["HeaderDigest"] == "CRC32C"
    assert checksums["negotiated"]["DataDigest"] == "CRC32C"
    # The Logout Request was understood: with a wrong digest there is no answer, and a note.
    assert [each["notes"] for each in (plain, chap, mutual, checksums)] == [[]] * 4

    status, report = check(tmp_path, f"DiscoveryAddress={tgtd.portal}")
    assert (status, report["ok"]) == (1, False)
    (chap,) = portals(report, "chap")
    assert not chap["ok"] and "authenticat" in chap["error"] and chap["advice"]


def test_an_initiator_name_with_capitals_is_sent_as_the_file_writes_it(
    tgtd: LiveTgtd, tmp_path: Path
) -> None:
    name = full_name("capitals")
    spelt = "iqn.2003-02.org.example:HOST-Me"
    tgtd.add_target(name, {}, open_to_all=False)
    tgtd.admit(name, spelt)
    lines = (f"TargetName={name}", f" Address={tgtd.portal}")
    try:
        status, report = check(tmp_path, *lines, initiator_name=spelt)
        assert status == 0, report
        status, _ = check(tmp_path, *lines, initiator_name=spelt.lower())
        assert status == 1
    finally:
        tgtd.remove_target(name)


def test_discovery_is_open_while_all_targets_found_there_want_chap(tmp_path: Path) -> None:
    target = LiveTgtd()
    try:
        for name in ("one", "two"):
            target.add_target(full_name(name), {}, account=ALICE)
        lines = (f"DiscoveryAddress={target.portal}", *CHAP)
        status, report = check(tmp_path, *lines)
        (discovery,) = report["discoveries"]
        assert (status, discovery["ok"]) == (1, False) and "DiscoveryCHAP=no" in discovery["advice"]

        status, report = check(tmp_path, *lines, " DiscoveryCHAP=no")
        assert status == 0, report
        for name in ("one", "two"):
            (portal,) = portals(report, name)
            assert portal["authenticated_as"] == ALICE.user
    finally:
        target.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connections_go_out_as_the_file_demands(tgtd: LiveTgtd, host: str, tmp_path: Path) -> None:
    """The worker that looks up a name has no privileges any more when it connects."""
    lines = ("Interface=lo", "SourceAddress=127.0.0.9", "DSCP=af21")
    name = full_name("plain")
    port = tgtd.portal.port
    target = (f"TargetName={name}", f" Address={host}:{port}", " SourceAddress=127.0.0.8")
    status, report = check(tmp_path, *lines, *target)
    assert status == 0, report
    status, report = check(tmp_path, *lines, *target, " Interface=nonesuch0")
    (portal,) = portals(report, "plain")
    assert status == 1 and "the interface named for it does not exist" in portal["error"]


def test_a_target_with_a_name_outside_the_grammar_is_logged_in_to(
    tgtd: LiveTgtd, tmp_path: Path
) -> None:
    name = IscsiName("iqn.2017.11.org.example:disk")
    tgtd.add_target(name, {})
    try:
        _, report = check(tmp_path, f"DiscoveryAddress={tgtd.portal}")
        (found,) = (each for each in report["targets"] if each["target_name"] == name)
        assert [each["ok"] for each in found["portals"]] == [True]
    finally:
        tgtd.remove_target(name)


def test_istgt_is_tried_at_both_its_portals_with_digests_and_chap(
    istgt: Istgt, tmp_path: Path
) -> None:
    status, report = check(
        tmp_path,
        f"DiscoveryAddress={istgt.portal}",
        *(f"TargetName={full_name('chap')}", *CHAP),
        *(f"TargetName={full_name('mutual')}", *CHAP, *INCOMING),
        *(f"TargetName={full_name('digests')}", *DIGESTS),
    )
    assert status == 0, report
    for name in ("plain", "chap", "mutual", "digests"):
        both = portals(report, name)
        assert [each["portal"] for each in both] == [str(istgt.portal), str(istgt.second_portal)]
        # istgt may close before its thread for answers has sent the Logout Response.
        assert {note for each in both for note in each["notes"]} <= {CLOSED_AT_LOGOUT}
        assert {each["target_alias"] for each in both} == {f"{name} of istgt"}
    assert portals(report, "digests")[0]["negotiated"]["HeaderDigest"] == "CRC32C"


@pytest.mark.parametrize("kind", ["tgtd", "istgt"])
def test_a_session_that_is_up_notices_nothing(
    kind: str, tgtd: LiveTgtd, istgt: Istgt, tmp_path: Path
) -> None:
    """With the session's own ISID, the trial would have the target close it."""
    portal = (tgtd if kind == "tgtd" else istgt).portal
    isid = session_isid(ME, Binding(0, 0))
    plan = LoginPlan(initiator_name=ME, target_name=full_name("plain"), isid=isid)
    with log_in(portal, plan) as session:
        target = f"TargetName={full_name('plain')}"
        status, report = check(tmp_path, target, f" Address={portal}")
        assert status == 0, report
        session.ping()
        session.log_out()
