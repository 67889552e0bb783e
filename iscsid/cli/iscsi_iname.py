"""iscsi-iname: prints a new iSCSI name, for /etc/initiatorname.iscsi.

Six random octets make the name as good as unique; Linux-iSCSI's own program hashed clock and host
instead and lost leading zeros. Touches the system's randomness and standard output, nothing else.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence

from iscsid import __version__
from iscsid.errors import InvalidName
from iscsid.protocol.names import IscsiName, parse_iscsi_name

DEFAULT_PREFIX = "iqn.1987-05.com.cisco:01"
"""Linux-iSCSI's: what targets were told to admit then is admitted still."""
RANDOM_OCTETS = 6


def make_name(prefix: str, octets: bytes) -> IscsiName:
    """Return the iSCSI name of ``prefix`` and ``octets``. Raises ``InvalidName``.

    A colon ends the naming authority and stands but once; behind it a dot separates.
    """
    separator = "." if ":" in prefix else ":"
    return parse_iscsi_name(f"{prefix}{separator}{octets.hex()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a name and return the exit status: 0, or 2 for a prefix that makes no name."""
    parser = argparse.ArgumentParser(
        prog="iscsi-iname",
        description="Print a new iSCSI name for /etc/initiatorname.iscsi.",
        epilog='Use it so: echo "InitiatorName=$(iscsi-iname)" > /etc/initiatorname.iscsi',
    )
    parser.add_argument(
        "-p",
        "--prefix",
        default=DEFAULT_PREFIX,
        help="what the name begins with, an iqn. of your own for instance (default: %(default)s)",
    )
    parser.add_argument("-v", "--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    try:
        name = make_name(options.prefix, secrets.token_bytes(RANDOM_OCTETS))
    except InvalidName as error:
        parser.error(f"argument -p: {error}")
    sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
