"""Links are made and removed where they belong, and nothing else is ever touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.devices.links import LinkTree
from iscsid.facts import DeviceVanished, LinkNotMade, LinkNotRemoved, LinksFound
from tests.support.kill_at_step import killed_at_step

DISK = "bus0/target3/lun5/disk"
NULL = "/sys/devices/virtual/mem/null"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "iscsi"


@pytest.fixture
def tree(base: Path) -> LinkTree:
    return LinkTree(str(base))


def everything(directory: Path) -> dict[str, str]:
    """Return what is below a directory: paths, and where the symbolic links lead."""
    return {
        str(path.relative_to(directory)): os.readlink(path) if path.is_symlink() else ""
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


# --- the plain way ------------------------------------------------------------------------------


def test_link_is_made_with_its_directories(tree: LinkTree, base: Path) -> None:
    assert tree.make(DISK, "/dev/sda") is None
    assert os.readlink(base / DISK) == "/dev/sda"


def test_directories_have_the_mode_asked_for_whatever_the_umask(base: Path) -> None:
    before = os.umask(0o077)
    try:
        LinkTree(str(base), 0o711).make(DISK, "/dev/sda")
    finally:
        os.umask(before)
    for directory in ("", "bus0", "bus0/target3", "bus0/target3/lun5"):
        assert stat.S_IMODE((base / directory).stat().st_mode) == 0o711, directory


def test_directory_that_was_there_keeps_its_mode(tree: LinkTree, base: Path) -> None:
    base.mkdir(mode=0o700)
    tree.make(DISK, "/dev/sda")
    assert stat.S_IMODE(base.stat().st_mode) == 0o700


def test_making_a_link_that_is_right_touches_nothing(tree: LinkTree, base: Path) -> None:
    tree.make(DISK, "/dev/sda")
    before = os.lstat(base / DISK)
    assert tree.make(DISK, "/dev/sda") is None
    assert os.lstat(base / DISK) == before


def test_link_is_replaced_and_no_temporary_one_is_left(tree: LinkTree, base: Path) -> None:
    tree.make(DISK, "/dev/sda")
    tree.make(DISK, "/dev/sdb")
    assert everything(base) == {DISK: "/dev/sdb"}


def test_last_link_takes_the_empty_directories_with_it(tree: LinkTree, base: Path) -> None:
    tree.make(DISK, "/dev/sda")
    tree.make("bus0/target4/lun0/disk", "/dev/sdb")
    assert tree.remove(DISK) is None
    assert not (base / "bus0/target3").exists() and (base / "bus0/target4/lun0/disk").is_symlink()
    assert tree.remove("bus0/target4/lun0/disk") is None
    assert not base.exists(), "we made it, so it goes"


def test_base_directory_that_was_there_stays(tree: LinkTree, base: Path) -> None:
    base.mkdir()
    tree.make(DISK, "/dev/sda")
    tree.remove(DISK)
    assert list(base.iterdir()) == []


def test_removing_what_is_not_there_is_no_error(tree: LinkTree, base: Path) -> None:
    assert tree.remove(DISK) is None
    tree.make(DISK, "/dev/sda")
    assert tree.remove("bus0/target3/lun5/part1") is None
    assert everything(base) == {DISK: "/dev/sda"}


# --- the last look at the device ----------------------------------------------------------------


def test_link_is_made_if_the_device_has_the_node(tree: LinkTree, base: Path) -> None:
    assert tree.make(DISK, "/dev/null", NULL) is None
    assert os.readlink(base / DISK) == "/dev/null"


@pytest.mark.parametrize(
    ("node", "device"),
    [
        ("/dev/zero", NULL),
        ("/dev/there-is-no-such-node", NULL),
        ("/dev/null", "/sys/devices/virtual/mem/gone"),
    ],
)
def test_no_link_is_made_to_a_node_that_the_device_has_no_more(
    tree: LinkTree, base: Path, node: str, device: str
) -> None:
    assert tree.make(DISK, node, device) == DeviceVanished(device)
    assert not base.exists()


# --- what an earlier life has left --------------------------------------------------------------


def test_links_of_an_earlier_life_are_found(tree: LinkTree, base: Path) -> None:
    assert tree.present() == LinksFound(())
    tree.make(DISK, "/dev/sda")
    tree.make("bus0/target3/lun5/part1", "/dev/sda1")
    assert LinkTree(str(base)).present() == LinksFound(
        ((DISK, "/dev/sda"), ("bus0/target3/lun5/part1", "/dev/sda1"))
    )


def test_only_links_of_the_trees_shape_to_devices_are_found(tree: LinkTree, base: Path) -> None:
    tree.make(DISK, "/dev/sda")
    here = (base / DISK).parent
    (here / "note").symlink_to("/etc/passwd")
    (here / "up").symlink_to("/dev/../etc/passwd")
    (here / "part1").write_text("a file")
    (here / "UPPER").symlink_to("/dev/sda")
    (base / "bus0" / "disk").symlink_to("/dev/sda")
    (base / "bus00" / "target0" / "lun0").mkdir(parents=True)
    (base / "bus00" / "target0" / "lun0" / "disk").symlink_to("/dev/sda")
    before = everything(base)
    assert LinkTree(str(base)).present() == LinksFound(((DISK, "/dev/sda"),))
    assert everything(base) == before


def test_half_made_links_and_empty_directories_are_cleared_away(tree: LinkTree, base: Path) -> None:
    lun = base / "bus1/target2/lun3"
    lun.mkdir(parents=True)
    (lun / ".disk.new").symlink_to("/dev/sda")
    (base / "bus1/target9").mkdir()
    (base / "mine").mkdir()
    assert tree.present() == LinksFound(())
    assert [path.name for path in base.iterdir()] == ["mine"]


@pytest.mark.parametrize("place", ["", "bus0", "bus0/target3", "bus0/target3/lun5"])
def test_planted_link_is_not_followed_when_looking(base: Path, place: str) -> None:
    plant(base, place, base.parent / "victim", Path("/dev/sda"))
    found = LinkTree(str(base)).present()
    assert found.links == () and len(found.remarks) == 1
    assert str(base / place) in found.remarks[0] and "left alone" in found.remarks[0]


# --- what must not be touched -------------------------------------------------------------------


def plant(base: Path, place: str, victim: Path, node: Path) -> None:
    """Put a symbolic link where ``place`` would be, to a directory with the rest of the tree."""
    rest = Path(DISK).relative_to(place) if place else Path(DISK)
    (victim / rest).parent.mkdir(parents=True)
    (victim / rest).symlink_to(node)
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    (base / place).symlink_to(victim)


@pytest.mark.parametrize("place", ["", "bus0", "bus0/target3", "bus0/target3/lun5"])
def test_planted_link_leads_nowhere(tree: LinkTree, base: Path, place: str) -> None:
    victim = base.parent / "victim"
    plant(base, place, victim, Path("/dev/sdz"))
    before = everything(base.parent)
    for fact in (tree.make(DISK, "/dev/sda"), tree.remove(DISK)):
        assert isinstance(fact, LinkNotMade | LinkNotRemoved)
        assert "a symbolic link or a file" in fact.reason and str(base / DISK) in fact.reason
    assert everything(base.parent) == before


def write_file(path: Path) -> None:
    path.write_text("precious")


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "precious").write_text("precious")


def link_elsewhere(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [write_file, make_directory, link_elsewhere])
def test_foreign_thing_in_the_place_of_a_link_is_left_and_named(
    tree: LinkTree, base: Path, make: Callable[[Path], None]
) -> None:
    (base / DISK).parent.mkdir(parents=True)
    make(base / DISK)
    before = everything(base)
    fact = tree.make(DISK, "/dev/sda")
    assert isinstance(fact, LinkNotMade) and "in the way" in fact.reason
    assert str(base / DISK) in fact.reason and fact.reason.isprintable()
    tree.remove(DISK)
    assert everything(base) == before


def test_file_in_the_place_of_a_directory_is_left_and_named(tree: LinkTree, base: Path) -> None:
    (base / "bus0").mkdir(parents=True)
    (base / "bus0/target3").write_text("precious")
    fact = tree.make(DISK, "/dev/sda")
    assert isinstance(fact, LinkNotMade) and "left alone" in fact.reason
    assert (base / "bus0/target3").read_text() == "precious"


def test_foreign_file_keeps_its_directories(tree: LinkTree, base: Path) -> None:
    tree.make(DISK, "/dev/sda")
    (base / "bus0/target3/README").write_text("mine")
    assert tree.remove(DISK) is None
    assert everything(base) == {"bus0/target3/README": ""}


@pytest.mark.parametrize(
    "path",
    [
        "disk",
        "bus0/target0/disk",
        "bus0/target0/lun0/../../disk",
        "/bus0/target0/lun0/disk",
        "bus00/target0/lun0/disk",
        "bus0/target0/lun0/.disk",
        "bus0/target0/lun0/",
        "bus0/target0/lun0/disk/x",
        "bus0/target0/lun-1/disk",
        "bus0/target0/lun0/di\nsk",
    ],
)
def test_path_of_another_shape_is_refused(tree: LinkTree, base: Path, path: str) -> None:
    assert isinstance(tree.make(path, "/dev/sda"), LinkNotMade)
    assert isinstance(tree.remove(path), LinkNotRemoved)
    assert not base.exists()


@pytest.mark.parametrize(
    "node", ["sda", "/dev/", "/etc/passwd", "/dev/../etc/passwd", "/dev/a/../b", "/dev/a b", ""]
)
def test_node_outside_dev_is_refused(tree: LinkTree, base: Path, node: str) -> None:
    assert isinstance(tree.make(DISK, node), LinkNotMade)
    assert not base.exists()


@pytest.mark.parametrize("node", ["/dev/sda", "/dev/nst0a", "/dev/bsg/0:0:0:0", "/dev/cciss!c0d0"])
def test_every_kind_of_node_is_taken(tree: LinkTree, node: str) -> None:
    assert tree.make(DISK, node) is None
    assert tree.present().links == ((DISK, node),)


# --- accidents ----------------------------------------------------------------------------------


def test_base_directory_that_cannot_be_made_is_one_bounded_message() -> None:
    fact = LinkTree("/proc/iscsi").make(DISK, "/dev/sda")
    assert isinstance(fact, LinkNotMade) and len(fact.reason) < 300
    assert "/proc/iscsi" in fact.reason


def test_killed_at_any_step_a_link_is_the_old_one_or_the_new_one(base: Path) -> None:
    step, seen = 1, set()
    LinkTree(str(base)).make(DISK, "/dev/sda")
    while killed_at_step(step, lambda: replace(base)):
        links = dict(LinkTree(str(base)).present().links)
        seen.add(links[DISK])
        assert links.keys() == {DISK} == set(everything(base))
        LinkTree(str(base)).make(DISK, "/dev/sda")
        step += 1
    assert seen == {"/dev/sda", "/dev/sdb"} and step > 20


def replace(base: Path) -> None:
    assert LinkTree(str(base)).make(DISK, "/dev/sdb") is None


def test_killed_at_any_step_of_removing_leaves_a_tree_that_can_be_swept(base: Path) -> None:
    step = 1
    LinkTree(str(base)).make(DISK, "/dev/sda")
    while killed_at_step(step, lambda: sweep(base)):
        sweep(base)
        assert not base.exists() or list(base.iterdir()) == []
        LinkTree(str(base)).make(DISK, "/dev/sda")
        step += 1
    assert step > 20


def sweep(base: Path) -> None:
    tree = LinkTree(str(base))
    for path, _ in tree.present().links:
        assert tree.remove(path) is None


def test_no_descriptor_is_left_open(tree: LinkTree, base: Path) -> None:
    (base / "bus7").parent.mkdir()
    (base / "bus7").write_text("in the way")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        tree.make(DISK, "/dev/sda")
        tree.make("bus7/target0/lun0/disk", "/dev/sda")
        tree.present()
        tree.remove(DISK)
        tree.remove("bus7/target0/lun0/disk")
    assert os.listdir("/proc/self/fd") == before
