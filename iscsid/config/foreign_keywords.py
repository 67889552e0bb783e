"""Keywords that are none of this file's language: Linux-iSCSI's old ones, and other programs'.

Old keywords of Linux-iSCSI without effect bring a note, so that an old file goes on working. Lines
of open-iscsi's iscsid.conf and of FreeBSD's iscsi.conf are errors that name the keyword to use
instead. Pure.
"""

from __future__ import annotations

WITHOUT_EFFECT = {
    "SLPMulticast": "discovery by SLP does not exist here: use DiscoveryAddress",
    "SLPUnicast": "discovery by SLP does not exist here: use DiscoveryAddress",
    "DiscoveryFile": "discovery from a file was a test aid: use TargetName with Address below it",
    "ReadSize": "it belonged to DiscoveryFile",
    "DefaultAddress": "it belonged to DiscoveryFile",
    "Target,Lun": "LUNs need not be listed to be activated: see LUNs",
}
"""Keywords of Linux-iSCSI that have no effect here, and the note about each."""

OPENED_ENTRIES = frozenset({"SLPMulticast", "SLPUnicast", "DiscoveryFile"})

BY_NAME = {name.lower(): name for name in WITHOUT_EFFECT}

_NOTHING = "nothing in its place"
_OPEN_ISCSI = "open-iscsi's iscsid.conf"
_FREEBSD = "FreeBSD's iscsi.conf"

_OPEN_ISCSI_KEYS = {
    "node.startup": "nothing in its place: all targets found are used, but for Enabled=no",
    "node.leading_login": _NOTHING,
    "node.session.auth.authmethod": "OutgoingUsername and OutgoingPassword: with them CHAP is used",
    "node.session.auth.username": "OutgoingUsername",
    "node.session.auth.password": "OutgoingPassword",
    "node.session.auth.username_in": "IncomingUsername",
    "node.session.auth.password_in": "IncomingPassword",
    "node.session.auth.chap_algs": "CHAPAlgorithms",
    "discovery.sendtargets.auth.authmethod": "DiscoveryCHAP",
    "discovery.sendtargets.auth.username": "DiscoveryUsername",
    "discovery.sendtargets.auth.password": "DiscoveryPassword",
    "discovery.sendtargets.auth.username_in": "DiscoveryIncomingUsername",
    "discovery.sendtargets.auth.password_in": "DiscoveryIncomingPassword",
    "discovery.sendtargets.use_discoveryd": "PollInterval",
    "discovery.sendtargets.discoveryd_poll_inval": "PollInterval",
    "node.session.timeo.replacement_timeout": "ConnFailTimeout, where 0 waits for ever",
    "node.conn[0].timeo.login_timeout": "LoginTimeout",
    "node.conn[0].timeo.auth_timeout": "AuthTimeout",
    "node.conn[0].timeo.noop_out_interval": "ActiveTimeout and IdleTimeout",
    "node.conn[0].timeo.noop_out_timeout": "PingTimeout",
    "node.session.err_timeo.abort_timeout": "AbortTimeout",
    "node.session.err_timeo.lu_reset_timeout": "ResetTimeout",
    "node.session.err_timeo.tgt_reset_timeout": "ResetTimeout",
    "node.session.initial_login_retry_max": "LoginRetries",
    "node.session.reopen_max": "LoginRetries",
    "node.session.iscsi.initialr2t": "InitialR2T",
    "node.session.iscsi.immediatedata": "ImmediateData",
    "node.session.iscsi.firstburstlength": "FirstBurstLength",
    "node.session.iscsi.maxburstlength": "MaxBurstLength",
    "node.session.nr_sessions": "Sessions",
    "node.session.cmds_max": "CommandsMax",
    "node.session.queue_depth": "QueueDepth",
    "iface.net_ifacename": "Interface",
    "iface.initiatorname": "InitiatorName, indented below DiscoveryAddress or TargetName",
    "node.conn[0].iscsi.headerdigest": "HeaderDigest",
    "node.conn[0].iscsi.datadigest": "DataDigest",
    "node.conn[0].iscsi.maxrecvdatasegmentlength": "MaxRecvDataSegmentLength",
    "node.conn[0].tcp.window_size": "TCPWindowSize",
}
_OPEN_ISCSI_PREFIXES = ("node.", "discovery.", "discoverydaemon.", "iscsid.", "iface.", "isns.")

_FREEBSD_KEYS = {
    "targetaddress": "Address, indented below TargetName",
    "authmethod": "OutgoingUsername and OutgoingPassword: with them CHAP is used",
    "chapiname": "OutgoingUsername",
    "chapsecret": "OutgoingPassword",
    "tgtchapname": "IncomingUsername",
    "tgtchapsecret": "IncomingPassword",
    "enable": "Enabled",
    "sessiontype": "DiscoveryAddress or TargetName",
    "offload": _NOTHING,
    "protocol": _NOTHING,
    "port": "a port behind the address: host:port",
}


def whose(keyword: str) -> tuple[str, str] | None:
    """Return which program has this keyword, and what to write instead; ``None``: unknown.

    Neither repeats the keyword, which may be anything.
    """
    name = keyword.lower()
    if name == "initiatoralias":
        return "the file of the initiator's name", "it there: /etc/initiatorname.iscsi"
    if name in _FREEBSD_KEYS:
        return _FREEBSD, _FREEBSD_KEYS[name]
    if name.startswith(_OPEN_ISCSI_PREFIXES):
        return _OPEN_ISCSI, _OPEN_ISCSI_KEYS.get(name, _NOTHING)
    return None
