"""One table has the meaning of each login status, and every number has a row."""

from __future__ import annotations

import pytest

from iscsid.errors import AuthenticationFailed, IscsidError, LoginRejected, Retry
from iscsid.protocol.login_status import (
    STATUSES,
    Consequence,
    authentication_required,
    explain,
    rejection,
)

DECISIONS = {
    0x0200: Retry.NEVER,
    0x0201: Retry.LATER,
    0x0202: Retry.LATER,
    0x0203: Retry.LATER,
    0x0204: Retry.NEVER,
    0x0205: Retry.NEVER,
    0x0206: Retry.LATER,
    0x0207: Retry.NEVER,
    0x0208: Retry.NEVER,
    0x0209: Retry.NEVER,
    0x020A: Retry.SOON,
    0x020B: Retry.NEVER,
    0x0300: Retry.SOON,
    0x0301: Retry.SOON,
    0x0302: Retry.SOON,
}


@pytest.mark.parametrize("status", DECISIONS, ids=lambda status: f"{status:04x}")
def test_every_refusal_of_the_standard_has_its_decision(status: int) -> None:
    error = rejection(status, has_credentials=True)
    assert error.retry is DECISIONS[status]
    assert STATUSES[status].retry is DECISIONS[status]


def test_the_table_holds_the_standards_statuses_and_no_others() -> None:
    assert set(STATUSES) == {0x0000, 0x0101, 0x0102, *DECISIONS}


@pytest.mark.parametrize("status", [0x0101, 0x0102])
def test_the_two_redirections_are_followed(status: int) -> None:
    assert explain(status).consequence is Consequence.FOLLOW


@pytest.mark.parametrize("status", [0x0100, 0x0103, 0x01FF])
def test_an_unknown_redirection_is_not_followed(status: int) -> None:
    assert explain(status).consequence is Consequence.REFUSAL


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (0x01FF, Retry.LATER),
        (0x020C, Retry.NEVER),
        (0x02FF, Retry.NEVER),
        (0x0303, Retry.SOON),
        (0x03FF, Retry.SOON),
        (0x0001, Retry.NEVER),
        (0x0400, Retry.NEVER),
        (0xFFFF, Retry.NEVER),
    ],
    ids=lambda value: f"{value:04x}" if isinstance(value, int) else None,
)
def test_an_unlisted_status_is_judged_by_its_class(status: int, retry: Retry) -> None:
    error = rejection(status, has_credentials=False)
    assert isinstance(error, LoginRejected)
    assert (error.status, error.retry) == (status, retry)


@pytest.mark.parametrize("status", [0x0201, 0x0202])
def test_authentication_and_authorization_fail_as_authentication(status: int) -> None:
    assert isinstance(rejection(status, has_credentials=True), AuthenticationFailed)
    assert isinstance(rejection(status, has_credentials=False), AuthenticationFailed)


def test_a_target_that_requires_credentials_gets_one_message_in_every_way() -> None:
    assert str(rejection(0x0201, has_credentials=False)) == str(authentication_required())
    assert str(rejection(0x0201, has_credentials=True)) != str(authentication_required())


@pytest.mark.parametrize("status", sorted(set(STATUSES) | {0x0104, 0x02EE, 0x0399, 0x0700}))
def test_every_message_has_a_cause_and_the_status(status: int) -> None:
    error: IscsidError = rejection(status, has_credentials=True)
    assert f"{status:04x}" in error.what
    assert explain(status).words in error.what
    assert str(error).isprintable()
