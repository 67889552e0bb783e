"""The language of /etc/iscsi.conf and /etc/initiatorname.iscsi.

A pure package: text comes in, settings or diagnostics go out. ``process.config_files`` reads the
files. It imports ``errors``, ``secret`` and the names and values of ``protocol``.

``lexer`` splits a file into lines, ``parser`` assigns each line to an entry and reads its value by
the syntax that its row in ``keywords`` names (``values``, ``addresses``), ``consistency`` checks
the file as a whole. Errors become ``diagnostics``. ``resolve`` finds the settings of a session,
``effective`` reports them with their lines. ``configuration.parse_configuration`` does it all.
"""
