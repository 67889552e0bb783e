"""The machine that QEMU emulates: Debian's stock kernel, two processors, started by virtme-ng.

It sees the file system of this machine through 9p, with throw-away overlays where it writes; the
program under test is in its memory (``memory``). Used on the host only, by ``boot``.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from tests.vm import memory
from tests.vm.paths import KERNEL, SYSTEM_PATH

MEMORY = "3G"
CPUS = "2"

# Emulated, the kernel's own defences and a clock behind a device cost half of the time: reading the
# time stamp counter takes a quarter of what the HPET takes, a start of Python a little over half.
# The emulator derives all counters from one clock of the host, so they agree.
KERNEL_OPTIONS = (
    "mitigations=off init_on_alloc=0 tsc=reliable clocksource=tsc rcupdate.rcu_expedited=1 "
    "apparmor=0 audit=0 nowatchdog"
)

SHARE = Path("/run/share")
"""Where the machine sees the directory that is made for it."""

MOUNT_SHARE = f"""\
mkdir {SHARE}
mount -t 9p -o ro,trans=virtio,version=9p2000.L,access=any,msize=512000 share {SHARE}
"""


def what_is_missing() -> str:
    """Return what is missing for such a machine; empty if nothing is."""
    if platform.machine() != "x86_64":
        return f"the virtual machine is an x86_64 one, this is {platform.machine()}"
    if not KERNEL.exists():
        return "no kernel for the virtual machine: run 'sh tests/setup'"
    for command in ("qemu-system-x86_64", "busybox", "depmod", "file"):
        if shutil.which(command, path=SYSTEM_PATH) is None:
            return f"no {command} for the virtual machine: run 'sh tests/setup'"
    return ""


def prepare(directory: Path) -> str:
    """Write what the machine needs to ``directory``; return the shell text that brings it in."""
    archive = directory / "archive"
    memory.write_archive(archive)
    return "".join([MOUNT_SHARE, memory.script(SHARE / archive.name), f"umount {SHARE}\n"])


def command(directory: Path, script: Path) -> list[str]:
    """Return the command that boots the machine and runs ``script`` in it."""
    kernel = KERNEL.parent.resolve()
    export = f"local,mount_tag=share,path={directory}"
    return [
        str(Path(sys.prefix) / "bin" / "vng"),
        *("--verbose", "--disable-kvm", "--force-9p", "--user", "root"),
        *("--cpus", CPUS, "--memory", MEMORY, "--run", str(kernel / KERNEL.name)),
        # Its modules must be there before anything is mounted.
        f"--rodir={kernel}",
        *("--append", KERNEL_OPTIONS),
        f"--qemu-opts=-virtfs {export},security_model=none,readonly=on,multidevs=remap",
        *("--exec", str(script)),
    ]
