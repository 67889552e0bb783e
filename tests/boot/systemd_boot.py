"""A throw-away virtual machine in which systemd is the init system: boot it, return its output.

The guest sees this machine's files; what runs to be tested is in its memory. What it shall see
changed, all of /etc and udev's helpers, is copied, and put in place in a mount namespace of the
emulator's own; nothing here is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.patience import scaled
from tests.vm import memory
from tests.vm.boot import CPUS, KERNEL_OPTIONS, MEMORY, what_is_missing
from tests.vm.paths import CHECKOUT, KERNEL, SYSTEM_PATH

HELPERS = Path("/usr/lib/udev")
LIMIT = scaled(900.0)
"""Seconds for all of it: the machine is emulated, and its files come over 9p."""

SUPERFLUOUS = """
    apt-daily-upgrade.timer apt-daily.timer console-getty.service e2scrub_all.timer
    e2scrub_reap.service fstrim.timer getty@tty1.service iscsid.socket istgt.service
    open-iscsi.service postgresql.service systemd-logind.service systemd-networkd.service
    systemd-timesyncd.service systemd-tmpfiles-clean.timer systemd-tmpfiles-setup.service
    tgt.service systemd-journal-flush.service systemd-random-seed.service
    systemd-update-utmp.service systemd-hwdb-update.service systemd-pcrphase.service
    ldconfig.service
""".split()
"""Units that cost time. Among them what would empty the /tmp it shares."""

DRIVERS = "kvm_amd kvm_intel bochs psmouse iTCO_wdt powernow_k8 pcspkr sr_mod floppy".split()

BOOT = """\
set -eu
mount --make-rprivate /
mount --bind "$1/etc" /etc
mount --bind "$1/udev" /usr/lib/udev
shift
exec "$@"
"""

# Without these the programs and libraries could not be copied into memory here.
OVERLAYS = """\
for directory in /usr/bin /usr/sbin /usr/lib/x86_64-linux-gnu /usr/lib/locale; do
    above=/run/above$directory work=/run/work$directory
    mkdir -p $above $work
    mount -t overlay -o lowerdir=$directory,upperdir=$above,workdir=$work above $directory
