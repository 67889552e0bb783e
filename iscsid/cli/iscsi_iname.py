"""iscsi-iname: prints a new iSCSI name, for /etc/initiatorname.iscsi.

Six random octets make the name as good as unique; Linux-iSCSI's own program hashed clock and host
instead and lost leading zeros. Touches the system's randomness and standard output, nothing else.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from functools import partial

from iscsid import __version__
from iscsid.cli.command import CommandParser, run_command, write_lines
from iscsid.errors import InvalidName
from iscsid.exit_status import ExitStatus
from iscsid.protocol.names import IscsiName, parse_new_name

DEFAULT_PREFIX = "iqn.1987-05.com.cisco:01"
"""Linux-iSCSI's: targets that admitted its names by prefix admit these."""
RANDOM_OCTETS = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``iscsi-iname``; return its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("iscsi-iname", partial(_run, given))


def make_name(prefix: str, octets: bytes) -> IscsiName:
    """Return the iSCSI name of ``prefix`` and ``octets``. Raises ``InvalidName``.

    A colon ends the naming authority and stands but once; behind it a dot separates.
    """
    separator = "." if ":" in prefix else ":"
    return parse_new_name(f"{prefix}{separator}{octets.hex()}")


def make_parser() -> CommandParser:
    parser = CommandParser(
        "iscsi-iname",
        "Print a new iSCSI name for /etc/initiatorname.iscsi.",
        epilog='Use it so: echo "InitiatorName=$(iscsi-iname)" > /etc/initiatorname.iscsi',
    )
    parser.add_argument(
        "-p",
        "--prefix",
        default=DEFAULT_PREFIX,
        help="what the name begins with, an iqn. of your own for instance (default: %(default)s)",
    )
    parser.add_argument("-v", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(arguments: Sequence[str]) -> int:
    parser = make_parser()
    prefix = parser.parse(arguments).prefix
    try:
        name = make_name(prefix, secrets.token_bytes(RANDOM_OCTETS))
    except InvalidName as error:
        parser.error(f"--prefix: {error}")
    write_lines(sys.stdout, [name])
    return ExitStatus.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
