"""A line of /etc/fstab that names a link is mounted at boot and stays mounted, under systemd.

The daemon runs in a virtual machine whose init system is systemd, with the unit and the udev rule
that are shipped. One boot answers all questions.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.boot import systemd_boot
from tests.vm import disks

pytestmark = pytest.mark.limit(1200)

NAME = "/dev/iscsi/bus0/target0/lun1/part1"
UNIT = "dev-iscsi-bus0-target0-lun1-part1.device"

TARGET = """\
ip link set lo up
mkdir /run/target
cp {directory}/disk /run/target/
tgtd -f -C 7 --iscsi portal=127.0.0.1:3260 </dev/null >/run/target/log 2>&1 &
say() {{ tgtadm -C 7 --lld iscsi "$@"; }}
until say --mode sys --op show >/dev/null 2>&1; do sleep 0.2; done
say --mode target --op new --tid 1 -T iqn.2003-02.org.example:red
say --mode logicalunit --op new --tid 1 --lun 1 -b /run/target/disk
say --mode target --op bind --tid 1 -I ALL
"""

PROOF = f"""\
answer() {{ echo "answer: $1=$(shift; "$@" 2>&1 | tr '\\n' ' ')"; }}
patiently() {{ for i in $(seq 60); do "$@" && return; sleep 1; done; }}
is_back() {{ systemctl is-active -q iscsid && journalctl -o cat | grep -q "$1"; }}

answer at-boot findmnt -no SOURCE,FSTYPE /mnt
answer content cat /mnt/hello
answer fsck systemctl is-active systemd-fsck@dev-iscsi-bus0-target0-lun1-part1.service
answer unit systemctl is-active {UNIT}

systemctl restart iscsid
answer after-restart findmnt -no SOURCE /mnt
systemctl kill -s KILL --kill-who=main iscsid
patiently systemctl is-active -q iscsid
answer after-kill findmnt -no SOURCE /mnt
udevadm trigger -s block -c change
udevadm settle
answer after-trigger findmnt -no SOURCE /mnt
systemctl reload iscsid
patiently is_back SIGHUP
udevadm settle
answer after-reload findmnt -no SOURCE /mnt
answer mount-unit systemctl is-active mnt.mount

rm {NAME}
umount /mnt
echo change >/sys/class/block/sda1/uevent
udevadm settle
answer unit-without-link systemctl is-active {UNIT}
ln -s /dev/sda {NAME}
echo change >/sys/class/block/sda1/uevent
udevadm settle
answer unit-with-wrong-link systemctl is-active {UNIT}
answer disk-unit systemctl is-active dev-iscsi-bus0-target0-lun1-disk.device
journalctl -o short-monotonic -u iscsid
answer end echo reached
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if why := systemd_boot.why_not():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    directory = tmp_path_factory.mktemp("boot")
    make_disk(directory)
    console = systemd_boot.boot(
        directory,
        fstab=f"{NAME} /mnt ext4 _netdev 0 2\n",
        configuration="DiscoveryAddress=127.0.0.1\n",
        target=TARGET.format(directory=directory),
        proof=PROOF,
    )
    found = dict(re.findall(r"answer: (\S+?)=(.*?) *\n", console))
    assert found.get("end") == "reached", "\n".join(console.splitlines()[-150:])
    return found


def make_disk(directory: Path) -> None:
    """Make a disk with one partition, with a file system in it, with a file in that."""
    disk = disks.make_file(directory / "disk", 64)
    disks.run("sfdisk", "--quiet", disk, text="1M,48M\n")
    part = disks.make_file(directory / "part", 48)
    disks.run("mkfs.ext4", "-q", "-F", part)
    (directory / "hello").write_text("from the disk\n")
    disks.run("debugfs", "-w", "-R", f"write {directory / 'hello'} hello", part)
    with disk.open("r+b") as file:
        file.seek(1 << 20)
        file.write(part.read_bytes())


def test_fstab_line_with_a_link_is_checked_and_mounted_at_boot(answers: dict[str, str]) -> None:
    assert re.fullmatch(r"/dev/sda1 +ext4", answers["at-boot"])
    assert answers["content"] == "from the disk"
    assert (answers["fsck"], answers["unit"]) == ("active", "active")


@pytest.mark.parametrize("event", ["restart", "kill", "trigger", "reload"])
def test_file_system_stays_mounted(answers: dict[str, str], event: str) -> None:
    assert answers[f"after-{event}"] == "/dev/sda1"
    assert answers["mount-unit"] == "active"


def test_systemd_knows_a_name_only_while_its_link_leads_to_the_device(
    answers: dict[str, str],
) -> None:
    assert answers["disk-unit"] == "active"
    assert answers["unit-without-link"] == "inactive"
    assert answers["unit-with-wrong-link"] == "inactive"
