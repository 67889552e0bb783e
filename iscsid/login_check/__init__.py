"""``--check --login``: log in to every target and out again, and report how it went.

What is tried is planned as the owner plans its sessions (``plan``), done by children like the
daemon's (``run``), and told in words or as JSON (``report``). The kernel is never involved, so it
needs no root; and no login bears the ISID of a session or of a discovery of the daemon's, so that
nothing that runs is disturbed.
"""
