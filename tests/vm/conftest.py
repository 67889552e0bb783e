"""What the tests inside the virtual machine share: a target of either kind, and the daemon.

Whatever a test leaves behind is swept away, in the order that hangs nothing: the daemon ends, the
kernel's sessions go while their target still answers, then the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iscsid.kernel.interface import Kernel
from tests.vm import disks, kernel_helpers, sessions
from tests.vm.daemon import Daemon
from tests.vm.lio import Lio
from tests.vm.tgtd import Tgtd

Target = Tgtd | Lio

# If a connection ends without a logout, that kernel panics now and then: "Segfault with no mm" in
# transport_free_session, or in configfs when the target is removed.
needs_lio = pytest.mark.emulated("LIO crashes user-mode Linux")
LIO = pytest.param("lio", marks=needs_lio)
"""The parameter of a test that has LIO for its target."""

with_tgtd = pytest.mark.parametrize("target", ["tgtd"], indirect=True)
with_lio = pytest.mark.parametrize("target", [LIO], indirect=True)
"""For what does not depend on the target."""


@pytest.fixture(params=["tgtd", LIO])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target without targets: tgtd for one run of the test, LIO for another."""
    exporter: Target = Tgtd() if request.param == "tgtd" else Lio()
    yield exporter
    exporter.stop()


@pytest.fixture
def tgtd(request: pytest.FixtureRequest) -> Iterator[Tgtd]:
    """Where one kind of target is enough. Its parameter, if any, is another portal."""
    exporter = Tgtd(getattr(request, "param", "127.0.0.1:3260"))
    yield exporter
    exporter.stop()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return disks.make_file(tmp_path / "image", 32)


@pytest.fixture
def kernel(target: Target, image: Path) -> Iterator[Kernel]:
    """The interface without a daemon, beside a target with one disk at LUN 1."""
    digests = {"HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"}
    target.add_target(kernel_helpers.TARGET, {1: image}, parameters=digests)
    with kernel_helpers.opened() as kernel:
        yield kernel


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons; each call is one with files of its own."""
    made: list[Daemon] = []

    def make(**options: str) -> Daemon:
        directory = tmp_path / f"daemon{len(made)}"
        directory.mkdir()
        made.append(Daemon(directory, **options))
        return made[-1]

    yield make
    for daemon in made:
        daemon.end()
    sessions.destroy_all()


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    return make_daemon()


# A test that names ``target`` and ``daemon`` gets the target first, so that the daemon goes first.
