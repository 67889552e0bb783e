"""The configuration as a value."""

from __future__ import annotations

from iscsid.config.configuration import Configuration
from iscsid.config.diagnostics import Diagnostic
from iscsid.config.settings import SessionSettings, StaticTarget
from iscsid.protocol.names import IscsiName, Portal

NAME = IscsiName("iqn.2001-04.com.example:disk")


def test_a_configuration_without_a_file_has_defaults() -> None:
    assert Configuration().session_settings(NAME, Portal("h"), None) == SessionSettings()


def test_the_resolver_gets_all_arguments() -> None:
    special = SessionSettings(enabled=False)
    questions: list[object] = []

    def resolver(*question: object) -> SessionSettings:
        questions.append(question)
        return special

    found_at = Portal("discovery")
    configuration = Configuration(resolver=resolver)
    assert configuration.session_settings(NAME, Portal("h"), found_at) is special
    assert questions == [(NAME, Portal("h"), found_at)]


def test_settings_count_in_comparisons_and_notes_do_not() -> None:
    noted = Configuration(notes=(Diagnostic("f", 1, 1, "note"),), has_secrets=True)
    assert noted == Configuration()
    assert Configuration(static_targets=(StaticTarget(NAME, ()),)) != Configuration()
