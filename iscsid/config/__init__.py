"""What the administrator says: the language of /etc/iscsi.conf and /etc/initiatorname.iscsi.

A pure room: text goes in, settings or complaints come out. Reading the file is a hand's work.
It imports ``errors``, ``secret`` and ``protocol``'s names and values.
"""
