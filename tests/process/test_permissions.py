"""Who may read a file with secrets."""

from __future__ import annotations

import stat

import pytest

from iscsid.process.config_files import check_permissions


def diagnostic(mode: int, uid: int = 0, *, has_secrets: bool = True, reader: int = 0) -> str | None:
    found = check_permissions(mode, uid, has_secrets, "/etc/my iscsi.conf", reader=reader)
    return None if found is None else str(found)


@pytest.mark.parametrize(
    "mode, rights",
    [
        (0o644, "readable by group and others (mode 0644)"),
        (0o640, "readable by group (mode 0640)"),
        (0o604, "readable by others (mode 0604)"),
        (0o620, "writable by group (mode 0620)"),
        (0o602, "writable by others (mode 0602)"),
        (0o666, "readable by group and others, writable by group and others (mode 0666)"),
        (stat.S_IFREG | 0o644, "readable by group and others (mode 0644)"),
    ],
)
def test_a_file_with_secrets_that_others_can_use_is_refused_with_the_cure(
    mode: int, rights: str
) -> None:
    assert diagnostic(mode) == (
        f"/etc/my iscsi.conf: the file holds passwords and is {rights}; "
        "expected mode 0600: chmod 600 '/etc/my iscsi.conf'"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, stat.S_IFREG | 0o600])
def test_a_file_that_only_its_owner_can_use_is_accepted(mode: int) -> None:
    assert diagnostic(mode) is None


def test_a_file_without_secrets_may_be_read_by_everybody() -> None:
    assert diagnostic(0o644, 1000, has_secrets=False) is None


def test_a_file_with_secrets_must_belong_to_root_or_to_the_user_who_reads_it() -> None:
    assert diagnostic(0o600, 1000) == (
        "/etc/my iscsi.conf: the file holds passwords and belongs to user id 1000; "
        "expected root: chown root '/etc/my iscsi.conf'"
    )
    assert diagnostic(0o600, 1000, reader=1000) is None
    assert diagnostic(0o600, 0, reader=1000) is None
    assert diagnostic(0o600, 1001, reader=1000) is not None
