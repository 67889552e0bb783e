"""The Debian package: what is in it, what lintian reports, and what it does when it comes and goes.

It is installed into a Debian in a folder, by chroot; no daemon is started there.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from iscsid import __version__
from tests.packaging.readme import commands
from tests.packaging.root_image import Root
from tests.vm.paths import CHECKOUT

pytestmark = pytest.mark.limit(300)

SCRIPT = CHECKOUT / "etc/init.d/iscsid"
CONTENT = """
    /usr/sbin/iscsid /usr/bin/iscsi-ls /usr/bin/iscsi-iname
    /usr/share/man/man1/iscsi-ls.1.gz /usr/share/man/man5/iscsi.conf.5.gz
    /usr/share/man/man8/iscsid.8.gz /usr/share/man/man8/iscsi-iname.8.gz
    /usr/share/doc/iscsid/examples/iscsi.conf.example /usr/share/doc/iscsid/NEWS.gz
    /lib/systemd/system/iscsid.service /lib/systemd/system/iscsid-sessions.service
    /lib/systemd/system/iscsid-shutdown.service
    /usr/lib/systemd/system-generators/iscsid-fstab-generator
    /lib/udev/rules.d/90-iscsid.rules /usr/lib/udev/iscsid-name
    /usr/lib/modules-load.d/iscsid.conf /usr/lib/iscsid/iscsid-service
    /etc/init.d/iscsid /etc/init.d/iscsid-shutdown /etc/default/iscsid
    /usr/lib/iscsid/boot-configuration /usr/share/initramfs-tools/hooks/iscsid
    /usr/share/initramfs-tools/scripts/local-top/iscsid
    /usr/share/initramfs-tools/scripts/local-bottom/iscsid
    /usr/share/initramfs-tools/conf-hooks.d/iscsid
    /usr/share/bash-completion/completions/iscsid /usr/share/bash-completion/completions/iscsi-ls
    /usr/share/zsh/vendor-completions/_iscsid /usr/share/zsh/vendor-completions/_iscsi-ls
""".split()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root(tmp_path_factory.mktemp("debian"))


def field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_lintian_finds_nothing(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--info", "--display-info", "--pedantic", str(package)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_package_is_for_every_machine_and_every_python_of_debian(package: Path) -> None:
    assert field(package, "Architecture") == "all"
    depends = field(package, "Depends").split(", ")
    assert {"python3-daemon", "python3-lockfile", "python3-pyudev", "udev", "kmod"} <= set(depends)
    assert "python3:any (>= 3.11~)" in depends
    listed = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
    ).stdout
    assert "./usr/lib/python3/dist-packages/iscsid/__init__.py" in listed
    assert "python3.1" not in listed


def test_package_excludes_those_with_programs_of_the_same_names(package: Path) -> None:
    assert field(package, "Conflicts") == "libiscsi-bin, open-iscsi"


def test_package_comes_goes_and_leaves_what_is_the_administrators(
    root: Root, package: Path, higher_package: Path
) -> None:
    """Installation, upgrade, removal, installation again, purge; the name stays until the end."""
    root.bring(package)
    said = root.shell(commands("Install")[-1])
    assert "this initiator is now iqn." in said
    content = root.run("dpkg", "--listfiles", "iscsid").stdout.split()
    assert set(content) >= set(CONTENT)
    assert root.run("iscsid", "--version").stdout == f"iscsid {__version__}\n"
    assert root.run("iscsi-iname").stdout.startswith("iqn.")
    verified = root.run("systemd-analyze", "verify", "--man=no", "iscsid.service", check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert root.run("systemctl", "is-enabled", "iscsid").stdout == "enabled\n"
    assert not (root.path / "etc/iscsi.conf").exists()

    name = (root.path / "etc/initiatorname.iscsi").read_text()
    assert name.startswith("InitiatorName=iqn.")
    root.write({"/etc/iscsi.conf": "LoginRetries=1\n", "/var/iscsi/bindings": "0 0 iqn.a\n"})
    higher = root.bring(higher_package)
    root.shell(f"apt-get install {higher}")
    kept = ("/etc/iscsi.conf", "/etc/initiatorname.iscsi", "/var/iscsi/bindings")
    remove, purge = commands("Removal")
    root.shell(remove)
    assert all((root.path / path[1:]).exists() for path in kept)
    assert not (root.path / "usr/sbin/iscsid").exists()
    root.shell(f"apt-get install {higher}")
    assert (root.path / "etc/initiatorname.iscsi").read_text() == name

    root.shell(purge)
    for path in (*kept, "/var/iscsi", "/etc/default/iscsid", "/etc/init.d/iscsid"):
        assert not (root.path / path[1:]).exists()
    left = subprocess.run(
        ["find", root.path, "-name", "*iscsid*", "-not", "-path", "*/modules/*"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line for line in left.split() if not line.endswith(".deb")] == []


def test_packages_that_build_it_are_those_of_the_readme() -> None:
    *install, build, _ = commands("Install")
    assert build == "sh tests/build-deb"
    for command in install:
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} --simulate"], capture_output=True, text=True, timeout=60
        )
        assert " 0 newly installed" in done.stdout, "the tests have built it without them"


def test_version_of_the_package_is_that_of_the_program() -> None:
    assert (CHECKOUT / "debian/changelog").read_text().startswith(f"iscsid ({__version__}) ")
    assert f"\n{__version__}\n" in (CHECKOUT / "NEWS").read_text()


OLD_FILES = """
    /etc/init.d/iscsi /etc/systemd/system/iscsid.service /etc/udev/rules.d/90-iscsid.rules
    /usr/local/sbin/iscsid /usr/local/sbin/iscsi-ls /usr/local/sbin/iscsi-iname
    /opt/iscsid/bin/iscsid
