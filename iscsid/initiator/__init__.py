"""All decisions of the daemon: which sessions, discoveries and links there are, and what is next.

``initiator`` passes each fact to ``on_files``, ``on_workers`` or ``on_kernel``. Orders, log lines
and jobs go to ``outbox``, which uses ``log_dedup`` and ``job_queue``.

What there should be: ``sources`` and ``targets`` (the targets and their portals), ``planning``
(their sessions), ``numbers_in_use`` (their bindings), and ``reconciler``, which carries it out.

A session: ``session_fsm`` is the table of its states, ``session`` has the actions, ``sessions`` are
all of them. When it tries again: ``retry``, ``portal_backoff``. How it logs in: ``login_terms``,
``offers``, ``isid``, ``portal_groups``. Its LUNs: ``lun_scanner``. What the target requests:
``async_pdus``. How one is found again in the kernel: ``session_tag``, ``adoption``.

A DiscoveryAddress: ``discovery``. The links: ``device_links``, ``link_table``; their names are in
``devices.device_paths``. What people are shown: ``snapshot``.

Pure: facts and the time come in, orders go out. It touches no socket, clock, file, log or
randomness.
"""
