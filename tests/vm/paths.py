"""Where things are: the same inside the virtual machine and outside. Touches nothing."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_SERIES = os.environ.get("ISCSID_TEST_KERNEL", "6.1")
KERNEL = CHECKOUT / ".cache" / ("kernel" if _SERIES == "6.1" else f"kernel-{_SERIES}") / "vmlinuz"
"""Debian 12's own, or the one from backports that the environment asks for."""
USER_MODE_LINUX = CHECKOUT / ".cache" / "user-mode-linux"
MULTIPATH_TOOLS = CHECKOUT / ".cache" / "multipath"

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for, root's as well."""

DISTRIBUTION = Path("/usr/lib/python3/dist-packages")
PACKAGES = ("daemon", "lockfile", "pyudev", "six.py")
"""What iscsid needs of Debian's packages, below ``DISTRIBUTION``."""
