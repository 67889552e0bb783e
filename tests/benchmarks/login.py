"""Measures logins against a target in memory; prints figures, asserts nothing.

Run it from the repository's root: ``python -m tests.benchmarks.login``. What the scripted target
sends is recorded once and then played back, so that the figures are the exchange's own: keys,
negotiation, CHAP, headers, PDUs, and none of the target's. ``--profile`` shows where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

from iscsid.protocol.chap import RANDOM_OCTETS
from iscsid.protocol.login_exchange import LoginExchange
from iscsid.protocol.parameters import LoginPlan, LoginResult
from tests.target.chap_fixtures import MUTUAL, ONE_WAY, script
from tests.target.pairing import RANDOM, log_in, make_plan
from tests.target.profile import LIO
from tests.target.script import Script

LOGINS = 1000
KNOWING = script(LIO)
CASES: dict[str, tuple[Script, LoginPlan]] = {
    "no authentication": (Script(profile=LIO), make_plan()),
    "one-way CHAP": (KNOWING, ONE_WAY),
    "mutual CHAP": (KNOWING, MUTUAL),
    "discovery": (Script(profile=LIO), make_plan(discovery=True)),
    "text in 20 pieces": (Script(profile=LIO, piece=20), make_plan()),
}


def replay(plan: LoginPlan, responses: list[bytes]) -> None:
    """Log in once, with a driver's habits: send, then read what is wanted, no more."""
    exchange = LoginExchange(plan, RANDOM[:RANDOM_OCTETS])
    for response in responses:
        exchange.data_to_send()
        while response:
            wanted = exchange.bytes_wanted
            exchange.receive_data(response[:wanted])
            response = response[wanted:]
    if not isinstance(exchange.result, LoginResult):
        raise RuntimeError("the login did not go through")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    options = parser.parse_args()
    print(f"{'login':<20} {'answers':>8} {'seconds':>8} {'logins/s':>9} {'µs each':>8}")
    profile = cProfile.Profile()
    for name, (target_script, plan) in CASES.items():
        _, target = log_in(target_script, plan)
        started = time.perf_counter()
        if options.profile:
            profile.enable()
        for _ in range(LOGINS):
            replay(plan, target.sent)
        profile.disable()
        seconds = time.perf_counter() - started
        print(
            f"{name:<20} {len(target.sent):>8} {seconds:>8.3f} {LOGINS / seconds:>9.0f} "
            f"{seconds / LOGINS * 1e6:>8.0f}"
        )
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
