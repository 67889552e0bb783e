"""multipathd, which makes one device of all paths to a disk: Debian's multipath-tools, unpacked.

Inside the virtual machine only, where /etc and /usr are throw-away.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.support.patience import PATIENCE, wait_until
from tests.vm import disks
from tests.vm.paths import MULTIPATH_TOOLS

CONFIGURATION = """\
defaults {
    find_multipaths no
    user_friendly_names no
    uxsock_timeout 60000
    polling_interval 1
    max_polling_interval 2
    path_grouping_policy multibus
    path_checker tur
}
devices {
    device {
        vendor "LIO-ORG"
        product ".*"
        hardware_handler "0"
        path_grouping_policy multibus
        prio const
    }
}
blacklist_exceptions {
    property ".*"
}
"""
PLUGINS = Path("/usr/lib/multipath")
"""Where multipathd looks for its checkers: no option names another place."""


class Multipathd:
    """The daemon; ``map`` is the one device that it has made in the end."""

    def __init__(self, directory: Path) -> None:
        assert MULTIPATH_TOOLS.exists(), "no multipath-tools: run 'sh tests/setup'"
        disks.run("modprobe", "-a", "dm_multipath", "dm_service_time", "dm_round_robin")
        if not PLUGINS.exists():
            PLUGINS.symlink_to(MULTIPATH_TOOLS.resolve() / "lib" / "multipath")
        Path("/etc/multipath.conf").write_text(CONFIGURATION)
        Path("/etc/multipath").mkdir(exist_ok=True)
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(MULTIPATH_TOOLS / "lib")}
        self._log = directory / "multipathd.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(MULTIPATH_TOOLS / "sbin" / "multipathd"), "-d", "-v2"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def paths(self) -> dict[str, str]:
        """Return whether device-mapper uses each path, by its node: active or failed."""
        shown = self._run("multipathd", "show", "paths", "raw", "format", "%d %m %t")
        words = [line.split() for line in shown.splitlines()]
        # Busy with a path that hangs, it may answer with an excuse instead.
        rows = [row for row in words if len(row) == 3]
        return {f"/dev/{node}": state for node, name, state in rows if name != "[orphan]"}

    def maps(self) -> list[str]:
        """Return the wwid of each map, which is its name, too."""
        shown = self._run("multipathd", "show", "maps", "raw", "format", "%w")
        return shown.split()

    def topology(self) -> str:
        """Return what ``multipath -ll`` shows."""
        return self._run("multipath", "-ll")

    def wait_for_paths(self, **wanted: int) -> None:
        """Wait until so many paths are ``active``, and so many ``failed``, and no others."""

        def counted() -> dict[str, int]:
            states = list(self.paths().values())
            return {state: states.count(state) for state in states}

        wait_until(lambda: counted() == wanted, lambda: f"{counted()}\n{self.log()}")

    @property
    def map(self) -> Path:
        (name,) = self.maps()
        return Path("/dev/mapper", name)

    def log(self) -> str:
        return f"{self.topology()}\n{self._log.read_text(errors='replace')}"

    def stop(self) -> None:
        """End it, and take its maps apart. They must not be in use."""
        maps = self.maps() if self._process.poll() is None else []
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=PATIENCE)
        for name in maps:
            disks.run("dmsetup", "remove", "--retry", name)

    def _run(self, command: str, *words: str) -> str:
        done = subprocess.run(
            [str(MULTIPATH_TOOLS / "sbin" / command), *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        return done.stdout if done.returncode == 0 else ""
