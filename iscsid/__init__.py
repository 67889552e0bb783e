"""iscsid, the iSCSI initiator daemon.

The daemon's loop turns what happens (a kernel event, a signal, a worker's message, a timer) into
facts, which are frozen values named in the past tense. The ``Initiator`` owns all state: it takes
each fact with the time and returns orders, which are frozen values named in the imperative.
``daemon`` carries out each order, or starts a worker process for it, and what comes of that is the
next fact. So every decision is made in pure code, and nothing outside ``initiator`` decides
anything about a session.

Where things are:

``__main__``, ``cli/``
    The commands: options of ``iscsid``, --check, --show-config, --wait, --from-open-iscsi,
    iscsi-ls, iscsi-iname, and the completion of shells.
``daemon``
    Opens everything, runs the loop, and dispatches facts and orders.
``facts``, ``orders``, ``jobs``
    The values that pass between the daemon and the initiator; a job is what a worker is given.
``initiator/``
    Discoveries, targets, sessions and their states, retries, device links. Pure.
``bindings/``
    The bus and target ids of targets, and the file that keeps them.
``config/``
    The language of iscsi.conf(5) and of the initiatorname file. Pure.
``protocol/``
    PDUs, text keys, login, CHAP, negotiation, SendTargets, SCSI identities. Pure: bytes, times and
    random octets are arguments.
``workers/``
    Processes for what blocks or parses bytes from the network: discovery, login, LUN scan, disk
    users, files. A fork server starts them; they report whole messages to the daemon.
``kernel/``
    The kernel's iSCSI interface: netlink messages, connections, parameters.
``devices/``
    /sys, udev, the users of disks, and the links under /dev/iscsi.
``process/``
    The daemon as a process: background, pid file, signals, loop, log, systemd, and the files
    that it reads and writes.
``status/``
    The status file, and the texts that iscsi-ls prints. Pure.
``login_check/``
    ``--check --login`` and ``--discover``: log in without initiator or kernel.
``initramfs``
    Copies the daemon and its Python for an initramfs; not a part of the daemon.
``errors``, ``secret``, ``exit_status``
    Used everywhere.

Pure code has no socket, clock, file, log or randomness. import-linter's contracts in
pyproject.toml say who may import whom.
"""

__version__ = "4.0.0"
