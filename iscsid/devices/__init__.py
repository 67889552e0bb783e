"""SCSI devices as the machine shows them: sysfs, udev, users of disks, links."""
