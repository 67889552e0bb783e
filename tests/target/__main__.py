"""A scripted target for initiators that are programs: ``python -m tests.target --help``."""

from __future__ import annotations

import argparse

from tests.target.portal import listen, serve
from tests.target.profile import PROFILES
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget


def _account(text: str) -> tuple[str, bytes]:
    name, _, secret = text.partition(":")
    return name, secret.encode()


def main() -> None:
    profiles = {profile.name: profile for profile in PROFILES}
    parser = argparse.ArgumentParser(prog="python -m tests.target", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--profile", choices=profiles, default="tgtd")
    parser.add_argument(
        "--account", type=_account, action="append", default=[], metavar="NAME:SECRET"
    )
    parser.add_argument("--own-account", type=_account, metavar="NAME:SECRET")
    parser.add_argument("--targets", type=int, default=1, help="how many are listed")
    options = parser.parse_args()
    listener = listen(options.host, options.port)
    port = listener.getsockname()[1]
    address = f"[{options.host}]:{port},1" if ":" in options.host else f"{options.host}:{port},1"
    names = (f"iqn.2024-01.org.example:scripted{number}" for number in range(options.targets))
    script = Script(
        profile=profiles[options.profile],
        accounts=dict(options.account),
        own_account=options.own_account,
        listed=tuple(Listed(name, (address,)) for name in names),
    )
    print(port, flush=True)
    serve(listener, lambda: ScriptedTarget(script))


if __name__ == "__main__":
    main()
