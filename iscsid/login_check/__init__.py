"""``--check --login``: log in to every target and out again, and report; and ``--discover``.

``plan`` makes the jobs as the initiator plans its sessions, ``run`` has workers do them as the
daemon does, ``report`` formats the results as text or JSON. The kernel is not involved, so root is
not needed. Each login uses an ISID that no session or discovery of a daemon uses, so that running
sessions are not disturbed.
"""
