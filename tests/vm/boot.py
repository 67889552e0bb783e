"""A throw-away virtual machine: boot it, run one shell script in it as root, read its output.

There are two kinds of machines: one that QEMU emulates (``emulated``), and a kernel that runs as a
process (``user_mode``). Either sees the file system of this machine, with throw-away overlays where
it writes. One that is silent for too long is asked what each process waits for.
Used on the host only: by the test session (``relay``) and by the demonstration.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.support.patience import scaled
from tests.vm import emulated, user_mode
from tests.vm.paths import CHECKOUT, SYSTEM_PATH

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

PRELUDE = f"""\
#!/bin/sh
export PATH={SYSTEM_PATH} HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
ip link set lo up
modprobe -a configfs iscsi_tcp iscsi_target_mod target_core_file sd_mod sr_mod st sg ext4 >&2
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
"""

# Only what the shell can do by itself: other programs may not start any more. Kernel threads, whose
# parent is 2, are listed by sysrq. SIGABRT makes Python print its stack, and ends the machine.
ANSWER = """\
exec 4<&0 </dev/null
answer() {
    while read -r _; do
        echo w >/proc/sysrq-trigger
        for process in /proc/[0-9]*; do
            line='' parent=''
            while read -r key value; do
                case $key in
                PPid:) parent=$value ;;
                Name: | State: | SigPnd: | ShdPnd: | SigBlk: | SigIgn:) line="$line $key $value" ;;
                esac
            done <"$process/status"
            [ "$parent" != 2 ] || continue
            echo "${process#/proc/}, child of $parent:$line"
            while read -r line; do echo "    $line"; done <"$process/stack"
        done
        kill -ABRT $$
    done >&2 2>/dev/null
}
answer <&4 &
exec 4<&-
"""

ANSWER_LIMIT = scaled(60.0)
"""Seconds in which a silent machine has to answer."""
ASKED = "--- the virtual machine is silent; what its processes wait for:"
"""The line of the console's file after which the answer comes."""
QUOTED = 60
"""So many of the console's last lines are shown of a machine that failed."""

OOPS = ("BUG:", "Oops", "Kernel panic", "general protection")
"""What the kernel writes to its console about faults of its own."""


class Kind(Protocol):
    """What differs between the kinds of machines: modules ``emulated`` and ``user_mode``."""

    def what_is_missing(self) -> str: ...
    def prepare(self, directory: Path) -> str: ...
    def command(self, directory: Path, script: Path) -> list[str]: ...


def usual_kind() -> Kind:
    """Return the kind for what needs no special one; whoever names a kernel gets Debian's."""
    return emulated if "ISCSID_TEST_KERNEL" in os.environ else user_mode


class MachineSilent(Exception):
    """The machine has written nothing for too long."""


def find_oops(console: str) -> str:
    """Return the lines about faults of the kernel; empty if there are none."""
    return "\n".join(line for line in console.splitlines() if any(word in line for word in OOPS))


def last_words(console: str) -> str:
    """Return the last lines of a console, and all of the answer if the machine was asked."""
    before, asked, answer = console.replace("\r", "").partition(ASKED)
    return "\n".join(before.splitlines()[-QUOTED:]) + f"\n{asked}{answer}"


class Machine:
    """One boot. ``script`` is shell text; its standard output is read here, line by line.

    Standard error of the script and the kernel's console go to the file ``console`` together.
    """

    def __init__(self, script: str, *, console: Path, kind: Kind = emulated) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="iscsid-machine-")
        directory = Path(self._directory.name)
        program = directory / "script"
        start = f"cd {CHECKOUT} || exit 1\n{script}"
        program.write_text("".join([PRELUDE, kind.prepare(directory), ANSWER, start]))
        program.chmod(0o755)
        self._process = subprocess.Popen(
            kind.command(directory, program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._questions = self._process.stdin
        self._output, self._errors = self._process.stdout, self._process.stderr
        self._ears = selectors.DefaultSelector()
        self._ears.register(self._output, selectors.EVENT_READ)
        self._ears.register(self._errors, selectors.EVENT_READ)
        self._console = console.open("ab")
        self._lines: deque[str] = deque()
        self._rest = b""

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.prefix) / 'bin'}:{SYSTEM_PATH}"
        return {"PATH": path, "HOME": self._directory.name, "LC_ALL": "C.UTF-8"}

    def read_line(self, *, seconds: float) -> str | None:
        """Return the next line of the script's output, ``None`` when the machine has ended.

        Raise ``MachineSilent`` where no line has come after ``seconds``.
        """
        limit = time.monotonic() + seconds
        while not self._lines and self._ears.get_map():
            ready = self._ears.select(max(0, limit - time.monotonic()))
            if not ready:
                self._ask_what_it_does()
                raise MachineSilent(f"nothing from the virtual machine for {seconds:.0f} seconds")
            for key, _ in ready:
                self._read_from(key.fileobj)
        return self._lines.popleft() if self._lines else None

    def _ask_what_it_does(self) -> None:
        """Have the answer written to the console's file, after the line ``ASKED``."""
        self._console.write(f"\n{ASKED}\n".encode())
        with contextlib.suppress(BrokenPipeError):
            os.write(self._questions.fileno(), b"?\n")
        limit = time.monotonic() + ANSWER_LIMIT
        while self._ears.get_map():
            ready = self._ears.select(max(0, limit - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                self._read_from(key.fileobj)

    def _read_from(self, stream: FileDescriptorLike) -> None:
        piece = os.read(stream if isinstance(stream, int) else stream.fileno(), 65536)
        if not piece:
            self._ears.unregister(stream)
        elif stream is self._output:
            *whole, self._rest = (self._rest + piece).split(b"\n")
            self._lines.extend(line.decode(errors="replace").rstrip("\r") for line in whole)
        else:
            self._console.write(piece)
            self._console.flush()

    def stop(self) -> None:
        """End the machine, whatever it is doing. Nothing of it remains but the console's file."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._questions, self._output, self._errors, self._console, self._ears):
            stream.close()
        self._directory.cleanup()


def main() -> int:
    """Run the shell commands of the command line inside, and print their output."""
    kind = usual_kind()
    if missing := kind.what_is_missing():
        print(missing, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        console = Path(directory) / "console"
        machine = Machine("\n".join([*sys.argv[1:], ""]), console=console, kind=kind)
        try:
            while (line := machine.read_line(seconds=scaled(600.0))) is not None:
                print(line, flush=True)
        finally:
            machine.stop()
            print(last_words(console.read_text(errors="replace")), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
