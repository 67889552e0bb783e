"""The machine that is a process: Debian's user-mode-linux, a kernel 6.1 that runs as a program.

Its root file system is this machine's, read through hostfs and never written: an overlay in the
machine's memory takes what is changed. It has one processor, and the clock of this machine. What
else it has not is the reason of each test marked ``emulated``.
Used on the host only, by ``boot``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.vm.paths import USER_MODE_LINUX

MEMORY = 2 << 30

PROGRAM = USER_MODE_LINUX / "usr" / "bin" / "linux.uml"
MODULES = USER_MODE_LINUX / "usr" / "lib" / "uml" / "modules"
SHARED_MEMORY = Path("/dev/shm")

# The script has the second serial line for its output, since the kernel writes to the console. It
# is no child of init that is waited for by name: init reaps whatever ends.
INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/memory/upper /run/memory/work /run/root
mount --bind {modules} /lib/modules
modprobe overlay
mount -t overlay -o xino=off,lowerdir=/,upperdir=/run/memory/upper,workdir=/run/memory/work \\
    root /run/root
cd /run/root || exit 1
for each in proc sys dev lib/modules; do
    mount --bind "/$each" "$each"
done
mount -t tmpfs -o mode=755 run run
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=1777 tmp var/tmp
mount -t cgroup2 cgroup sys/fs/cgroup
# Not chroot alone: a process that has looked into another mount namespace comes back to this root.
pivot_root . mnt
exec chroot . /bin/sh -c '
    umount -l /mnt
    /lib/systemd/systemd-udevd --daemon
    udevadm trigger --type=subsystems --action=add
    udevadm trigger --type=devices --action=add
    udevadm settle
    stty -F /dev/ttyS0 raw -echo
    {script} >/dev/ttyS0
    echo o >/proc/sysrq-trigger
    while :; do sleep 60; done
' </dev/tty0 >/dev/tty0 2>&1
"""


def what_is_missing() -> str:
    """Return what is missing for such a machine; empty if nothing is."""
    if not PROGRAM.exists() or not os.access(PROGRAM, os.X_OK):
        return "no user-mode-linux: run 'sh tests/setup'"
    return ""


def prepare(directory: Path) -> str:
    """Write what the machine needs to ``directory``; return the shell text that brings it in."""
    (directory / "memory").mkdir()
    return ""


def command(directory: Path, script: Path) -> list[str]:
    """Return the command that boots the machine and runs ``script`` in it."""
    init = directory / "init"
    init.write_text(INIT.format(modules=MODULES.resolve(), script=script))
    init.chmod(0o755)
    # The file that is the machine's memory is deleted as soon as it is open.
    is_large = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * MEMORY
    memory = SHARED_MEMORY if is_large else directory / "memory"
    return [
        *("/bin/sh", "-c", 'ulimit -c 0; exec "$@" 3>&1 1>&2', "sh"),
        *("env", f"TMPDIR={memory}", str(PROGRAM.resolve()), f"mem={MEMORY >> 20}M"),
        *("rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet"),
        *("con=null", "con0=fd:0,fd:1", "ssl=null", "ssl0=null,fd:3"),
    ]
