"""The status of the daemon as plain values, and the texts made of it.

A ``Status`` is made from the initiator's state or from /sys; here it becomes JSON, a table, or
words. Pure. Nothing in a ``Status`` is secret: the file is readable for everybody.
"""
