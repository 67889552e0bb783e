"""What people and programs are shown of the daemon: plain values, and texts made of them.

A pure room: it is handed a ``Status``, from the owner or from what /sys shows, and returns text.
Nothing in a ``Status`` is secret: it is written where everybody may read it.
"""
