"""The law of the rooms: who may import whom, and who has no window to the machine.

``iscsid/__init__.py`` is the map; this is the table behind it, held against the imports of every
module, wherever in the module they stand.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "iscsid"
MODULES = sorted(PACKAGE.rglob("*.py"))

VALUES = "errors secret exit_status"
VOCABULARY = f"{VALUES} bindings jobs facts orders config protocol"

LAW = {
    "__init__": "",
    "errors": "",
    "secret": "",
    "exit_status": "",
    "protocol": "errors secret",
    "config": "errors secret protocol",
    "jobs": "config protocol",
    "bindings": "errors protocol facts process",
    "facts": "bindings errors jobs config protocol",
    "orders": "bindings facts jobs protocol",
    "initiator": VOCABULARY,
    "status": "bindings errors protocol initiator facts",
    "process": f"{VOCABULARY} status devices",
    "devices": f"{VOCABULARY} process status",
    "kernel": f"{VOCABULARY} process devices",
    "workers": f"{VOCABULARY} process devices kernel",
    "login_check": f"{VOCABULARY} cli initiator process workers",
    "cli": f"__init__ {VOCABULARY} initiator process status devices",
    "daemon": f"__init__ {VOCABULARY} cli initiator process devices kernel workers status",
    "__main__": "__init__ errors exit_status cli login_check daemon",
}
"""Each room, and the rooms it may import from besides itself."""

PURE = {
    *VALUES.split(),
    *("protocol", "config", "jobs", "facts", "orders", "initiator", "status"),
}
"""The rooms without a window: no socket, clock, file, log or randomness."""

WINDOWLESS = frozenset(
    """
    __future__ abc argparse base64 binascii bisect collections contextlib dataclasses difflib enum
    errno functools hashlib heapq hmac ipaddress itertools json math operator re shlex stat
    string stringprep struct textwrap types typing unicodedata zlib
    """.split()
)
"""What a pure room may take from the standard library."""

WINDOWS = {"errors.py": {"os"}, "status/model.py": {"datetime"}}
"""Exceptions: the words for an errno, the grammar of a path, and that of a date."""

THIRD_PARTY = {"process": {"daemon", "lockfile"}, "devices": {"pyudev"}}
"""The run-time dependencies, and the one room that uses them."""

REFUSED = frozenset({"asyncio", "concurrent", "multiprocessing", "pickle", "queue", "threading"})
"""One long-lived process, one loop, whole messages: nobody needs these."""


def room_of(module: Path) -> str:
    """Return the room a file is in: its directory, or itself at the top level."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(module: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the dotted name of each module imported, and the names taken from it."""
    for node in ast.walk(ast.parse(module.read_text(), str(module))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full, from iscsid on"
            assert node.module is not None
            yield node.module, [alias.name for alias in node.names]


def rooms_imported(module: Path) -> Iterator[str]:
    for name, taken in imports_of(module):
        first, *rest = name.split(".")
        if first != "iscsid":
            continue
        if rest:
            yield rest[0]
        else:
            # "from iscsid import orders" names a room; "from iscsid import __version__" does not.
            yield from (each if each in LAW else "__init__" for each in taken or ["__init__"])


def outsiders_imported(module: Path) -> set[str]:
    return {name.split(".")[0] for name, _ in imports_of(module)} - {"iscsid"}


def label(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


each_module = pytest.mark.parametrize("module", MODULES, ids=label)
each_pure_module = pytest.mark.parametrize(
    "module", [module for module in MODULES if room_of(module) in PURE], ids=label
)


def test_every_module_is_in_a_room_of_the_table() -> None:
    assert {room_of(module) for module in MODULES} - LAW.keys() == set()


@each_module
def test_a_module_imports_only_what_its_room_may(module: Path) -> None:
    room = room_of(module)
    assert set(rooms_imported(module)) - {room} <= set(LAW[room].split())


@each_module
def test_a_module_takes_nothing_private_from_another(module: Path) -> None:
    private = [
        f"{name}.{taken}"
        for name, names in imports_of(module)
        for taken in names
        if name.startswith("iscsid") and taken.startswith("_") and taken != "__version__"
    ]
    assert private == []


@each_module
def test_a_module_brings_in_no_unknown_package_and_no_threads(module: Path) -> None:
    outsiders = outsiders_imported(module) - THIRD_PARTY.get(room_of(module), set())
    assert outsiders <= sys.stdlib_module_names
    assert not outsiders & REFUSED


@each_pure_module
def test_a_pure_module_has_no_window(module: Path) -> None:
    windows = outsiders_imported(module) - WINDOWLESS - WINDOWS.get(label(module), set())
    assert windows == set()


@each_pure_module
def test_a_pure_module_neither_opens_nor_prints(module: Path) -> None:
    called = {
        node.func.id
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}
