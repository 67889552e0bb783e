"""The commands: the options of iscsid, --check, --show-config, --wait, iscsi-ls, iscsi-iname."""
