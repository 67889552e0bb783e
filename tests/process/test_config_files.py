"""The administrator's files are read whole, or every reason is given why they are not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.facts import ConfigurationRead, ConfigurationRefused
from iscsid.process.config_files import ConfigurationFiles, read_configuration
from iscsid.protocol.names import Portal

NAME = "iqn.2024-01.org.example:host"


@pytest.fixture
def files(tmp_path: Path) -> ConfigurationFiles:
    (tmp_path / "iscsi.conf").write_text("DiscoveryAddress=192.0.2.1\n")
    (tmp_path / "name").write_text(f"InitiatorName={NAME}\n")
    return ConfigurationFiles(str(tmp_path / "iscsi.conf"), str(tmp_path / "name"))


def refusal(files: ConfigurationFiles) -> tuple[str, ...]:
    fact = files.read()
    assert isinstance(fact, ConfigurationRefused)
    return fact.diagnostics


def test_both_files_together_are_one_fact(files: ConfigurationFiles) -> None:
    fact = files.read()
    assert isinstance(fact, ConfigurationRead)
    assert fact.initiator_name == NAME and len(fact.configuration.discoveries) == 1


def test_the_initiator_name_is_passed_on_as_written_with_remarks(files: ConfigurationFiles) -> None:
    Path(files.initiatorname).write_text("InitiatorName=iqn.2024-01.org.example:HOST\n")
    fact = files.read()
    assert isinstance(fact, ConfigurationRead)
    assert fact.initiator_name == "iqn.2024-01.org.example:HOST"
    (remark,) = fact.remarks
    assert "sent as it is written" in remark


def test_a_file_is_read_anew_each_time(files: ConfigurationFiles) -> None:
    files.read()
    Path(files.config).write_text("DiscoveryAddress=192.0.2.1\nDiscoveryAddress=192.0.2.2\n")
    fact = files.read()
    assert isinstance(fact, ConfigurationRead) and len(fact.configuration.discoveries) == 2


def test_errors_of_both_files_are_reported_in_one_run(files: ConfigurationFiles) -> None:
    Path(files.config).write_text("DiscoveryAdress=192.0.2.1\n")
    Path(files.initiatorname).write_text("InitiatorName=non/sense\n")
    first, second = refusal(files)
    assert first.startswith(f"{files.config}:1:1: ") and "DiscoveryAddress" in first
    assert second.startswith(f"{files.initiatorname}:1:")


def test_a_missing_initiator_name_names_the_command_that_makes_one(
    files: ConfigurationFiles,
) -> None:
    os.unlink(files.initiatorname)
    (line,) = refusal(files)
    assert files.initiatorname in line and "iscsi-iname" in line


def test_a_missing_configuration_is_named(files: ConfigurationFiles) -> None:
    os.unlink(files.config)
    (line,) = refusal(files)
    assert files.config in line and "No such file" in line


def test_secrets_that_others_may_read_are_refused_with_the_command_that_mends_it(
    files: ConfigurationFiles,
) -> None:
    path = Path(files.config)
    path.write_text("Username=alice\nPassword=a-long-secret-1\nDiscoveryAddress=192.0.2.1\n")
    path.chmod(0o644)
    (line,) = refusal(files)
    assert "chmod" in line and files.config in line and "a-long-secret-1" not in line
    path.chmod(0o600)
    fact = files.read()
    assert isinstance(fact, ConfigurationRead)


def test_a_broken_file_with_secrets_is_judged_for_both(files: ConfigurationFiles) -> None:
    path = Path(files.config)
    path.write_text("Username=alice\nPassword=a-long-secret-1\nNonsense=1\n")
    path.chmod(0o644)
    with pytest.raises(ConfigurationErrors) as caught:
        read_configuration(files.config)
    complaints = "\n".join(caught.value.lines)
    assert (
        "chmod" in complaints
        and "unknown keyword" in complaints
        and "a-long-secret-1" not in complaints
    )


def test_a_fifo_or_a_directory_in_place_of_the_file_does_not_hang_the_start(
    files: ConfigurationFiles,
) -> None:
    os.unlink(files.config)
    os.mkfifo(files.config)
    assert "no regular file" in refusal(files)[0]
    os.unlink(files.config)
    os.mkdir(files.config)
    assert files.config in refusal(files)[0]


def test_an_address_that_the_file_does_not_name_gets_the_settings_at_its_end(
    files: ConfigurationFiles,
) -> None:
    Path(files.config).write_text("DiscoveryAddress=192.0.2.1\nLoginTimeout=7\n")
    first, second = read_configuration(files.config, Portal("192.0.2.2")).discoveries
    assert (first.portal.host, first.timeouts.login) == ("192.0.2.1", 15)
    assert (second.portal.host, second.timeouts.login) == ("192.0.2.2", 7)
    assert len(read_configuration(files.config, Portal("192.0.2.1")).discoveries) == 1


def test_with_an_address_the_file_may_be_missing_but_not_wrong(files: ConfigurationFiles) -> None:
    absent = replace(files, config=f"{files.config}.none", address=Portal("192.0.2.2"))
    fact = absent.read()
    assert isinstance(fact, ConfigurationRead) and len(fact.configuration.discoveries) == 1
    Path(files.config).write_text("Foo=1\n")
    assert "unknown keyword" in refusal(replace(files, address=Portal("192.0.2.2")))[0]
