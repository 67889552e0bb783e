"""``iscsid --check --login`` beside a running daemon: sessions and kernel notice nothing."""

from __future__ import annotations

from pathlib import Path

from tests.vm import disks, sessions
from tests.vm.conftest import Target, with_lio
from tests.vm.daemon import Daemon
from tests.vm.lio import Account

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"
ACCOUNT = Account("alice", "secret-of-alice")


def connections() -> dict[int, tuple[str, str]]:
    """Return the state of every session in the kernel, and the port of its connection."""
    return {
        sid: (sessions.attribute(sid, "state"), sessions.connection_attribute(sid, "local_port"))
        for sid in sessions.session_ids()
    }


@with_lio
def test_a_trial_disturbs_no_session_and_makes_none(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    target.add_target(RED, {1: disks.make_file(tmp_path / "red", 32)})
    target.add_target(GREEN, {1: disks.make_file(tmp_path / "green", 16)}, account=ACCOUNT)
    green = (f"TargetName={GREEN}", "    Username=alice", "    Password=secret-of-alice")
    daemon.configure(f"DiscoveryAddress={target.address}", *green)
    daemon.start()
    daemon.wait_for_sessions(RED, GREEN)
    numbers = daemon.wait_for_bindings(RED, GREEN)
    links = [daemon.link(*numbers[name], 1) for name in (RED, GREEN)]
    daemon.wait_for_links(*links)
    disks.make_file_system(links[0])
    with disks.mounted(links[0], tmp_path / "mount") as root:
        before = connections()
        assert {state for state, _ in before.values()} == {"LOGGED_IN"}
        done = daemon.run("--check", "--login")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"    {target.address},1: logged in and out, without" in done.stdout
        assert f"    {target.address},1: logged in and out, authenticated by CHAP" in done.stdout
        assert "secret-of-alice" not in done.stdout + done.stderr
        written = disks.write_pattern(root / "pattern", 2, seed="undisturbed")
        disks.forget_cache(links[0])
        assert disks.checksum(root / "pattern") == written
        assert connections() == before
    assert not daemon.lines_about("error"), daemon.log()
