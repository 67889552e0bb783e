"""How long it takes to read a long configuration and to ask it: prints figures, judges nothing.

Run it as ``python tests/benchmarks/configuration.py``. What is linear doubles from line to line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec

sys.path.insert(0, str(Path(__file__).parents[2]))

from iscsid.config.configuration import (
    Configuration,  # noqa: E402
    parse_configuration,  # noqa: E402
)
from iscsid.config.diagnostics import ConfigurationErrors  # noqa: E402
from iscsid.config.effective import format_json, report  # noqa: E402
from iscsid.protocol.names import IscsiName, Portal  # noqa: E402

SIZES = (2_500, 5_000, 10_000, 20_000)


def name(number: int) -> IscsiName:
    return IscsiName(f"iqn.2001-04.com.example:disk{number}")


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def targets(lines: int) -> str:
    """Return a file of targets with an address and two settings each."""
    return "".join(
        f"TargetName={name(number)}\n  Address={address(number)}\n"
        f"  LoginTimeout={number % 50 + 1}\n  HeaderDigest=always\n"
        for number in range(lines // 4)
    )


def interleaved(lines: int) -> str:
    """Return a file in which globals change before every entry."""
    return "".join(
        f"LoginTimeout={number % 50 + 1}\nTargetName={name(number)}\n"
        f"  LUNs=0-{number % 9}\nSubnet={address(number)}\n"
        for number in range(lines // 4)
    )


def mistakes(lines: int) -> str:
    return "".join(f"LoginTimeut{number}={number}\n" for number in range(lines))


P = ParamSpec("P")


def seconds(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    start = time.perf_counter()
    work(*args, **kwargs)
    return time.perf_counter() - start


def parse(text: str) -> Configuration | ConfigurationErrors:
    try:
        return parse_configuration(text, "benchmark")
    except ConfigurationErrors as errors:
        return errors


def ask(configuration: Configuration, count: int) -> None:
    for number in range(count):
        configuration.session_settings(name(number), Portal(address(number)), None)


def show(configuration: Configuration) -> str:
    return "\n".join(format_json(configuration, report(configuration)))


def row(title: str, figures: Iterable[float]) -> None:
    print(f"{title:24}" + "".join(f"{figure:9.3f}s" for figure in figures))


def main() -> None:
    print(f"{'lines':24}" + "".join(f"{size:>10}" for size in SIZES))
    for kind in (targets, interleaved, mistakes):
        row(f"read {kind.__name__}", (seconds(parse, kind(size)) for size in SIZES))
    for kind in (targets, interleaved):
        files = [parse_configuration(kind(size), "benchmark") for size in SIZES]
        numbers = zip(files, SIZES, strict=True)
        row(f"ask {kind.__name__}", (seconds(ask, file, size) for file, size in numbers))
        row(f"show {kind.__name__}", (seconds(show, file) for file in files))


if __name__ == "__main__":
    main()
