"""What a boot script does without systemd: start, wait, mount, look; and every kind of device.

Quotations are from the manual pages iscsid(8) and iscsi-ls(1).
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from iscsid.cli import iscsi_ls
from iscsid.devices.sysfs import Sysfs
from tests.support.kill_at_step import run_in_child
from tests.support.programs import on_a_terminal
from tests.vm import disks
from tests.vm.daemon import Daemon, show_tree
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
ABSENT = "iqn.2003-02.org.example:absent"
TAPES = {"mt", "mtl", "mtm", "mta", "mtn", "mtln", "mtmn", "mtan"}
NOBODY = 65534


def export(tgtd: Tgtd, directory: Path) -> None:
    """Export a disk with a file system in its first partition, a CD, a tape, and another disk."""
    disk = disks.make_file(directory / "disk", 48)
    disks.run("sfdisk", "--quiet", disk, text="1M,40M\n")
    disks.run("mkfs.ext4", "-q", "-F", "-E", f"offset={disks.MEGABYTE}", disk, "40M")
    tape = directory / "tape"
    medium = ["--barcode", "ISCSID01", "--size", "16", "--type", "data", "--file", str(tape)]
    disks.run("tgtimg", "--op", "new", "--device-type", "tape", *medium)
    tgtd.add_target(RED, {1: disk, 5: disks.make_file(directory / "other", 8)})
    tgtd.add_lun(RED, 2, disks.make_file(directory / "cd", 4), kind="cd")
    tgtd.add_lun(RED, 3, tape, kind="tape")


def test_boot_without_systemd(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    export(tgtd, tmp_path)
    daemon.configure(
        "LUNs=1-3",
        f"DiscoveryAddress={tgtd.address}",
        f"TargetName={ABSENT}",
        "    Address=127.0.0.1:3299",
    )
    daemon.bindings.write_text(f"0 0 {RED}\n0 1 {ABSENT}\n")
    daemon.start()
    daemon.wait_until_ready()
    check_that_waiting_is_enough(daemon)
    check_that_an_fstab_line_mounts(daemon, tmp_path)
    check_what_anybody_sees(daemon)
    assert daemon.stop(signal.SIGINT) == 0
    assert not daemon.tree.exists() and not daemon.pidfile.with_suffix("").exists()
    check_that_no_daemon_is_waited_for(daemon)


def check_that_waiting_is_enough(daemon: Daemon) -> None:
    """ "Wait until the running daemon has tried every target once and the links of those that
    answered exist ... On a terminal, a line shows the progress." """
    status, shown = on_a_terminal(daemon.command("--wait=170"))
    links = {link.split(" ")[0] for link in show_tree(daemon.tree)}
    assert status == 0, f"{shown}\n{daemon.log()}"
    assert "1 of 2 sessions up" in shown and shown.endswith("\r")
    wanted = {"lun1/disk", "lun1/part1", "lun1/generic", "lun2/cd", "lun2/generic", "lun3/generic"}
    wanted |= {f"lun3/{tape}" for tape in TAPES}
    assert links == {f"bus0/target0/{link}" for link in wanted}, "LUN 5 is not wanted"
    for link, kind in (("cd", "sr"), ("part1", "sd"), ("generic", "sg")):
        lun = 2 if link == "cd" else 1
        assert daemon.link(0, 0, lun, link).readlink().name.startswith(kind)
    assert daemon.link(0, 0, 3, "mtan").readlink().name == "nst0a"
    assert daemon.lines_about(ABSENT, "refused")


def check_that_an_fstab_line_mounts(daemon: Daemon, directory: Path) -> None:
    root, fstab = directory / "root", directory / "fstab"
    root.mkdir()
    fstab.write_text(f"{daemon.link(0, 0, 1, 'part1')} {root} ext4 _netdev 0 2\n")
    disks.run("mount", "-a", "-T", fstab)
    try:
        assert root.is_mount()
        disks.write_pattern(root / "pattern", 1, seed="boot")
    finally:
        disks.run("umount", root)


def check_what_anybody_sees(daemon: Daemon) -> None:
    """ "Everybody may use it." """
    for directory in (daemon.pidfile.parent, *daemon.pidfile.parent.parents[:3]):
        directory.chmod(0o755)

    def look() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        status, diagnostic = iscsi_ls.look(str(daemon.pidfile), Sysfs(), 0)
        assert diagnostic == "" and [each.state for each in status.sessions][0] == "up"
        found, diagnostic = iscsi_ls.look("/run/there-is-none.pid", Sysfs(), 0)
        assert diagnostic == iscsi_ls.NOT_RUNNING
        for luns in (status.sessions[0].luns, found.sessions[0].luns):
            kinds = {unit.lun: unit.kind for unit in luns}
            assert kinds.keys() == {1, 2, 3}, "the kernel was not asked for others"
            assert kinds[1] == "Direct-Access" and kinds[2] == "CD-ROM"
            assert kinds[3] == "Sequential-Access"

    assert run_in_child(look) == 0
    text = json.loads((daemon.pidfile.with_suffix("") / "status.json").read_text())
    present, absent = (session["state"] for session in text["sessions"])
    # A portal that does not answer is just being tried, or waits for that.
    assert present == "up" and absent in ("waiting", "logging in")
    lines = (daemon.pidfile.with_suffix("") / "devices").read_text().splitlines()
    first = next(line.split() for line in lines if RED in line)
    assert first == ["0", "0", first[2], "127.0.0.1", "3260", RED]


def check_that_no_daemon_is_waited_for(daemon: Daemon) -> None:
    """ "If time runs out, or if no daemon runs, the exit status is 1 and one line names what is
    missing." """
    done = daemon.run("--wait=60")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no iscsid runs" in done.stderr
