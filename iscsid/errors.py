"""Every exception iscsid raises on purpose.

Each has *what* happened and why, *advice* for the administrator, and a ``Retry``: when to try
again. ``failure()`` turns it into the plain value that a worker reports to the daemon. Any other
exception that leaves a package is a bug. Pure.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import Enum


class Retry(Enum):
    """What a failure means for the next attempt."""

    SOON = "soon"
    """Transient: try again soon, with growing pauses."""
    LATER = "later"
    """Unlikely to mend itself within minutes, yet it may."""
    NEVER = "never"
    """Only a person can mend it: wait for SIGHUP."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one attempt failed, in words, and what follows from it."""

    retry: Retry
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what


class IscsidError(Exception):
    """Root of all our exceptions.

    ``what``: what happened and why; ``advice``: what the administrator can do about it.
    """

    retry = Retry.SOON

    def __init__(self, what: str, *, advice: str = "", retry: Retry | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        if retry is not None:
            self.retry = retry

    def failure(self) -> Failure:
        return Failure(self.retry, self.what, self.advice)

    def __str__(self) -> str:
        return str(self.failure())


OUT_OF_MEMORY = "out of memory; raise the limit of this process, or free memory"

_SHORTAGES = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.EAGAIN: "processes",
    errno.ENOMEM: "memory",
}


def advice_in_shortage(error: OSError) -> str:
    """Return what to do if a limit of this process or of the machine is reached, or nothing."""
    what = _SHORTAGES.get(error.errno or 0)
    return f"raise the limit of {what}" if what else ""


class ProtocolError(IscsidError):
    """The target broke a rule of iSCSI. ``section`` is of RFC 7143 unless it names another."""

    retry = Retry.LATER

    def __init__(self, what: str, *, section: str = "", advice: str = "") -> None:
        source = f" (RFC 7143, section {section})" if section else ""
        super().__init__(what + source, advice=advice)
        self.reason = what
        """``what`` without the section."""
        self.section = section


class MalformedPdu(ProtocolError):
    """Bytes that are no PDU, or not one that may come here."""


class NegotiationError(ProtocolError):
    """A key was answered with something that may not be answered."""

    def __init__(self, key: str, offered: str, answered: str, why: str, *, section: str) -> None:
        super().__init__(
            f"{key}: we offered {offered!r}, the target answered {answered!r}: {why}",
            section=section,
        )
        self.key, self.offered, self.answered = key, offered, answered


class InvalidName(ProtocolError):
    """A name or an address that iSCSI does not allow."""


class LoginRejected(IscsidError):
    """The target answered a Login Request with a status other than success."""

    def __init__(
        self, status: int, what: str, *, advice: str = "", retry: Retry | None = None
    ) -> None:
        super().__init__(what, advice=advice, retry=retry)
        self.status = status
        """Status-Class and Status-Detail as one number, 0x0203 for instance."""


class AuthenticationFailed(IscsidError):
    """The target did not accept our proof, or did not prove itself."""

    retry = Retry.LATER


class ChapAlgorithmsRefused(AuthenticationFailed):
    """The target took none of the CHAP algorithms offered; it may take a shorter list."""


class ConnectionFailed(IscsidError):
    """The name did not resolve, the connect failed, the stream broke, or time ran out."""

    @classmethod
    def from_os(cls, doing: str, error: OSError, *, advice: str = "") -> ConnectionFailed:
        """Word an ``OSError`` met while ``doing`` ("connecting", "reading a Login Response")."""
        reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
        return cls(f"{doing}: {reason}", advice=advice)


class KernelError(IscsidError):
    """The kernel refused one step; ``code`` is a positive errno."""

    def __init__(self, step: str, code: int) -> None:
        name = errno.errorcode.get(code, str(code))
        super().__init__(f"the kernel refused to {step}: {os.strerror(code)} ({name})")
        self.step, self.code = step, code


class BindingsFull(IscsidError):
    """All persistent numbers are taken, or all buses for one target id."""

    retry = Retry.LATER

    def __init__(self, target_name: str, path: str = "") -> None:
        place = f" at {path}" if path else ""
        super().__init__(
            f"no persistent number is left for {target_name}{place}",
            advice="remove lines of targets that are gone for good from the bindings file",
        )


class AlreadyRunning(IscsidError):
    """Another daemon holds the pid file."""

    retry = Retry.NEVER
