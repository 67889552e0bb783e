"""What the virtual machine keeps in its own memory: the program under test, and all it is made of.

The machine sees the files of this one through 9p, and every start of a program would ask for them
anew; one that is killed meanwhile ends only when it has its answer. Therefore what a process under
test reads or maps is brought into the machine's memory once, before anything runs. That it is so,
``test_boot`` proves. Used on the host only.
"""

from __future__ import annotations

import compileall
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.vm.paths import (
    CHECKOUT,
    DISTRIBUTION,
    MULTIPATH_TOOLS,
    PACKAGES,
    SYSTEM_PATH,
)

NOT_NEEDED = (
    *("mypy", "mypyc", "*__mypyc*.so", "ruff", "pip", "setuptools", "pkg_resources"),
    *("virtme", "virtme_ng", "config-3.*", "lib2to3", "pydoc_data", "idlelib"),
)
"""Names, wherever they are found, of what is big and of no use inside."""

PROGRAMS = """
    python3 tgtd tgtadm tgtimg sh env mount umount sync blockdev sfdisk mkfs.ext4 mkswap swapon
    swapoff udevadm ip ss tc strace setpriv unshare dmsetup modprobe ldconfig cat sleep
""".split()
"""What the tests start, and the end of a test may kill. One that is not installed is not missed."""

OPENED_LATE = (
    *("/usr/lib/x86_64-linux-gnu/libudev.so.1", "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"),
    *("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache", "/usr/lib/locale/C.utf8"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"),
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf", "/etc/services"),
    *("/etc/ssl/openssl.cnf", "/usr/share/locale/locale.alias"),
)
"""What a running process opens, and no list of libraries names."""

MOUNT = """\
mkdir -p {tree}
mount -t tmpfs -o mode=755 memory {tree}
"""

# Files of an overlay are in memory once their times have been set: that copies them whole.
UNPACK = """\
tar -x -f {archive} -C / || exit 1
touch -a -c {files}
"""


def script(archive: Path) -> str:
    """Return the shell text that brings it all in; ``archive`` is where the machine sees it."""
    mounts = [MOUNT.format(tree=shlex.quote(str(tree))) for tree in trees()]
    files = shlex.join(_files())
    return "".join([*mounts, UNPACK.format(archive=archive, files=files)])


def trees() -> list[Path]:
    """Return the directories of which the machine gets copies, each before what is inside it."""
    found = [CHECKOUT, Path(sys.prefix), Path(sysconfig.get_path("stdlib"))]
    if MULTIPATH_TOOLS.exists():
        found.append(MULTIPATH_TOOLS)
    return sorted({path.resolve() for path in found})


def write_archive(path: Path) -> None:
    """Write one archive of all trees to ``path``: some 60 MB, in less than a second."""
    # The machine would compile at every start what is not compiled.
    compileall.compile_dir(CHECKOUT / "iscsid", quiet=2)
    command = ["tar", "--create", "--file", str(path), "--directory", "/"]
    command += [f"--exclude={name}" for name in NOT_NEEDED]
    command += [str(each.relative_to("/")) for each in _members()]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    # 1: a file changed meanwhile, because another process compiles modules of the same checkout.
    if done.returncode > 1:
        raise OSError(f"no archive for the virtual machine: {done.stderr}")


def _members() -> Iterator[Path]:
    for tree in trees():
        if tree != CHECKOUT:
            yield tree
    # What is hidden there is the history, and what linters keep; but setup's links are needed.
    yield from (each for each in CHECKOUT.iterdir() if not each.name.startswith("."))
    yield CHECKOUT / ".cache"


def _files() -> list[str]:
    """Return single files to be had in memory, on file systems that are overlays inside."""
    library = Path(sysconfig.get_path("stdlib"))
    programs = [found for name in PROGRAMS if (found := shutil.which(name, path=SYSTEM_PATH))]
    programs.append(str(Path(sys.executable).resolve()))
    extensions = [*library.glob("lib-dynload/*.so"), *Path(sys.prefix).glob("lib/**/*.so")]
    multipath = [*MULTIPATH_TOOLS.glob("sbin/*"), *MULTIPATH_TOOLS.glob("lib/**/*.so")]
    libraries = _libraries([*programs, *extensions, *multipath])
    # The link in Debian's library leads out of it.
    links = [(library / "sitecustomize.py").resolve()]
    packages = [DISTRIBUTION / name for name in PACKAGES]
    others = [*map(Path, OPENED_LATE), *links, *packages]
    return [*programs, *libraries, *(name for path in others for name in _all_of(path))]


def _all_of(path: Path) -> Iterator[str]:
    """Yield a file, all files below a directory, or nothing where nothing is."""
    yield from (str(each) for each in [path, *path.rglob("*")] if each.is_file())


def _libraries(objects: Iterable[str | Path]) -> list[str]:
    """Return the path of each shared library that one of ``objects`` is linked with."""
    # Scripts and static programs among them make it complain, and no difference.
    shown = subprocess.run(
        ["ldd", *map(str, objects)], capture_output=True, text=True, env={"LC_ALL": "C"}
    ).stdout
    words = {word for line in shown.splitlines() if line.startswith("\t") for word in line.split()}
    return sorted(word for word in words if word.startswith("/"))
