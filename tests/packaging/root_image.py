"""A root file system in an image: Debian of its own, the kernel's modules, the package, and files.

Everything is done in a folder; nothing is mounted, and nothing of this machine is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.vm.paths import CHECKOUT, KERNEL

RELEASE = {"12": "bookworm", "13": "trixie"}[os.environ.get("ISCSID_TEST_DEBIAN", "12")]
ROOT = CHECKOUT / ".cache" / f"root-{RELEASE}"
SIZE = "900M"
"""More than twice of what is in it: a sparse file, and room for upgrades."""

MODULES = """
    kernel/arch kernel/block kernel/crypto kernel/lib kernel/fs/ext4 kernel/fs/jbd2
    kernel/fs/mbcache.ko kernel/fs/configfs kernel/fs/autofs kernel/fs/fuse kernel/fs/efivarfs
    kernel/fs/nls kernel/fs/fat kernel/net/core kernel/net/ipv4 kernel/net/ipv6 kernel/net/packet
    kernel/net/unix kernel/drivers/scsi kernel/drivers/block kernel/drivers/virtio kernel/drivers/md
    kernel/drivers/net/virtio_net.ko kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
    kernel/drivers/char/hw_random kernel/drivers/target kernel/drivers/dax
    kernel/drivers/firmware/iscsi_ibft.ko
""".split()
"""Of the kernel's modules those that the machine can use: a tenth."""

EARLY_MODULES = ("crc32c_generic", "virtio_pci", "virtio_blk", "ext4")
"""What the first program needs to mount the root."""

INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in {modules}; do /bin/busybox insmod "/modules/$module"; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""

SHELL_UNIT = """\
[Unit]
Description=Shell of the test
DefaultDependencies=no
After=sysinit.target
[Service]
ExecStart=/bin/sh /test-shell
StandardInput=null
KillMode=process
[Install]
WantedBy=sysinit.target
"""

SHELL = """\
exec </dev/ttyS1 >/dev/ttyS1
stty raw -echo
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /
echo '<<ready>>'
exec /bin/sh
"""

INTERFACES = """\
auto lo
iface lo inet loopback
auto eth0
iface eth0 inet static
    address 10.0.2.15/24
    gateway 10.0.2.2
"""

APT = """\
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
"""
"""No question is asked, and root's home can be read."""

DISABLED = """
    getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-timesyncd.service
    systemd-hwdb-update.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
    ldconfig.service e2scrub_reap.service systemd-logind.service systemd-binfmt.service
    proc-sys-fs-binfmt_misc.automount
""".split()
"""Units that cost time and change nothing for iSCSI."""


def build_package(version: str) -> Path:
    """Run the documented command; return the package."""
    done = subprocess.run(
        ["/bin/sh", str(CHECKOUT / "tests" / "build-deb")],
        env={**os.environ, "VERSION": version},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.strip())


class Root:
    """A folder that becomes the root of a machine."""

    def __init__(self, directory: Path) -> None:
        assert ROOT.is_dir(), "there is no Debian for the machine: run 'sh tests/setup'"
        self.path = directory / "root"
        self._directory = directory
        self._version = KERNEL.resolve().name.removeprefix("vmlinuz-")
        subprocess.run(["cp", "-a", f"{ROOT.resolve()}/.", str(self.path)], check=True)
        self._add_modules()
        self._add_shell()
        self.write(
            {
                "/etc/network/interfaces": INTERFACES,
                "/etc/hostname": "machine\n",
                "/etc/apt/apt.conf.d/90test": APT,
            }
        )

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        done = subprocess.run(
            ["chroot", str(self.path), *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def shell(self, *commands: str) -> str:
        """Run lines of shell text in root's home; return what was printed."""
        done = self.run("/bin/sh", "-e", "-c", "cd /root; " + "\n".join(commands))
        return done.stdout + done.stderr

    def bring(self, package: Path) -> str:
        """Copy a package to where the README finds it; return its path there."""
        (self.path / "root/dist").mkdir(exist_ok=True)
        shutil.copy(package, self.path / "root/dist")
        return f"./dist/{package.name}"

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def image(self) -> Path:
        """Write the folder as it is now into an image."""
        image = self._directory / "root.img"
        command = ["mke2fs", "-q", "-t", "ext4", "-d", str(self.path), str(image), SIZE]
        subprocess.run(
            command, check=True, timeout=300, env={**os.environ, "PATH": "/sbin:/usr/sbin"}
        )
        return image

    def initramfs(self, *commands: str) -> Path:
        """Run the commands that renew the initramfs; return it."""
        boot, name = self.path / "boot", f"initrd.img-{self._version}"
        # It says how an initramfs may be compressed.
        shutil.copy(KERNEL.parent / "boot" / f"config-{self._version}", boot)
        # That of a kernel which is installed: "update-initramfs -u" renews it.
        (boot / name).touch()
        (boot / "initrd.img").symlink_to(name)
        self.shell(*commands)
        return (boot / name).rename(self._directory / "initramfs")

    def _add_modules(self) -> None:
        """Copy the modules that are needed, and make the list of their dependencies."""
        version = self._version
        source = KERNEL.parent / "lib" / "modules" / version
        target = self.path / "lib" / "modules" / version
        for name in MODULES:
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name, dirs_exist_ok=True)
                continue
            # Those of Debian 12 are not compressed, later ones are.
            for file in source.glob(f"{name}*"):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, (target / name).parent)
        for file in source.glob("modules.*"):
            shutil.copy(file, target)
        subprocess.run(
            ["/sbin/depmod", "--basedir", str(self.path), version], check=True, capture_output=True
        )

    def _add_shell(self) -> None:
        unit = "/etc/systemd/system/test-shell.service"
        self.write({unit: SHELL_UNIT, "/test-shell": SHELL})
        self.run("systemctl", "enable", "test-shell.service")
        for name in DISABLED:
            link = self.path / "etc/systemd/system" / name
            link.unlink(missing_ok=True)
            link.symlink_to("/dev/null")


def write_initrd(path: Path) -> None:
    """Write an archive with busybox and the modules that mount the root."""
    directory = path.with_suffix(".tree")
    version = KERNEL.resolve().name.removeprefix("vmlinuz-")
    shown = subprocess.run(
        [
            *("/sbin/modprobe", "--dirname", str(KERNEL.parent), "--set-version", version),
            *("--ignore-install", "--show-depends", "--all", *EARLY_MODULES),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    modules = list(
        dict.fromkeys(line.split()[1] for line in shown.splitlines() if "insmod" in line)
    )
    for name in ("bin", "dev", "modules", "root"):
        (directory / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "bin")
    for module in modules:
        shutil.copy(module, directory / "modules")
    names = " ".join(Path(module).name for module in modules)
    (directory / "init").write_text(INIT.format(modules=names))
    (directory / "init").chmod(0o755)
    script = 'cd "$1" && /bin/busybox find . | /bin/busybox cpio -o -H newc >"$2"'
    command = ["/bin/sh", "-c", script, "sh", str(directory), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(directory)
