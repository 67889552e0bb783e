"""Every option of both manual pages means what it meant there; nothing else is accepted.

Quotations are from the manual pages of Linux-iSCSI and of FreeBSD.
"""

from __future__ import annotations

import dataclasses

import pytest

from iscsid.cli.command import UsageError
from iscsid.cli.options import Options, Purpose, make_parser, parse
from iscsid.protocol.names import Portal

DEFAULTS = {
    "bindings": "/var/iscsi/bindings",
    "config": "/etc/iscsi.conf",
    "initiatorname": "/etc/initiatorname.iscsi",
    "basedir": "/dev/iscsi",
    "mode": 0o755,
    "pidfile": "/var/run/iscsid.pid",
    "foreground": False,
    "debug": 0,
    "login_timeout": 60,
    "max_processes": 30,
    "once": False,
}


def changed(*arguments: str) -> dict[str, object]:
    """Return what a command line changes."""
    options, defaults = parse(arguments), Options()
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(Options)
        if getattr(options, field.name) != getattr(defaults, field.name)
    }


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as refused:
        parse(arguments)
    return str(refused.value)


def test_without_options_the_promised_defaults_hold() -> None:
    """Linux-iSCSI: "instead of /var/iscsi/bindings, which is the default" and the like;
    FreeBSD: "The default location is /var/run/iscsid.pid", "The default is 30", "The default is
    60"."""
    options = parse([])
    assert options.purpose is Purpose.RUN
    assert {name: getattr(options, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("spellings", "expected"),
    [
        # Linux-iSCSI: "Specify an alternative bindings file".
        ([["-b", "/b"], ["-b/b"], ["--bindings=/b"], ["--bindings", "/b"]], {"bindings": "/b"}),
        # Linux-iSCSI: "Turns on debug mode."
        ([["-d"], ["--debug"], ["--log-level=1"]], {"debug": 1}),
        # Linux-iSCSI: "Each occurence of -d will increment the debug level by one."
        ([["-d", "-d", "-d"], ["-ddd"], ["--debug", "-dd"], ["--log-level", "3"]], {"debug": 3}),
        # Linux-iSCSI: "Specify an alternative configuration file".
        ([["-f", "/c"], ["--config=/c"]], {"config": "/c"}),
        # Linux-iSCSI: "Specify the base directory under which to build a tree".
        ([["-l", "/t"], ["--basedir=/t"]], {"basedir": "/t"}),
        # Linux-iSCSI: "Specify the directory permission mode (in octal)".
        ([["-m", "0700"], ["-m", "700"], ["--mode=0700"]], {"mode": 0o700}),
        # Linux-iSCSI: "Avoid auto-backgrounding."
        ([["-n"], ["--foreground"]], {"foreground": True}),
        # FreeBSD: "Specify alternative location of a file where main process PID will be stored."
        ([["-P", "/p"], ["--pidfile=/p"]], {"pidfile": "/p"}),
        # FreeBSD: "Specifies timeout for login session"; "Setting it to 0 disables the timeout."
        ([["-t", "5"], ["--login-timeout=5"]], {"login_timeout": 5}),
        ([["-t0"], ["--login-timeout", "0"]], {"login_timeout": 0}),
        # FreeBSD: "limit for concurrently running child processes"; "0 disables the limit".
        ([["--max-processes=8"]], {"max_processes": 8}),
        ([["--max-processes", "0"]], {"max_processes": 0}),
        ([["--initiatorname=/i"]], {"initiatorname": "/i"}),
        ([["--check"]], {"purpose": Purpose.CHECK}),
        ([["--check", "--json"]], {"purpose": Purpose.CHECK, "json": True}),
        ([["--check", "--login"]], {"purpose": Purpose.CHECK, "login": True}),
        ([["--show-config"]], {"purpose": Purpose.SHOW_CONFIG}),
        ([["--show-config", "--json"]], {"purpose": Purpose.SHOW_CONFIG, "json": True}),
        (
            [["--check", "--login", "--json"]],
            {"purpose": Purpose.CHECK, "login": True, "json": True},
        ),
        (
            [["--discover", "192.0.2.1"], ["192.0.2.1:3260", "--discover"]],
            {"purpose": Purpose.DISCOVER, "address": Portal("192.0.2.1")},
        ),
        (
            [["--check", "--login", "[2001:db8::1]:860", "IQN.2001-04.com.example:Disk"]],
            {
                "purpose": Purpose.CHECK,
                "login": True,
                "address": Portal("2001:db8::1", 860),
                "target": "iqn.2001-04.com.example:disk",
            },
        ),
        ([["--from-open-iscsi"]], {"purpose": Purpose.CONVERT}),
        (
            [["--from-open-iscsi=/d"], ["--from-open-iscsi", "/d"]],
            {"purpose": Purpose.CONVERT, "from_open_iscsi": "/d"},
        ),
        ([["--wait"]], {"purpose": Purpose.WAIT}),
        ([["--wait=90"]], {"purpose": Purpose.WAIT, "wait": 90}),
        # FreeBSD, of its -d: "verbose debug output to standard error, and does not put itself in
        # the background", "will also not fork and will exit after processing one connection".
        ([["--once"]], {"once": True, "foreground": True, "debug": 1}),
        ([["--once", "-dd"]], {"once": True, "foreground": True, "debug": 2}),
        ([["--once", "--log-level=0"]], {"once": True, "foreground": True}),
    ],
)
def test_each_spelling_of_an_option_means_the_same(
    spellings: list[list[str]], expected: dict[str, object]
) -> None:
    for spelling in spellings:
        assert changed(*spelling) == expected


def test_options_combine_as_they_always_did() -> None:
    assert changed("-dnf", "/c", "-P/p") == {
        "debug": 1,
        "foreground": True,
        "config": "/c",
        "pidfile": "/p",
    }


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["-d", "-d", "--log-level=5"], 5),
        (["--log-level=5", "-d"], 6),
        (["--log-level=5", "--log-level=0"], 0),
    ],
)
def test_of_the_two_ways_to_set_the_debug_level_the_last_counts(
    arguments: list[str], level: int
) -> None:
    assert parse(arguments).debug == level


