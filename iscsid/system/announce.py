"""Lets udev look again at a device whose link has come or gone.

systemd mounts ``/dev/iscsi/bus0/target0/lun0/part1`` from fstab once udev has announced that name
for a device. udev knows it from a rule of ours, which looks for the link; so when the daemon has
made the link, the rule must run again. Where systemd does not run nobody is waiting, and nothing is
done. Touches sysfs.
"""

from __future__ import annotations

import os
from contextlib import suppress

SYSTEMD_RUNS = "/run/systemd/system"
"""Exists where systemd is the init system: sd_booted(3)."""


def announce(device: str) -> None:
    """Make the kernel report a change of the device with this sysfs path; gone is no error."""
    if not os.path.isdir(SYSTEMD_RUNS):
        return
    with suppress(OSError), open(f"{device}/uevent", "w", encoding="ascii") as uevent:
        uevent.write("change")
