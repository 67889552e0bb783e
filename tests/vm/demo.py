"""The demonstration: iscsid at work in a throw-away virtual machine.

``python -m tests.vm.demo`` boots the machine and prints what the scenario prints inside it. The
exit status is 0 only if every step worked. With ``--record=FILE`` the output is also written as a
recording that asciinema(1) plays.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from tests.support.patience import scaled
from tests.vm import disks, emulated, sessions
from tests.vm.boot import Machine, MachineSilent, find_oops, last_words
from tests.vm.daemon import INITIATOR_NAME, Daemon
from tests.vm.paths import KERNEL
from tests.vm.tgtd import Tgtd

INSIDE = "--inside"
THE_END = "demo: all of this really happened"
SILENCE_LIMIT = scaled(600.0)
"""Seconds without output from the demonstration, the machine's boot included."""

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"
DISK = Path("/dev/iscsi/bus0/target0/lun1/disk")
MOUNT = Path("/mnt")


# --- outside ------------------------------------------------------------------------------------


def run(record: str) -> int:
    """Boot the machine, print its output, and return the exit status."""
    if missing := emulated.what_is_missing():
        print(f"demo: {missing}", file=sys.stderr)
        return 1
    version = KERNEL.resolve().name.removeprefix("vmlinuz-")
    say(f"Booting a throw-away virtual machine with Debian's kernel {version}.")
    say("Its processor is emulated, so all of this is slower than life.")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        recording = Recording(stack.enter_context(open(record, "w")) if record else None)
        console = Path(directory) / "console"
        machine = Machine(f"exec {sys.executable} -m tests.vm.demo {INSIDE}\n", console=console)
        try:
            is_complete = print_output(machine, recording)
        finally:
            machine.stop()
        text = console.read_text(errors="replace").replace("\r", "")
        if is_complete and not find_oops(text):
            return 0
        print("demo: it did not work. The end of the virtual machine's console:", file=sys.stderr)
        print(last_words(text), file=sys.stderr)
        return 1


class Recording:
    """The output in asciinema's format, version 2, if there is a file to write it to."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._start = time.monotonic()
        self._write({"version": 2, "width": 100, "height": 30, "title": "iscsid"})

    def add(self, line: str) -> None:
        self._write([round(time.monotonic() - self._start, 3), "o", f"{line}\r\n"])

    def _write(self, value: object) -> None:
        if self._file is not None:
            print(json.dumps(value), file=self._file, flush=True)


def print_output(machine: Machine, recording: Recording) -> bool:
    """Print the output as it comes; return whether it is complete."""
    try:
        while (line := machine.read_line(seconds=SILENCE_LIMIT)) is not None:
            print(line, flush=True)
            recording.add(line)
            if line == THE_END:
                return True
    except MachineSilent as silence:
        print(f"demo: {silence}", file=sys.stderr)
    return False


# --- inside -------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(textwrap.fill(text, 96), flush=True)


def chapter(title: str) -> None:
    print(f"\n=== {title}\n", flush=True)


def show(command: str, shown: str = "") -> str:
    """Run a line of shell, and print both it (or ``shown``) and its output."""
    print(f"  # {shown or command}", flush=True)
    output = disks.run("sh", "-c", command)
    if output:
        print(textwrap.indent(output.rstrip("\n"), "  "), flush=True)
    return output


class Here(Daemon):
    """A daemon with every file where an administrator has it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.configuration = Path("/etc/iscsi.conf")
        self.bindings = Path("/var/iscsi/bindings")
        self.tree = Path("/dev/iscsi")
        self.pidfile = Path("/var/run/iscsid.pid")
        self.initiatorname = Path("/etc/initiatorname.iscsi")
        self.initiatorname.write_text(f"InitiatorName={INITIATOR_NAME}\n")

    def command(self, *options: str) -> list[str]:
        return [self.python, "-m", "iscsid", *options]


def scenario() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        target = export_disks(directory)
        daemon = Here(directory)
        configure(daemon, target)
        start(daemon)
        show_names(daemon)
        use_a_disk(daemon)
        end_and_begin_again(daemon, target, directory)
        daemon.stop()
        sessions.destroy_all()
        target.stop()
    chapter("The end")
    print(THE_END, flush=True)


