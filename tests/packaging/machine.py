"""A machine of its own: QEMU, an image for a root, and a shell of the test on a second serial line.

The first serial line is the console, kept in a file. The machine's end is QEMU's end. It reaches
this machine's loopback as 10.0.2.2, until its own network goes down.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from pathlib import Path

from tests.support.patience import scaled
from tests.vm.emulated import KERNEL_OPTIONS
from tests.vm.paths import KERNEL

MEMORY = "768"
CPUS = "2"
READY = "<<ready>>"
BOOT_LIMIT = 400.0
STEP_LIMIT = 180.0
OUTSIDE = "10.0.2.2"
"""The machine's name for this machine's loopback."""

APPEND = (
    "console=ttyS0 rw net.ifnames=0 systemd.show_status=1 loglevel=4 "
    f"systemd.default_timeout_start_sec=300 panic=-1 {KERNEL_OPTIONS}"
)


class Machine:
    """One boot of an image. Changes to the image are kept, so that it can be booted again.

    Without an image the initrd finds a root by what is in ``append``.
    """

    def __init__(
        self,
        image: Path | None,
        initrd: Path,
        directory: Path,
        name: str,
        *,
        append: str = "rootwait quiet",
        acpi_table: Path | None = None,
    ) -> None:
        self.console_file = directory / f"{name}.console"
        line = directory / f"{name}.line"
        drive = ["-drive", f"file={image},if=virtio,format=raw,cache=unsafe"] if image else []
        table = ["-acpitable", f"file={acpi_table}"] if acpi_table else []
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"),
                *("-m", MEMORY, "-smp", CPUS, "-display", "none", "-monitor", "none"),
                *("-no-reboot", "-kernel", str(KERNEL.resolve()), "-initrd", str(initrd)),
                *("-append", f"{APPEND} {append}"),
                *drive,
                *table,
                *("-nic", "user,model=virtio-net-pci"),
                *("-serial", f"file:{self.console_file}"),
                *("-chardev", f"socket,id=line,path={line},server=on,wait=off"),
                *("-serial", "chardev:line"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._line = socket.socket(socket.AF_UNIX)
        self._text = b""
        self._connect(line)
        self._number = 0

    @property
    def console(self) -> str:
        if not self.console_file.exists():
            return ""
        return self.console_file.read_bytes().decode(errors="replace").replace("\r", "")

    def wait_for_shell(self) -> None:
        self._read_until(re.compile(re.escape(READY.encode()) + rb"\r?\n"), BOOT_LIMIT)

    def run(self, command: str, *, limit: float = STEP_LIMIT) -> tuple[int, str]:
        """Run shell text in the machine; return its exit status and all that it prints."""
        self._number += 1
        mark = f"<<{self._number}:"
        self._line.sendall(f"{{ {command}\n}} </dev/null 2>&1; echo '{mark}'$?'>>'\n".encode())
        found = self._read_until(re.compile(rb"(?s)(.*?)<<%d:(\d+)>>\r?\n" % self._number), limit)
        return int(found[2]), found[1].decode(errors="replace").replace("\r", "").strip()

    def check(self, command: str, *, limit: float = STEP_LIMIT) -> str:
        """Run what must succeed; return what it prints."""
        status, text = self.run(command, limit=limit)
        assert status == 0, f"{command!r} ended with {status}:\n{text}\n{self._tail()}"
        return text

    def wait_until(self, command: str, *, limit: float = STEP_LIMIT) -> None:
        """Run a command again and again until it succeeds."""
        end = time.monotonic() + scaled(limit)
        while (last := self.run(command))[0]:
            assert time.monotonic() < end, f"{command!r} has not come true: {last}\n{self._tail()}"
            time.sleep(0.5)

    def power_off(self, *, limit: float) -> float:
        """Order the shutdown, wait for the machine's end, return the seconds until then."""
        start = time.monotonic()
        self._line.sendall(b"systemctl --no-block poweroff\n")
        return self.wait_for_end(start, limit)

    def wait_for_end(self, start: float, limit: float) -> float:
        try:
            self._process.wait(timeout=scaled(limit))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not off after {limit:.0f} s:\n{self._tail()}") from None
        return time.monotonic() - start

    def stop(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._line.close()

    def _connect(self, path: Path) -> None:
        end = time.monotonic() + scaled(30)
        while True:
            try:
                self._line.connect(str(path))
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    assert self._process.stdout
                    self._process.kill()
                    raise AssertionError(self._process.stdout.read().decode()) from None
                time.sleep(0.05)

    def _read_until(self, pattern: re.Pattern[bytes], limit: float) -> re.Match[bytes]:
        end = time.monotonic() + scaled(limit)
        while not (found := pattern.search(self._text)):
            self._line.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self._line.recv(65536)
            except TimeoutError:
                message = f"no answer within {limit:.0f} s: {self._text!r}\n{self._tail()}"
                raise AssertionError(message) from None
            assert piece, f"the machine has ended: {self._text!r}\n{self._tail()}"
            self._text += piece
        self._text = self._text[found.end() :]
        return found

    def _tail(self) -> str:
        return "\n".join(self.console.splitlines()[-60:])
