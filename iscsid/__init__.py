"""iscsid, the iSCSI initiator daemon: a map of its rooms.

**Facts come in, one owner decides, orders go out, hands carry them out, and what the hands
find out comes back as facts.** The ring turns one way, and each station of it is a room:

``facts``, ``orders``
    The vocabulary. A fact says what happened (past tense), an order what shall be done
    (imperative). Both are frozen values.

``initiator/``
    The owner of all state: what is wanted, what is, and what to do next. Pure: it is handed
    facts and the time, and returns orders.

``config/``
    What the administrator says: the language of /etc/iscsi.conf. Pure.

``protocol/``
    What iSCSI says: PDUs, text keys, login, CHAP, SendTargets. Pure; bytes, times and random
    octets come in as arguments.

``system/``
    Hands and ears, and the only place that touches the machine: the kernel's iSCSI interface,
    udev, files, links, timers, signals, the log. It decides nothing.

``workers/``
    Short-lived children for what blocks, or parses bytes from the network: discovery, login,
    LUN scan. They speak ``protocol`` over TCP and report to the owner in whole messages.

``view/``
    What people and programs are shown of it all: the status files, and what iscsi-ls prints.
    Pure.

``daemon``
    Opens everything, runs the loop, and is the table of which call carries out which order. Only
    ``__main__`` imports it.

``trial/``
    ``--check --login``: the owner's plan and the workers' logins without owner or kernel.

``check``, ``waiting``, ``ls``, ``iname``
    What needs no daemon of its own: --check and --show-config, --wait, iscsi-ls, iscsi-iname.

``errors`` and ``secret`` belong to every room. Which room may import which is the law of
``tests/checks/test_layers.py``.
"""

__version__ = "4.0.0"
