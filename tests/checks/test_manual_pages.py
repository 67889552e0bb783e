"""The manual pages and the programs name the same: options, signals, files, statuses, defaults.

Only names and numbers are compared, never sentences: those can be rewritten freely. That a promise
is true is the business of the tests listed in ``manual_proofs.txt``.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from iscsid import __version__
from iscsid.cli import iscsi_iname, iscsi_ls, options
from iscsid.cli.command import CommandParser
from iscsid.cli.options import Options
from iscsid.exit_status import ExitStatus
from iscsid.initiator.discovery import DiscoveryState
from iscsid.initiator.session_fsm import State
from iscsid.process import signals
from iscsid.process.status_files import DEVICES, STATUS, directory_for
from iscsid.status.model import to_json
from tests.support import statuses
from tests.support.man_pages import DIRECTORY, OPTION, Page, plain

ISCSID, LS, INAME = Page("iscsid.8"), Page("iscsi-ls.1"), Page("iscsi-iname.8")

each_command = pytest.mark.parametrize(
    ("page", "make_parser"),
    [
        (ISCSID, options.make_parser),
        (LS, iscsi_ls.make_parser),
        (INAME, iscsi_iname.make_parser),
    ],
    ids=["iscsid", "iscsi-ls", "iscsi-iname"],
)


@each_command
def test_the_page_explains_the_options_of_the_program_and_no_others(
    page: Page, make_parser: Callable[[], CommandParser]
) -> None:
    explained = [set(OPTION.findall(term)) for term in page.terms("OPTIONS")]
    ours = [set(action.option_strings) for action in make_parser().options()]
    assert sorted(map(sorted, explained)) == sorted(map(sorted, ours))


@each_command
def test_an_option_takes_a_value_in_both_or_in_neither(
    page: Page, make_parser: Callable[[], CommandParser]
) -> None:
    ours = {action.option_strings[-1]: action.nargs for action in make_parser().options()}
    for term in page.terms("OPTIONS"):
        nargs = ours[OPTION.findall(term)[-1]]
        assert ("=" in term, "[=" in term) == (nargs != 0, nargs == "?"), term


@each_command
def test_the_synopsis_uses_only_options_there_are(
    page: Page, make_parser: Callable[[], CommandParser]
) -> None:
    ours = {name for action in make_parser().options() for name in action.option_strings}
    synopsis = plain(page.section("SYNOPSIS"))
    flags = {f"-{letter}" for group in re.findall(r"\[-([a-z]+)\]", synopsis) for letter in group}
    assert (set(OPTION.findall(synopsis)) | flags) - ours == set()


@each_command
def test_the_page_is_of_this_version(page: Page, make_parser: Callable[[], CommandParser]) -> None:
    assert f'"iscsid {__version__}"' in page.source


@pytest.mark.parametrize(
    "tool",
    [["mandoc", "-Tlint", "-Wwarning"], ["groff", "-ww", "-man", "-Tutf8", "-z"]],
    ids=["mandoc", "groff"],
)
@pytest.mark.parametrize("page", sorted(DIRECTORY.iterdir()), ids=lambda path: path.name)
def test_a_page_is_formatted_without_a_warning(page: Any, tool: list[str]) -> None:
    done = subprocess.run([*tool, str(page)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- iscsid(8) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("--bindings", Options().bindings),
        ("--config", Options().config),
        ("--basedir", Options().basedir),
        ("--mode", f"{Options().mode:04o}"),
        ("--pidfile", Options().pidfile),
        ("--login-timeout", str(Options().login_timeout)),
        ("--max-processes", str(Options().max_processes)),
        ("--initiatorname", Options().initiatorname),
    ],
)
def test_the_defaults_of_page_and_help_are_those_of_the_program(option: str, default: str) -> None:
    (term,) = (each for each in ISCSID.terms("OPTIONS") if option in OPTION.findall(each))
    assert default in re.split(r"[\s;]|\.(?:\s|$)", ISCSID.about("OPTIONS", term))
    (action,) = (each for each in options.make_parser().options() if option in each.option_strings)
    assert f"({default})" in str(action.help)


def test_the_signals_of_the_page_are_those_of_the_program() -> None:
    handled = [signal.Signals(number).name for number in (*signals.HANDLED, *signals.IGNORED)]
    assert sorted(ISCSID.terms("SIGNALS")) == sorted(handled)


def test_the_exit_statuses_of_the_page_are_those_of_the_program() -> None:
    assert ISCSID.terms("EXIT STATUS") == [str(int(status)) for status in ExitStatus]


def test_the_files_of_the_page_are_the_defaults_of_the_program() -> None:
    preset = Options()
    directory = directory_for(preset.pidfile).replace("/var/run", "/run")
    files = {getattr(preset, name) for name in options.PATHS}
    assert files | {f"{directory}/{STATUS}", f"{directory}/{DEVICES}"} <= set(ISCSID.terms("FILES"))


def test_no_file_is_named_without_being_explained() -> None:
    named = set(re.findall(r"(?<![\w.*])/(?:etc|var|run|dev|proc)(?:/[\w.]+)+", ISCSID.words()))
    known = set(ISCSID.terms("FILES")) | {"/etc/fstab", "/dev/sda", "/dev/sdb"}
    foreign = {"/proc/scsi/iscsi", "/etc/iscsi", "/var/lib/iscsi", "/dev/disk/by"}
    others = {name.rstrip(".") for name in named} - known - foreign
    assert {name for name in others if not name.startswith("/dev/iscsi/bus")} == set()


def test_the_sections_stand_in_the_order_of_the_classic_page() -> None:
    """The page of Linux-iSCSI, as far as its sections were kept."""
    classic = (
        "NAME, SYNOPSIS, DESCRIPTION, DEVICE NAMES, TARGET BINDINGS, OPTIONS, SIGNALS, BUGS, "
        "AVAILABILITY, FILES"
    ).split(", ")
    assert [name for name in ISCSID.sections() if name in classic] == classic


# --- iscsi-ls(1) ----------------------------------------------------------------------------------


def test_the_page_names_the_exit_statuses_and_the_variables_of_iscsi_ls() -> None:
    assert LS.terms("EXIT STATUS") == [str(int(status)) for status in iscsi_ls.LsStatus]
    assert LS.terms("ENVIRONMENT") == ["NO_COLOR", "TERM", "COLUMNS"]


def test_the_page_names_every_field_of_the_status_file() -> None:
    def fields(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(fields, value))
        if not isinstance(value, dict):
            return set()
        inner = {key: each for key, each in value.items() if key not in ("negotiated", "links")}
        return set(value) | set().union(*map(fields, inner.values()))

    assert LS.bold("STATUS FILE") == fields(json.loads(to_json(statuses.STATUS)))


def test_the_page_explains_every_state_of_sessions_and_discoveries() -> None:
    shown = [state.value for state in State if state is not State.GONE]
    assert LS.terms("STATES") == shown + [state.value for state in DiscoveryState]


def test_the_page_names_the_files_where_they_are() -> None:
    pidfile = iscsi_ls.make_parser().parse([]).pidfile
    directory = directory_for(pidfile).replace("/var/run", "/run")
    assert {pidfile, f"{directory}/{STATUS}", f"{directory}/{DEVICES}"} <= set(LS.terms("FILES"))


# --- iscsi-iname(8) -------------------------------------------------------------------------------


def test_the_prefixes_of_the_page_make_names(capsys: pytest.CaptureFixture[str]) -> None:
    prefixes = set(re.findall(r"iqn\.[12][\w.:-]+\w", INAME.text("OPTIONS")))
    assert iscsi_iname.DEFAULT_PREFIX in prefixes and len(prefixes) > 1
    for prefix in prefixes:
        assert iscsi_iname.main(["-p", prefix]) == 0
        assert capsys.readouterr().out.startswith(prefix)


def test_the_command_of_the_page_is_the_one_that_help_shows() -> None:
    command = 'echo "InitiatorName=$(iscsi-iname)" > /etc/initiatorname.iscsi'
    assert command in INAME.text("DESCRIPTION")
    assert command in " ".join(iscsi_iname.make_parser().format_help().split())
