"""Writes the completion of shells for all commands, from their parsers.

``python -m iscsid.cli.completion DIRECTORY`` writes ``bash-completion/COMMAND`` and
``zsh/_COMMAND`` below the directory: ``etc`` in a checkout. No command uses this module.
"""

from __future__ import annotations

import re
import sys
from argparse import Action
from pathlib import Path

from iscsid.cli import iscsi_iname, iscsi_ls, options
from iscsid.cli.command import CommandParser

PARSERS = (options.make_parser, iscsi_ls.make_parser, iscsi_iname.make_parser)
FILES = ("FILE", "PIDFILE")
DIRECTORIES = ("DIR",)

_BASH = """\
# Completion of {program} for bash. Made by 'python -m iscsid.cli.completion etc'.
{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    # bash takes --option=word apart at the equals sign.
    if [ "$word" = = ]; then
        word=
    elif [ "$before" = = ]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $before in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W '{words}' -- "$word")
}}
complete -F {function} {program}
"""
_ZSH = """\
#compdef {program}
# Completion of {program} for zsh. Made by 'python -m iscsid.cli.completion etc'.
_arguments -s \\
{lines}
"""


def completions() -> dict[str, str]:
    """Return the text of each file by its path."""
    files = {}
    for make_parser in PARSERS:
        parser = make_parser()
        files[f"bash-completion/{parser.prog}"] = bash(parser)
        files[f"zsh/_{parser.prog}"] = zsh(parser)
    return files


def bash(parser: CommandParser) -> str:
    cases = []
    for kind, metavars in (("-f", FILES), ("-d", DIRECTORIES)):
        names = [
            name
            for option in parser.options()
            if _metavar(option) in metavars
            for name in option.option_strings
        ]
        if names:
            reply = f'mapfile -t COMPREPLY < <(compgen {kind} -- "$word")'
            lines = (f"    {' | '.join(names)})", "compopt -o filenames", reply, "return", ";;")
            cases.append("\n        ".join(lines))
    others = [
        name
        for option in parser.options()
        if _metavar(option) and option.nargs is None
        if _metavar(option) not in (*FILES, *DIRECTORIES)
        for name in option.option_strings
    ]
    if others:
        cases.append(f"    {' | '.join(others)})\n        return\n        ;;")
    words = " ".join(name for option in parser.options() for name in option.option_strings)
    return _BASH.format(
        program=parser.prog,
        function=f"_{parser.prog.replace('-', '_')}",
        cases="\n".join(cases),
        words=words,
    )


def zsh(parser: CommandParser) -> str:
    lines = []
    for option in parser.options():
        names = option.option_strings
        text = re.sub(r"([\[\]:'])", r"\\\1", str(option.help) % {"default": option.default})
        text = text.replace("\\'", "'\\''")
        value = ""
        if metavar := _metavar(option):
            complete = "_files" if metavar in FILES else ""
            complete = "_files -/" if metavar in DIRECTORIES else complete
            optional = ":" if option.nargs == "?" else ""
            value = f":{optional}{metavar.lower()}:{complete}"
        for name in names:
            joint = "=" if value and name.startswith("--") else "+" if value else ""
            repeats = "*" if option.nargs == 0 and option.dest == "debug" else ""
            excluded = "" if repeats else f"({' '.join(names)})"
            lines.append(f"    '{excluded}{repeats}{name}{joint}[{text}]{value}'")
    return _ZSH.format(program=parser.prog, lines=" \\\n".join(lines))


def _metavar(option: Action) -> str:
    """Return what the option's value is called, empty if it takes none."""
    if option.nargs == 0:
        return ""
    return str(option.metavar or option.dest).upper()


def main() -> int:
    for name, text in completions().items():
        path = Path(sys.argv[1]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
