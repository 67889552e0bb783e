"""``--from-open-iscsi``: prints an iscsi.conf that means what open-iscsi's node database means.

Meanings are converted, not numbers: replacement_timeout=0 fails I/O at once there, while
ConnFailTimeout=0 waits for ever here. What has no counterpart becomes a comment. May read the
database, which only root can because of its secrets, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from iscsid.bindings.allocation import Bindings
from iscsid.cli.command import write_lines
from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.errors import InvalidName, IscsidError, Retry
from iscsid.exit_status import ExitStatus
from iscsid.initiator.planning import plan_sessions
from iscsid.initiator.sources import KnownTarget
from iscsid.protocol.names import Portal, parse_iscsi_name
from iscsid.protocol.printable import printable

DIRECTORIES = ("/etc/iscsi", "/var/lib/iscsi")
"""Where distributions keep the database: Debian and SUSE, Red Hat."""
LONGEST_FILE = 1 << 16
STARTED = ("automatic", "onboot")
BINDINGS = "#bindings:"
"""Begins the lines of the bindings file, for sed(1)."""

_HEAD = """\
# Made by 'iscsid --from-open-iscsi' from {directory}. Read the comments, then check it:
#     iscsid --check -f FILE
# Targets are named with their addresses, so that the same sessions are made as before. To find new
# targets, too, remove the '#' before a DiscoveryAddress.
"""
_SECONDS = {
    "node.session.err_timeo.abort_timeout": ("AbortTimeout", 1),
    "node.session.err_timeo.lu_reset_timeout": ("ResetTimeout", 1),
    "node.conn[0].timeo.login_timeout": ("LoginTimeout", 0),
    "node.conn[0].timeo.auth_timeout": ("AuthTimeout", 0),
    "node.conn[0].timeo.noop_out_timeout": ("PingTimeout", 0),
}
"""The keyword of each, and the least value it may have."""
_SAME = {
    "node.session.iscsi.InitialR2T": "InitialR2T",
    "node.session.iscsi.ImmediateData": "ImmediateData",
    "node.session.iscsi.FirstBurstLength": "FirstBurstLength",
    "node.session.iscsi.MaxBurstLength": "MaxBurstLength",
    "node.conn[0].iscsi.MaxRecvDataSegmentLength": "MaxRecvDataSegmentLength",
    "node.conn[0].tcp.window_size": "TCPWindowSize",
    "node.session.auth.chap_algs": "CHAPAlgorithms",
    "node.session.queue_depth": "QueueDepth",
    "node.session.nr_sessions": "Sessions",
    "iface.net_ifacename": "Interface",
}
_DIGESTS = {
    "None": "never",
    "CRC32C": "always",
    "CRC32C,None": "prefer-on",
    "None,CRC32C": "prefer-off",
}
_UNCONVERTED = {
    "node.session.scan": "auto",
    "iface.transport_name": "tcp",
    "iface.hwaddress": "default",
    "iface.ipaddress": "",
}
"""What has no keyword here, and the value that needs none."""

Record = dict[str, str]


@dataclass(slots=True)
class _OldTarget:
    """One target of the database, with what its entry will hold."""

    name: str
    addresses: list[str] = field(default_factory=list)
    """Of the portals that open-iscsi logs in to at boot, or of all if there are none."""
    others: list[str] = field(default_factory=list)
    is_started: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    """What stays below the target, whatever others have: the InitiatorName, too."""
    remarks: list[str] = field(default_factory=list)


def run_conversion(directory: str, stdout: TextIO) -> int:
    """Print the configuration; return the exit status. Raises ``IscsidError``."""
    found = [each for each in ([directory] if directory else DIRECTORIES) if _has_database(each)]
    if not found:
        where = directory or " or ".join(DIRECTORIES)
        raise IscsidError(f"there is no node database of open-iscsi in {where}", retry=Retry.NEVER)
    try:
        nodes = list(_records(Path(found[0]) / "nodes"))
        discoveries = list(_records(Path(found[0]) / "send_targets"))
    except OSError as error:
        advice = "run as root: the database holds secrets"
        raise IscsidError(f"{error.filename}: {error.strerror}", advice=advice) from None
    write_lines(stdout, convert(found[0], nodes, discoveries))
    return ExitStatus.SUCCESS


def convert(directory: str, nodes: list[Record], discoveries: list[Record]) -> list[str]:
    """Return the lines of the configuration."""
    targets = _targets(nodes)
    common = _common(targets)
    lines = _HEAD.format(directory=printable(directory)).splitlines()
    lines += [f"{keyword}={value}" for keyword, value in common.items()]
    for record in discoveries:
        lines += _discovery(record)
    for target in targets:
        lines += _entry(target, common)
    text = "\n".join(lines)
    try:
        configuration = parse_configuration(text, "iscsi.conf")
    except ConfigurationErrors as error:
        return [*lines, "", "# To be mended:", *(f"#     {line}" for line in error.lines)]
    return [*lines, "", *_names(configuration)]


def _has_database(directory: str) -> bool:
    return (Path(directory) / "nodes").is_dir() or (Path(directory) / "send_targets").is_dir()


def _records(directory: Path) -> Iterator[Record]:
    """Yield every record below a directory, in the order of the file names."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            continue  # of a send_targets directory to nodes/, where the record is read
        if path.is_dir():
            yield from _records(path)
        else:
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                yield _parse(file.read(LONGEST_FILE))


