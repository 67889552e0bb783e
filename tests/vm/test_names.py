"""The names of disks stay true through what happens to disks, links and bindings."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.patience import wait_until
from tests.vm import disks
from tests.vm.daemon import Daemon, show_tree
from tests.vm.tgtd import Tgtd

NAMES = [f"iqn.2003-02.org.example:name{number}" for number in range(2)]


def export(tgtd: Tgtd, directory: Path, names: list[str]) -> None:
    """Export a disk for each name."""
    for name in names:
        file = directory / name.rpartition(":")[2]
        tgtd.add_target(name, {1: disks.make_file(file, 8)})


def configure(daemon: Daemon, tgtd: Tgtd, names: list[str]) -> None:
    """Want sessions with these targets and no others."""
    daemon.configure(*(f"TargetName={name}\n    Address={tgtd.address}" for name in names))


def test_partitions_come_and_go_with_the_partition_table(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    export(tgtd, tmp_path, NAMES[:1])
    configure(daemon, tgtd, NAMES[:1])
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    for sizes in (["1M", "2M"], ["1M"], ["1M", "1M", "1M", "1M"]):
        disks.partition(disk, sizes)
        daemon.wait_for_links(*(daemon.link(0, 0, 1, f"part{n + 1}") for n in range(len(sizes))))
        daemon.wait_for_no_links(daemon.link(0, 0, 1, f"part{len(sizes) + 1}"))


def test_what_is_in_the_way_is_left_and_named_and_linked_when_it_is_gone(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    export(tgtd, tmp_path, NAMES[:1])
    configure(daemon, tgtd, NAMES[:1])
    disk = daemon.link(0, 0, 1)
    disk.parent.mkdir(parents=True)
    disk.write_text("precious")
    daemon.start()
    daemon.wait_for_line(str(disk), "in the way")
    daemon.wait_for_links(daemon.link(0, 0, 1, "generic"))
    assert disk.read_text() == "precious"
    disk.unlink()
    daemon.send(signal.SIGHUP)
    wait_until(disk.is_symlink, lambda: f"no link at SIGHUP\n{daemon.log()}")
    daemon.stop(signal.SIGINT)
    assert not list(show_tree(daemon.tree))


def test_stale_links_of_an_earlier_life_are_swept_and_right_ones_left(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    export(tgtd, tmp_path, NAMES[:1])
    configure(daemon, tgtd, NAMES[:1])
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    daemon.stop()
    node, age = disk.readlink(), disk.lstat().st_mtime_ns
    for stale in (daemon.link(0, 7, 1), daemon.link(0, 0, 1, "part9"), daemon.link(3, 0, 0)):
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.symlink_to(node)
    note = daemon.link(3, 0, 0).with_name("note")
    note.symlink_to("/etc/hostname")
    daemon.start()
    daemon.wait_for_line("adopted")
    daemon.wait_for_no_links(
        daemon.link(0, 7, 1), daemon.link(0, 0, 1, "part9"), daemon.link(3, 0, 0)
    )
    assert (disk.readlink(), disk.lstat().st_mtime_ns) == (node, age), "it was not touched"
    assert note.is_symlink(), "no link of ours"


def test_damaged_bindings_are_kept_aside_and_good_lines_hold(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    export(tgtd, tmp_path, NAMES[:2])
    configure(daemon, tgtd, NAMES[:2])
    damaged = f"2 3 {NAMES[0]}\n0 0 no/name\n"
    daemon.bindings.write_text(damaged)
    daemon.start()
    daemon.wait_for_links(daemon.link(2, 3, 1), daemon.link(0, 1, 1))
    assert daemon.lines_about(f"{daemon.bindings}:2", "no/name")
    wait_until(lambda: NAMES[1] in daemon.bindings.read_text(), daemon.log)
    lines = daemon.bindings.read_text().splitlines()
    assert {f"2\t3\t{NAMES[0]}", "#? 0 0 no/name", f"0\t1\t{NAMES[1]}"} <= set(lines)
    assert daemon.bindings.with_name("bindings.damaged-1").read_text() == damaged


def test_bindings_that_cannot_be_saved_hold_and_are_saved_when_they_can_be(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    export(tgtd, tmp_path, NAMES[:1])
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    daemon.bindings = tiny / "bindings"
    disks.run("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", tiny)
    try:
        (tiny / "filler").write_bytes(bytes(8192))
        daemon.start()
        daemon.wait_for_line("the bindings are not saved, going on without", "No space left")
        daemon.wait_for_links(daemon.link(0, 0, 1))
        assert daemon.read_bindings() == {}
        disks.run("mount", "-o", "remount,size=64k", tiny)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_bindings(NAMES[0])
        disks.run("mount", "-o", "remount,ro", tiny)
        export(tgtd, tmp_path, NAMES[1:])
        daemon.send(signal.SIGHUP)
        daemon.wait_for_line("the bindings are not saved, going on without", "Read-only")
        daemon.wait_for_links(daemon.link(0, 1, 1))
        assert daemon.read_bindings() == {NAMES[0]: (0, 0)}
        disks.run("mount", "-o", "remount,rw", tiny)
        daemon.send(signal.SIGHUP)
        assert daemon.wait_for_bindings(*NAMES) == {NAMES[0]: (0, 0), NAMES[1]: (0, 1)}
        assert daemon.link(0, 0, 1).exists() and daemon.link(0, 1, 1).exists()
    finally:
        daemon.end()
        disks.run("umount", "--lazy", tiny)