done
"""

PROOF_TARGET = """\
[Unit]
Requires=basic.target
Wants=proof.service remote-fs.target iscsid.service
AllowIsolate=yes
"""

PROOF_SERVICE = """\
[Unit]
After=remote-fs.target iscsid.service
[Service]
Type=oneshot
TimeoutStartSec=infinity
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStart=/bin/sh {script}
ExecStopPost=/bin/systemctl poweroff -ff
"""

TARGET_SERVICE = """\
[Unit]
After=systemd-modules-load.service
Before=iscsid.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {script}
"""

DAEMON_HERE = """\
[Unit]
Wants=target.service
[Service]
Environment=PYTHONPATH={checkout} PYTHONDONTWRITEBYTECODE=1
ExecStartPre=
ExecStartPre=+{checkout}/etc/iscsid-service prepare
ExecStart=
ExecStart={python} -m iscsid -n
"""

PATIENCE = """\
[Manager]
DefaultTimeoutStartSec=600
DefaultDeviceTimeoutSec=600
"""


def why_not() -> str:
    """Return what is missing for such a machine; empty if nothing is."""
    if os.geteuid() != 0:
        return "only root can give the machine an /etc of its own"
    namespace = ["unshare", "--mount", "mount", "--bind", "/etc", "/etc"]
    if subprocess.run(namespace, capture_output=True).returncode:
        return "mounting is not permitted here"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    if not Path("/lib/modules").is_dir():
        return "there is no directory /lib/modules: run 'sh tests/setup'"
    return what_is_missing()


def boot(directory: Path, *, fstab: str, configuration: str, target: str, proof: str) -> str:
    """Boot, run ``target`` before the daemon starts and ``proof`` when all is mounted.

    The last two are shell text. Returns the output on the console, which is in the file ``console``
    of the directory meanwhile.
    """
    _furnish(directory, fstab, configuration)
    archive = directory / "archive"
    memory.write_archive(archive)
    target = OVERLAYS + memory.script(archive) + target
    _write_units(directory, target, proof)
    command = [
        *("unshare", "--mount", "/bin/sh", "-c", BOOT, "boot", str(directory)),
        *(str(Path(sys.prefix) / "bin" / "vng"), "--verbose", "--disable-kvm", "--force-9p"),
        *("--user", "root", "--cpus", CPUS, "--memory", MEMORY, "--systemd"),
        *("--run", str((KERNEL.parent.resolve() / KERNEL.name).resolve())),
        f"--rodir={directory}",
        # A panic ends the machine, and so the wait for it.
        *("--append", f"panic=-1 {KERNEL_OPTIONS}", "--qemu-opts=-no-reboot"),
    ]
    path = f"{Path(sys.prefix) / 'bin'}:{SYSTEM_PATH}"
    environment = {"PATH": path, "HOME": str(directory), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    console = directory / "console"
    with console.open("wb") as output:
        machine = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        machine.wait(timeout=LIMIT)
        end = ""
    except subprocess.TimeoutExpired:
        end = f"\nended after {LIMIT:.0f} seconds\n"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()
    return console.read_text(errors="replace").replace("\r", "") + end


def _furnish(directory: Path, fstab: str, configuration: str) -> None:
    """Make the guest's /etc and udev's helpers out of this machine's."""
    etc = directory / "etc"
    shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    shutil.copytree(HELPERS, directory / "udev", symlinks=True)
    shutil.copy(CHECKOUT / "etc/udev/iscsid-name", directory / "udev")
    (etc / "udev/rules.d").mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "etc/udev/90-iscsid.rules", etc / "udev/rules.d")
    (etc / "fstab.proof").write_text(fstab)
    (etc / "iscsi.conf").write_text(configuration)
    (etc / "iscsi.conf").chmod(0o600)
    (etc / "initiatorname.iscsi").write_text("InitiatorName=iqn.2003-02.org.example:boot\n")
    (etc / "modules-load.d/proof.conf").write_text("iscsi_tcp\nsd_mod\nsg\next4\n")
    blacklist = "".join(f"blacklist {driver}\n" for driver in DRIVERS)
    (etc / "modprobe.d/proof.conf").write_text(blacklist)


def _write_units(directory: Path, target: str, proof: str) -> None:
    for name, text in (("target.sh", target), ("proof.sh", proof)):
        (directory / name).write_text(f"export PATH={SYSTEM_PATH}\n{text}")
    systemd = directory / "etc/systemd"
    units = systemd / "system"
    for name in SUPERFLUOUS:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    shutil.copy(CHECKOUT / "etc/systemd/iscsid.service", units)
    daemon = DAEMON_HERE.format(checkout=CHECKOUT, python=sys.executable)
    generator = "systemd-fstab-generator"
    texts = {
        "system/iscsid.service.d/here.conf": daemon,
        "system/target.service": TARGET_SERVICE.format(script=directory / "target.sh"),
        "system/proof.service": PROOF_SERVICE.format(script=directory / "proof.sh"),
        "system/proof.target": PROOF_TARGET,
        "system.conf.d/patience.conf": PATIENCE,
        # virtme-ng hides /etc/fstab; systemd's own generator reads another name.
        f"system-generators/{generator}": "#!/bin/sh\nSYSTEMD_FSTAB=/etc/fstab.proof exec "
        f'/usr/lib/systemd/system-generators/{generator} "$@"\n',
    }
    for name, text in texts.items():
        (systemd / name).parent.mkdir(exist_ok=True)
        (systemd / name).write_text(text)
    (systemd / "system-generators" / generator).chmod(0o755)
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("proof.target")