def _parse(text: str) -> Record:
    pairs = (line.partition(" = ") for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _targets(nodes: list[Record]) -> list[_OldTarget]:
    targets: dict[str, _OldTarget] = {}
    for record in nodes:
        name, host = record.get("node.name", ""), record.get("node.conn[0].address", "")
        try:
            parse_iscsi_name(name)
            address = str(Portal(host, int(record.get("node.conn[0].port", "3260"))))
        except (InvalidName, ValueError):
            continue  # not a record of a node
        tag = record.get("node.tpgt", "-1")
        address += f",{tag}" if tag.isdecimal() else ""
        target = targets.setdefault(name, _OldTarget(name))
        is_started = record.get("node.startup") in STARTED
        if is_started and not target.is_started:
            # Only portals that are started count, if there are any.
            target.others, target.addresses, target.is_started = target.addresses, [], True
            target.settings, target.credentials, target.remarks = {}, {}, []
        if address in target.addresses:
            target.remarks.append(f"# {address} has several records: one session is made")
        elif target.is_started and not is_started:
            target.others.append(address)
        else:
            target.addresses.append(address)
            _read_settings(record, target, address)
    return list(targets.values())


def _read_settings(record: Record, target: _OldTarget, address: str) -> None:
    """Take over the settings of one portal; the first one decides if they differ."""
    settings, remarks = _settings(record)
    credentials = _credentials(record, "node.session.auth.")
    if name := record.get("iface.initiatorname", ""):
        credentials["InitiatorName"] = name
    if not target.settings:
        target.settings, target.credentials = settings, credentials
        target.remarks += remarks
    elif (settings, credentials) != (target.settings, target.credentials):
        target.remarks.append(f"# {address} has settings of its own: those of the first hold here")


def _settings(record: Record) -> tuple[dict[str, str], list[str]]:
    settings: dict[str, str] = {}
    remarks: list[str] = []
    wait = _number(record, "node.session.timeo.replacement_timeout")
    if wait is not None:
        settings["ConnFailTimeout"] = "0" if wait < 0 else f"{max(wait, 1)}s"
        if wait == 0:
            remarks.append("# replacement_timeout=0 failed I/O at once; 1s is the shortest here")
    for key, (keyword, least) in _SECONDS.items():
        seconds = _number(record, key)
        if seconds is not None and seconds >= 0:
            settings[keyword] = f"{max(seconds, least)}s"
    interval = _number(record, "node.conn[0].timeo.noop_out_interval")
    if interval == 0:
        settings["PingTimeout"] = "0"  # no pings
    elif interval is not None and interval > 0:
        # The shorter of the two counts.
        settings["ActiveTimeout"] = settings["IdleTimeout"] = f"{interval}s"
    for key, keyword in _SAME.items():
        if value := record.get(key, ""):
            settings[keyword] = value
    commands = _number(record, "node.session.cmds_max")
    if commands is not None:
        # Rounded down to a power of two, as by the kernel.
        settings["CommandsMax"] = str(1 << (min(max(commands, 16), 4096).bit_length() - 1))
    service = _number(record, "node.conn[0].tcp.type_of_service")
    if service is not None and service > 0:
        settings["DSCP"] = str(service >> 2)  # without the two bits of ECN
    for digest in ("HeaderDigest", "DataDigest"):
        value = record.get(f"node.conn[0].iscsi.{digest}", "")
        if value in _DIGESTS:
            settings[digest] = _DIGESTS[value]
    for key, usual in _UNCONVERTED.items():
        if (value := record.get(key, usual)) != usual:
            remarks.append(f"# not converted: {key} = {printable(value)}")
    return settings, remarks


def _number(record: Record, key: str) -> int | None:
    try:
        return int(record.get(key, ""))
    except ValueError:
        return None


def _credentials(record: Record, prefix: str) -> dict[str, str]:
    # open-iscsi uses credentials that are there whatever authmethod is.
    keywords = {
        "OutgoingUsername": "username",
        "OutgoingPassword": "password",
        "IncomingUsername": "username_in",
        "IncomingPassword": "password_in",
    }
    found = ((keyword, record.get(prefix + key, "")) for keyword, key in keywords.items())
    return {keyword: _quoted(value) for keyword, value in found if value}


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _common(targets: list[_OldTarget]) -> dict[str, str]:
    """Return the settings that are the same for all targets: they become globals."""
    if not targets:
        return {}
    first, *others = (target.settings for target in targets)
    return {
        keyword: value
        for keyword, value in first.items()
        if all(each.get(keyword) == value for each in others)
    }


def _discovery(record: Record) -> Iterator[str]:
    host = record.get("discovery.sendtargets.address", "")
    port = record.get("discovery.sendtargets.port", "3260")
    if not host or not port.isdecimal():
        return
    yield ""
    yield f"#DiscoveryAddress={printable(str(Portal(host, int(port))))}"
    credentials = _credentials(record, "discovery.sendtargets.auth.")
    yield from (f"#    {keyword}={value}" for keyword, value in credentials.items())
    interval = _number(record, "discovery.sendtargets.discoveryd_poll_inval")
    if record.get("discovery.sendtargets.use_discoveryd") == "Yes" and interval:
        yield f"#    PollInterval={interval}s"


def _entry(target: _OldTarget, common: dict[str, str]) -> Iterator[str]:
    yield ""
    yield f"TargetName={target.name}"
    yield from (f"    {remark}" for remark in target.remarks)
    yield from (f"    Address={address}" for address in target.addresses)
    yield from (f"    # node.startup is manual: Address={address}" for address in target.others)
    if not target.is_started:
        yield "    # node.startup is manual: no session is made before this line is removed"
        yield "    Enabled=no"
    if len(target.addresses) > 1:
        yield "    # one session for each portal, as before"
        yield "    Multipath=portal"
    for keyword, value in (target.credentials | target.settings).items():
        if keyword not in common:
            yield f"    {keyword}={value}"


def _names(configuration: Configuration) -> Iterator[str]:
    """Yield the bindings that these targets get, and what their disks were called before."""
    bindings, by_path = Bindings(), []
    for static in configuration.static_targets:
        source = KnownTarget(None, static.addresses, static.spelling)
        plans, _ = plan_sessions(static.target_name, source, configuration, bindings)
        bindings.spell(static.target_name, static.name_to_send)
        for plan in plans:
            if plan.session_number > 1:
                continue  # All sessions with one portal had one name.
            name = f"/dev/iscsi/bus{plan.binding.bus}/target{plan.binding.target}/lunN/disk"
            portal = plan.options[0].portal
            old = f"ip-{portal.host}:{portal.port}-iscsi-{plan.target_name}-lun-N"
            by_path += [f"#     /dev/disk/by-path/{old}", f"#         is {name}"]
    yield from (f"{BINDINGS} {entry}" for entry in bindings)
    if by_path:
        yield from ("", "# The names of the disks, for fstab:", *by_path)
