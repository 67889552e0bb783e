"""The manual page and the program say the same: options, signals, files, exit statuses, defaults.

Also, that no promise of the two pages this daemon descends from was lost on the way. Quotations
are from those pages, Linux-iSCSI's of 2003 and FreeBSD's.
"""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from iscsid import __version__
from iscsid.cli.options import TABLE, Options
from iscsid.exit_status import ExitStatus
from iscsid.process import log, signals

PAGE = Path(__file__).parents[2] / "man" / "iscsid.8"


def plain(text: str) -> str:
    """Return roff text as words: without requests, font changes and escapes."""
    text = re.sub(r'(?m)^\.\\".*$', "", text)
    text = re.sub(r"(?m)^\.(SH|PP|TP|RS|RE|nf|fi|br|TH|IP).*$", "", text)
    text = re.sub(r"(?m)^\.[BI] ", "", text)
    text = re.sub(r"(?m)^\.(BR|IR|RB|RI|BI|IB) (.*)$", lambda m: _joined(m[2]), text)
    return re.sub(r"\\f[BIPR]", "", text).replace("\\-", "-").replace("\\e", "\\")


def _joined(words: str) -> str:
    """Alternating fonts are set without blanks between them."""
    return "".join(re.sub(r'^"|"$', "", word) for word in re.findall(r'"[^"]*"|\S+', words))


def section(name: str) -> str:
    """Return the roff of one section."""
    found = re.search(rf'(?ms)^\.SH "?{name}"?\n(.*?)(?=^\.SH|\Z)', PAGE.read_text())
    assert found, f"there is no section {name}"
    return found[1]


def terms(name: str) -> list[str]:
    """Return what the paragraphs of a section are about: the line after each ``.TP``."""
    return [plain(line).strip() for line in re.findall(r"(?m)^\.TP\n(.*\n)", section(name))]


def about(name: str, term: str) -> str:
    """Return what a section says of one of its terms, as one line."""
    for paragraph in section(name).split(".TP\n")[1:]:
        line, _, text = paragraph.partition("\n")
        if plain(line).strip() == term:
            return " ".join(plain(text).split())
    raise AssertionError(f"{name} does not explain {term}")


def words() -> str:
    return " ".join(plain(PAGE.read_text()).split())


# --- the page and the program ---------------------------------------------------------------------


def test_every_option_is_in_the_page_and_every_one_of_the_page_in_the_program() -> None:
    def name(spelling: str) -> str:
        return re.sub(r"\[?=.*", "", spelling)

    assert [name(term) for term in terms("OPTIONS")] == [name(row.spelling) for row in TABLE]


def test_every_option_takes_a_value_in_both_or_in_neither() -> None:
    for term, row in zip(terms("OPTIONS"), TABLE, strict=True):
        assert ("=" in term) == bool(row.value), term
        assert ("[=" in term) == row.value.startswith("["), term


def test_the_synopsis_uses_only_options_there_are() -> None:
    text = plain(section("SYNOPSIS"))
    known = {f"--{row.name}" for row in TABLE} | {f"-{row.letter}" for row in TABLE if row.letter}
    used = set(re.findall(r"(?<![\w-])--[a-z-]+|(?<![\w-])-[a-zA-Z]\b", text))
    assert used - known == set()
    flags = re.search(r"\[-([a-z]+)\]", text)
    assert flags and all(f"-{letter}" in known for letter in flags[1])


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("-b, --bindings=bindingfile", Options().bindings),
        ("-d, --debug", "zero (off)"),
        ("-f, --config=configfile", Options().config),
        ("-l, --basedir=basedir", Options().basedir),
        ("-m, --mode=mode", f"{Options().mode:04o}"),
        ("-P, --pidfile=pidfile", Options().pidfile),
        ("-t, --login-timeout=seconds", f"default is {Options().login_timeout}"),
        ("--max-processes=number", f"default is {Options().max_processes}"),
        ("--initiatorname=file", Options().initiatorname),
    ],
)
def test_the_defaults_of_the_page_are_those_of_the_program(option: str, default: str) -> None:
    assert default in about("OPTIONS", option)


def test_the_signals_of_the_page_are_those_the_program_hears() -> None:
    heard = [signal.Signals(number).name for number in (*signals.HANDLED, *signals.IGNORED)]
    assert sorted(terms("SIGNALS")) == sorted(heard)


def test_the_exit_statuses_of_the_page_are_those_of_the_program() -> None:
    assert terms("EXIT STATUS") == [str(int(status)) for status in ExitStatus]


def test_the_files_of_the_page_are_the_defaults_of_the_program() -> None:
    options = Options()
    files = {
        options.config,
        options.initiatorname,
        options.pidfile,
        options.bindings,
        options.basedir,
    }
    assert files <= set(terms("FILES"))
    others = set(terms("FILES")) - files
    assert others == {"/run/iscsid/devices", "/run/iscsid/status.json", "/etc/init.d/iscsi"}


