"""What the administrator says: the language of /etc/iscsi.conf and /etc/initiatorname.iscsi.

A pure room: text goes in, settings or complaints come out. Reading the file is a hand's work.
It imports ``errors``, ``secret`` and ``protocol``'s names and values.

The way of a line: ``lexer`` takes it apart, ``scoping`` finds the entry it belongs to, the row in
``keywords`` says with which syntax of ``values`` or ``addresses`` it is read, ``consistency`` holds
it against the other lines. What is wrong on the way becomes one of the ``diagnostics``. The result
are ``entries``; ``resolve`` finds those that hold for a session, ``assemble`` makes ``settings`` of
them, and ``report`` tells where each came from. The door is ``parse_configuration``.
"""
