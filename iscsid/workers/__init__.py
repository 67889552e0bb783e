"""Short-lived children: discovery, login, LUN scan.

In the daemon live ``keeper``, which forks and reaps, ``worker``, which is one child as the keeper
knows it, ``endings``, the words for how children end, and ``notebook``, for jobs without a fork.
Between daemon and child lie ``channel``, ``messages`` and ``shapes``, where nothing is trusted.
Inside a child run ``child`` (its life), ``title`` and ``sandbox`` (what it looks like and what it
gives up), the jobs ``login``, ``discovery`` and ``scan``, and what they stand on: ``identity``
and ``logout`` (what may follow a login), ``transport``, ``deadline``, ``reasons`` and
``reporter``. Children speak ``protocol`` over TCP, and report to the keeper in whole messages.
"""