""".split()


def test_package_takes_the_place_of_an_installation_by_pip(
    tmp_path_factory: pytest.TempPathFactory, package: Path
) -> None:
    root = Root(tmp_path_factory.mktemp("pip"))
    kept = {
        "/etc/iscsi.conf": "LoginRetries=1\n",
        "/etc/initiatorname.iscsi": "InitiatorName=iqn.2026-01.org.example:here\n",
        "/var/iscsi/bindings": "0 0 iqn.2026-01.org.example:there\n",
    }
    header = re.findall(r"(?s)#!/bin/sh.*?END INIT INFO\n", SCRIPT.read_text())[0]
    root.write({name: header for name in OLD_FILES} | kept)
    root.shell("update-rc.d iscsi defaults", "sleep 60 >/dev/null 2>&1 & echo $! >/run/iscsid.pid")
    root.bring(package)
    root.shell(*commands("From an installation by pip"), commands("Install")[-1])
    assert [name for name in OLD_FILES if (root.path / name[1:]).exists()] == []
    assert list((root.path / "etc").glob("rc*.d/*iscsi")) == []
    for name, text in kept.items():
        assert (root.path / name[1:]).read_text() == text
    assert root.shell("command -v iscsid") == "/usr/sbin/iscsid\n"


def test_licence_of_the_package_is_that_of_the_program() -> None:
    _, of_the_package = (CHECKOUT / "debian/copyright").read_text().split("\n\nLicense: ")
    name, text = of_the_package.split("\n", 1)
    assert f"\nlicense = {name}\n" in (CHECKOUT / "setup.cfg").read_text()
    _, licence = (CHECKOUT / "LICENSE").read_text().split("\n", 1)
    assert [word for word in text.split() if word != "."] == licence.split()


def test_wheel_and_sdist_carry_manual_pages_and_data(tmp_path: Path) -> None:
    """Built by Debian's setuptools, as pip would; nothing in it is deprecated there."""
    source = tmp_path / "source"
    copy = f"git ls-files -z ':!tests' | xargs -0 cp --parents -t {source}"
    source.mkdir()
    subprocess.run(["/bin/sh", "-c", copy], cwd=CHECKOUT, check=True)
    build = "import setuptools.build_meta as b; b.build_wheel('..'); b.build_sdist('..')"
    done = subprocess.run(
        ["/usr/bin/python3", "-W", "default", "-c", build],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "deprecat" not in (done.stdout + done.stderr).lower()
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    in_wheel = subprocess.run(
        ["/usr/bin/python3", "-m", "zipfile", "-l", wheel], capture_output=True, text=True
    ).stdout
    in_sdist = subprocess.run(["tar", "-tzf", sdist], capture_output=True, text=True).stdout
    for name in (
        *("man/man8/iscsid.8", "man/man5/iscsi.conf.5", "man/man1/iscsi-ls.1"),
        *("doc/iscsid/examples/iscsi.conf.example", "iscsid/iscsid-service"),
        *(
            "iscsid/systemd/iscsid.service",
            "iscsid/udev/90-iscsid.rules",
            "iscsid/udev/iscsid-name",
        ),
        *("iscsid/init.d/iscsid", "iscsid/init.d/iscsid-shutdown", "iscsid/default/iscsid"),
        *("bash-completion/completions/iscsid", "zsh/site-functions/_iscsid"),
        *("iscsid/initramfs-tools/hooks/iscsid", "iscsid/initramfs-tools/boot-configuration"),
    ):
        assert f"data/share/{name}" in in_wheel
    for name in ("etc/systemd/iscsid.service", "man/iscsid.8", "NEWS", "LICENSE", "README.md"):
        assert f"/{name}\n" in in_sdist
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode().splitlines()
    assert {"License: BSD-2-Clause", "License-File: LICENSE"} <= set(metadata)
