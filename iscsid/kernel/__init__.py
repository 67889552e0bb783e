"""The kernel's iSCSI interface: netlink messages, connections, parameters."""
