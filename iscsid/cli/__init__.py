"""The commands: options, --check, --wait, iscsi-ls, iscsi-iname."""
