"""``python3 -m iscsid.initramfs DIRECTORY``: the daemon and its Python, for an initramfs.

It imports all that the daemon needs, compiles exactly these modules into DIRECTORY, without their
sources, and prints a line for each file that may need shared libraries: Python, and extension
modules with their names below DIRECTORY. The hook of initramfs-tools copies those. It may write
below DIRECTORY only.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import py_compile
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import iscsid

LEFT_OUT = ("_bz2", "_hashlib", "_lzma")
"""Extension modules that others do without: each brings a library, that of _hashlib has 5 MB."""
FIRST_USED_LATER = ("daemon.daemon", "encodings.ascii", "encodings.latin_1", "encodings.utf_8")
"""Modules that are imported in a function or by a name."""
OWN = ("iscsid.initramfs",)


def main(directory: str) -> None:
    for name in LEFT_OUT:
        # None lets an import of it fail.
        sys.modules[name] = None  # type: ignore[assignment]
    import_all()
    print(os.path.realpath(sys.executable))
    for module in list(sys.modules.values()):
        copy(module, Path(directory))


def import_all() -> None:
    for name in FIRST_USED_LATER:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(iscsid.__path__, "iscsid."):
        if found.name not in OWN:
            importlib.import_module(found.name)


def copy(module: ModuleType | None, directory: Path) -> None:
    """Compile a module that has a file, or print the name of an extension module."""
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if spec is None or file is None or spec.name in (*OWN, "__main__"):
        return
    name = spec.name.replace(".", "/")
    if file.endswith(tuple(EXTENSION_SUFFIXES)):
        print(file, f"{name}{EXTENSION_SUFFIXES[-1]}")
        return
    if spec.submodule_search_locations is not None:
        name += "/__init__"
    # Not what is cached: that may be older than the source, and nothing would notice.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    target = str(directory / f"{name}.pyc")
    py_compile.compile(file, target, spec.name, doraise=True, invalidation_mode=mode)


if __name__ == "__main__":
    main(*sys.argv[1:])
