"""All sessions of the initiator: by binding, by target, by the kernel's number. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from iscsid.bindings.binding import Binding
from iscsid.initiator.session import Session
from iscsid.protocol.names import IscsiName


class Sessions:
    """A dictionary by binding, with a second key for targets and a third for the kernel's sids."""

    def __init__(self) -> None:
        self._all: dict[Binding, Session] = {}
        self._by_name: dict[IscsiName, set[Binding]] = {}
        self._by_sid: dict[int, Binding] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def get(self, binding: Binding) -> Session | None:
        return self._all.get(binding)

    def of(self, target_name: IscsiName) -> list[Session]:
        """Return the sessions with one target, in the order of their bindings."""
        return [self._all[binding] for binding in sorted(self._by_name.get(target_name, ()))]

    def with_sid(self, sid: int) -> Session | None:
        """Return the session that the kernel knows as ``sid``."""
        binding = self._by_sid.get(sid)
        session = self._all.get(binding) if binding else None
        return session if session is not None and session.sid == sid else None

    def add(self, session: Session) -> bool:
        """Add a session; refuse it if another has its number, which must not be forgotten."""
        binding = session.plan.binding
        if binding in self._all:
            return False
        self._all[binding] = session
        self._by_name.setdefault(session.plan.target_name, set()).add(binding)
        if session.sid is not None:
            self._by_sid[session.sid] = binding
        return True

    def remove(self, session: Session) -> None:
        binding, name = session.plan.binding, session.plan.target_name
        del self._all[binding]
        self._by_name[name].discard(binding)
        if not self._by_name[name]:
            del self._by_name[name]
        if session.sid is not None:
            self.forget_sid(session.sid)

    def learn_sid(self, session: Session, sid: int) -> None:
        self._by_sid[sid] = session.plan.binding

    def forget_sid(self, sid: int) -> None:
        self._by_sid.pop(sid, None)
