"""Reads the bindings file, replaces it, and notices that a person has changed it meanwhile.

Touches that one file and what lies beside it: a lock, the new file until it is complete, and
copies of damaged ones. The meaning of the lines is the subject of ``bindings.allocation``.
"""

from __future__ import annotations

import os

from iscsid.facts import BindingsNotRead, BindingsNotSaved, BindingsRead, BindingsSaved
from iscsid.jobs import FileStamp
from iscsid.process import files
from iscsid.process.files import Replacement

LONGEST = 32 << 20
"""Octets: enough for all numbers and the longest names. Anything after them counts as lost."""


class BindingsFile:
    """One bindings file. No method raises: an error becomes a fact."""

    def __init__(self, path: str, stamp: FileStamp | None = None) -> None:
        self._path = path
        self.stamp = stamp
        """Identifies the file as it was read or written last."""

    def read(self) -> BindingsRead | BindingsNotRead:
        """Read the file as it is now."""
        try:
            contents = files.read(self._path, LONGEST)
        except OSError as error:
            return BindingsNotRead(_reason(self._path, "cannot be read", error))
        self.stamp = contents.stamp
        risk = files.risk_of(self._path)
        text = contents.octets.decode("utf-8", "surrogateescape")
        return BindingsRead(text, (f"the bindings are not safe: {risk}",) if risk else ())

    def save(
        self, text: str, keep_copy: bool = False
    ) -> BindingsSaved | BindingsNotSaved | BindingsRead | BindingsNotRead:
        """Replace the file, unless it is not the one that we know: then read it again.

        A person may have edited it, and what is to be written has to be worked out anew.
        ``keep_copy`` leaves what is there now under another name.
        """
        try:
            with Replacement.of(self._path) as replacement:
                if replacement.stamp() != self.stamp:
                    return self.read()
                if keep_copy and self.stamp is not None:
                    replacement.keep_copy("damaged")
                    self.stamp = replacement.stamp()
                self.stamp = replacement.write(text.encode("utf-8", "surrogateescape"))
        except BlockingIOError:
            return BindingsNotSaved(f"{self._path}: another process is writing it")
        except OSError as error:
            return BindingsNotSaved(_reason(self._path, "cannot be replaced", error))
        return BindingsSaved()


def _reason(path: str, what: str, error: OSError) -> str:
    why = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    where = error.filename
    if where is None or os.fspath(where) in (path, os.path.basename(path)):
        return f"{path} {what}: {why}"
    return f"{path} {what}: {why} ({os.fsdecode(where)})"
