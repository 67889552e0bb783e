"""Processes that do what blocks, or parses octets from the network.

In the daemon: ``supervisor`` starts jobs and reads what comes of them; ``worker`` is one process as
it knows it, ``log_quota`` limits its lines, ``exit_reasons`` words its end; ``connections`` begins
the connections that workers ask for; ``fork_server`` asks the fork server for workers.

Between daemon and worker, where nothing is trusted: ``channel``, ``messages``, ``codec``, and
``job_kinds``, the table of what can be done, and of how to add a kind.

In a worker: ``worker_main`` is its life, ``sandbox`` and ``seccomp`` what it gives up,
``process_title`` what ps(1) shows. The jobs are ``login_worker``, ``discovery_worker``,
``scan_worker``, ``resolver`` and ``disk_jobs``; they use ``transport``, ``connect_errors`` and
``reporter``.
"""