def test_no_other_file_is_named_without_being_explained() -> None:
    named = set(re.findall(r"(?<![\w.*])/(?:etc|var|run|dev|proc)(?:/[\w.]+)+", words()))
    known = set(terms("FILES")) | {"/etc/fstab", "/dev/sda", "/dev/sdb", "/proc/scsi/iscsi"}
    below = {name for name in named if name.startswith("/dev/iscsi/bus")}
    assert {name.rstrip(".") for name in named} - known - below == set()


def test_the_page_is_of_this_version() -> None:
    assert f'"iscsid {__version__}"' in PAGE.read_text()


def test_the_bounds_of_the_log_are_those_of_the_program() -> None:
    assert log.BACKLOG == 1000 and "up to a thousand of them" in words()


@pytest.mark.parametrize(
    "tool", [["mandoc", "-Tlint"], ["groff", "-ww", "-man", "-Tutf8"]], ids=["mandoc", "groff"]
)
def test_the_page_is_set_without_a_warning(tool: list[str]) -> None:
    done = subprocess.run([*tool, str(PAGE)], capture_output=True, text=True, check=False)
    diagnostics = done.stdout + done.stderr if tool[0] == "mandoc" else done.stderr
    assert (done.returncode, diagnostics) == (0, "")


def test_the_sections_stand_in_the_order_of_the_classic_page() -> None:
    """The old page, as far as it was kept: name, synopsis, description, device names, target
    bindings, options, signals, limits, where to get it, files."""
    sections = [name.strip('"') for name in re.findall(r"(?m)^\.SH (.*)$", PAGE.read_text())]
    classic = (
        "NAME, SYNOPSIS, DESCRIPTION, DEVICE NAMES, TARGET BINDINGS, OPTIONS, SIGNALS, BUGS, "
        "AVAILABILITY, FILES"
    ).split(", ")
    assert [name for name in sections if name in classic] == classic


# --- the promises of the two pages ----------------------------------------------------------------

PROMISES = [
    # From Linux-iSCSI's page.
    ("establishes connections with iSCSI targets", "logs in to them"),
    ("requests available iSCSI targets", "asks for all targets there"),
    ("establishes connections to the targets", "the kernel takes over the connection"),
    ("queries targets for device information", "asks the target for its logical units"),
    ("creates a mapping from SCSI device nodes", "As each device appears, its links are made"),
    ("should be started after networking", "best started when networking has been configured"),
    ("stopped after all iSCSI devices have been unmounted", "stopped only when all file systems"),
    ("Warning: Data corruption can occur", "Warning: unmount iSCSI disks before network"),
    ("the mapping ... may vary", "the same disk may have another name after every start"),
    ("sent to the wrong target", "one day use another target's disk"),
    ("tree of directories and symbolic links under /dev/iscsi", "directory of symbolic links"),
    ("maintains a bindings file /var/iscsi/bindings", "The daemon maintains the file"),
    ("the same iSCSI bus and target id number are used", "the same for every session with that"),
    ("will always map to the same iSCSI target", "always lead to the same target"),
    ("can not ensure that any particular SCSI device node", "remains the kernel's choice"),
    ("for use by applications and fstab files", "the names to use in /etc/fstab"),
    ("lines for targets that no longer exist may be manually removed", "remove the lines of"),
    ("Manual editing should not normally be needed", "There is rarely a need"),
    ("up to 65535 different bindings", "up to 65536 bindings are supported"),
    ("in a manner similar to the devfs", "much as with the devfs"),
    ("send a signal to iscsid using the following", "kill -HUP `cat /var/run/iscsid.pid`"),
    ("the daemon and all of it's children will die", "End, together with all children."),
    ("restart all discovery processes", "begin all discovery anew"),
    ("reprobe LUNs on all targets", "ask all targets for their logical units once more"),
    ("after shutting down all of the kernel's iSCSI sessions", "but first shut down all of the"),
    ("Wait for children", "the daemon then collects it"),
    ("depends on the number of SCSI device nodes supported", "how many SCSI devices the kernel"),
    ("up to 256 LUNs", "On every target up to 256 logical units"),
    ("example configuration files are available", "an example of the configuration file"),
    ("target address and LUN configuration", "where to look for targets"),
    ("persistent iSCSI InitiatorName", "the iSCSI name of this machine"),
    ("the process id of the running daemon", "the daemon's process id while it runs"),
    ("persistent bus and target id bindings", "the lasting bus numbers and target ids"),
    ("information about iSCSI devices", "information about the iSCSI devices"),
    # From FreeBSD's page.
    ("performing the Login Phase of iSCSI connections and the SendTargets discovery", "discovery"),
    ("already established iSCSI connections continue to work", "established sessions go on work"),
    ("establishing new connections, or recovering ... is not possible", "What nobody does mean"),
    ("will also not fork and will exit after processing one connection", "without a child"),
    ("Setting it to 0 disables the limit", "0 removes the limit"),
    ("exits 0 on success, and >0 if an error occurs", "Above 0, one line on standard error"),
]


@pytest.mark.parametrize(("promise", "kept"), PROMISES, ids=[promise for promise, _ in PROMISES])
def test_a_promise_of_the_old_pages_is_kept_in_ours(promise: str, kept: str) -> None:
    """Each line of the table: a few words of the old page, and where ours says it."""
    assert kept in words(), promise
