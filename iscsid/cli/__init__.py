"""The commands: the options of iscsid, what it does without becoming a daemon, and the others.

That is --check, --show-config, --wait and --from-open-iscsi (--check --login and --discover are in
``login_check``), iscsi-ls, iscsi-iname, and the completion of shells.
"""