def test_relative_paths_start_where_the_shell_is() -> None:
    """The daemon's own directory is /, and SIGHUP reads the file again from there."""
    options = parse(["-f", "iscsi.conf", "-b", "../b", "-l", "/dev/x"], "/home/op")
    assert options.config == "/home/op/iscsi.conf"
    assert options.bindings == "/home/op/../b"
    assert options.basedir == "/dev/x"
    assert options.pidfile == DEFAULTS["pidfile"]


def test_a_relative_path_is_refused_where_its_directory_has_been_deleted() -> None:
    assert parse(["-f", "/c"], "").config == "/c"
    with pytest.raises(UsageError, match="--config: the current directory has been deleted"):
        parse(["-f", "iscsi.conf"], "")


ADVICE = "; 'iscsid --help' lists the options"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--bind=/b"], "there is no option or argument '--bind=/b'"),
        (["-x"], "there is no option or argument '-x'"),
        (["iqn.2026-01.org.example:disk"], "there is no option or argument 'iqn.2026-01.o"),
        (["-b"], "--bindings: expected one argument"),
        (["-f", ""], "--config: the name is empty"),
        (["-m", "0888"], "--mode: '0888' is no octal mode such as 0755"),
        (["-m", "0o755"], "--mode: '0o755' is no octal mode such as 0755"),
        (["-m", "77777"], "--mode: '77777' is no octal mode such as 0755"),
        (["-m", "0777"], "--mode: '0777' lets every user write"),
        (["-m", "7777"], "--mode: '7777' lets every user write, or has bits above 0777"),
        (["-m", "1755"], "--mode: '1755' lets every user write, or has bits above 0777"),
        (["\x1b[2J"], "there is no option or argument '\\x1b[2J'"),
        (["-t", "\n1"], "--login-timeout: '\\n1' is no whole number"),
        (["-t", "1m"], "--login-timeout: '1m' is no whole number from 0 to 2147483647"),
        (["-t", "-1"], "--login-timeout: '-1' is no whole number from 0 to 2147483647"),
        (["-t", " 1"], "--login-timeout: ' 1' is no whole number"),
        (["-t", "١"], "--login-timeout: '١' is no whole number"),
        (["--max-processes=99999999999"], "--max-processes: '99999999999' is no whole number"),
        (["--wait=soon"], "--wait: 'soon' is no whole number"),
        (["--json"], "--json goes with --check, --show-config and --discover only"),
        (["--login"], "--login goes with --check only"),
        (["--check", "--show-config"], "--show-config: not allowed with argument --check"),
        (["--discover"], "--discover: expected an address"),
        (["--discover", "iqn.2001-04.com.example:x"], "there is no option or argument 'iqn."),
        (["--discover", "192.0.2.1", "192.0.2.2"], "there is no option or argument '192.0.2.2'"),
        (["--check", "192.0.2.1"], "there is no option or argument '192.0.2.1'"),
        (["--discover", "2001:db8::1"], "'2001:db8::1' is no"),
        (["--once", "--wait"], "--wait: not allowed with argument --once"),
        (["--foreground=yes"], "--foreground: ignored explicit argument 'yes'"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_reason(arguments: list[str], what: str) -> None:
    line = refusal(*arguments)
    assert line.startswith(what)
    assert line.endswith(ADVICE)
    assert "\n" not in line


@pytest.mark.parametrize("arguments", [["-v"], ["--version"], ["--check", "-v"], ["-nh"]])
def test_what_only_prints_wins_over_all_else(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Linux-iSCSI: "Print version and exit." """
    with pytest.raises(SystemExit) as end:
        parse(arguments)
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(("iscsid 4", "usage: iscsid"))


def test_every_option_has_a_long_name_and_a_line_of_help() -> None:
    names = [action.option_strings for action in make_parser().options()]
    assert all(each[-1].startswith("--") for each in names)
    assert all(action.help for action in make_parser().options())
    letters = {letter for each in names for letter in each if len(letter) == 2}
    assert {f"-{letter}" for letter in "bdflmnv"} <= letters, "Linux-iSCSI's"
    assert {"-P", "-t"} <= letters, "FreeBSD's that clash with none"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Options)])
def test_every_field_of_the_options_can_be_set(name: str) -> None:
    # The two that are arguments are distinguished by their form.
    names = {action.dest for action in make_parser().options()} | {"address", "target"}
    assert name in names