def export_disks(directory: Path) -> Tgtd:
    chapter("An iSCSI target with disks")
    say("tgtd exports three files as the disks of two targets:")
    files = {name: disks.make_file(directory / name, 64) for name in ("red", "green1", "green2")}
    disks.run("sfdisk", "--quiet", str(files["green2"]), text=",24M\n,24M\n")
    target = Tgtd()
    target.add_target(RED, {1: files["red"]})
    target.add_target(GREEN, {1: files["green1"], 2: files["green2"]})
    print(f"  {RED:<32}  logical unit 1, 64 MB")
    print(f"  {GREEN:<32}  logical unit 1, 64 MB")
    print(f"  {'':<32}  logical unit 2, 64 MB, with two partitions")
    return target


def configure(daemon: Here, target: Tgtd) -> None:
    chapter("The configuration")
    say("An address to ask for targets, and the initiator's name:")
    daemon.configure("# One line per address to ask.", f"DiscoveryAddress={target.address}")
    show(f"cat {daemon.configuration}")
    show(f"cat {daemon.initiatorname}")


def start(daemon: Here) -> None:
    chapter("iscsid starts: discovery, login, disks")
    print("  # iscsid -n &", flush=True)
    daemon.start()
    daemon.wait_for_bindings(RED, GREEN)
    daemon.wait_for_links(DISK, *green_links(daemon))
    print(textwrap.indent(daemon.log().rstrip("\n"), "  "), flush=True)
    say("The kernel runs the sessions now:")
    list_disks(daemon)


def list_disks(daemon: Here, option: str = "") -> None:
    show(
        f"COLUMNS=94 {daemon.python} -m iscsid.cli.iscsi_ls {option}", f"iscsi-ls {option}".rstrip()
    )


def green_links(daemon: Daemon) -> list[Path]:
    bus, target = daemon.read_bindings()[GREEN]
    units = ((1, "disk"), (2, "disk"), (2, "part1"), (2, "part2"))
    return [daemon.link(bus, target, lun, name) for lun, name in units]


def show_names(daemon: Here) -> None:
    chapter("Names that never change")
    say("Each target has a bus and a target id that never change:")
    show(f"cat {daemon.bindings}")
    say("Links with these numbers lead to the disks, whatever names the kernel gives them:")
    show(f"find {daemon.tree} -type l -printf '%p -> %l\\n' | sort")


def use_a_disk(daemon: Here) -> None:
    chapter("A file system on an iSCSI disk")
    show(f"mkfs.ext4 -q -F {DISK}")
    show(f"mount {DISK} {MOUNT}")
    disks.write_pattern(MOUNT / "letter", 8, seed="a letter")
    written = show(f"sha256sum {MOUNT}/letter")
    show(f"umount {MOUNT}")
    disks.forget_cache(DISK)
    say("The cache is dropped: what is read now comes from the target.")
    show(f"mount {DISK} {MOUNT}")
    list_disks(daemon, "--tree")
    found = show(f"sha256sum {MOUNT}/letter")
    show(f"umount {MOUNT}")
    assert found == written, "other bytes were read than had been written"
    say("The same bytes.")


def end_and_begin_again(daemon: Here, target: Tgtd, directory: Path) -> None:
    chapter("Without the daemon, the disk works")
    before = daemon.read_bindings()
    show(f"mount {DISK} {MOUNT}")
    show(f"kill -TERM {daemon.pid}")
    assert daemon.wait() == 0, daemon.log()
    disks.forget_cache(DISK)
    letter = show(f"sha256sum {MOUNT}/letter")
    show(f"umount {MOUNT}")
    say("SIGTERM ends the daemon. The sessions are in the kernel, and continue.")

    chapter("After a restart, with the targets in another order")
    sessions.destroy_all()
    for name in (RED, GREEN):
        target.remove_target(name)
    target.add_target(GREEN, {1: directory / "green1", 2: directory / "green2"})
    target.add_target(RED, {1: directory / "red"})
    print("  # iscsid -n &", flush=True)
    daemon.start()
    daemon.wait_for_sessions(RED, GREEN)
    daemon.wait_for_links(DISK, *green_links(daemon))
    assert daemon.read_bindings() == before, "a target has got other numbers"
    show(f"mount {DISK} {MOUNT}")
    assert show(f"sha256sum {MOUNT}/letter") == letter, "this is another disk"
    show(f"umount {MOUNT}")
    say(f"The same file: {DISK} is the same disk.")


def main() -> int:
    if INSIDE not in sys.argv[1:]:
        records = [each.partition("=")[2] for each in sys.argv[1:] if each.startswith("--record=")]
        return run(records[-1] if records else "")
    try:
        scenario()
    except (AssertionError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
