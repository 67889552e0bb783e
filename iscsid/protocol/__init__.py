"""The iSCSI protocol: names, PDUs, text keys, login, CHAP, SendTargets (RFC 7143).

A pure package: no socket, clock, log, file or randomness. Bytes, times and random octets come in as
arguments; bytes and results go out. It imports the standard library's pure parts, ``errors``,
``secret`` and itself.
"""
