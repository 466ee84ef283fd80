"""Keys that systemd hands to the unit: `key_file = "credential:NAME"`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fttcp.cli.main import main
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError

CONFIG = """
[node]
name = "alpha"
cluster = "office"
key_file = "credential:pair"
service_interface = "eth0"
peer_interface = "eth1"

[peer]
name = "beta"

[[link]]
interface = "eth1"
local = "10.78.0.1"
remote = "10.78.0.2"

[[group]]
name = "web"
addresses = ["192.0.2.100"]
ports = ["80/tcp"]
command = "sleep infinity"
"""


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Credentials as systemd makes them for a unit with User=: the ACL's mask shows as group's bits."""
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o500)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    keyfile.generate(tmp_path / "key")
    shutil.copy(tmp_path / "key", directory / "pair")
    (directory / "pair").chmod(0o440)
    return directory


def test_a_credential_is_a_key_as_systemd_makes_it(given: Path) -> None:
    path = keyfile.locate("credential:pair")
    assert path == given / "pair"
    assert keyfile.load(path).ids() == keyfile.load(given.parent / "key").ids()


def test_others_must_not_read_it_and_files_elsewhere_are_judged_as_ever(given: Path) -> None:
    (given / "pair").chmod(0o444)
    with pytest.raises(WireError, match="lets others read"):
        keyfile.load(keyfile.locate("credential:pair"))
    (given.parent / "key").chmod(0o440)
    with pytest.raises(WireError, match="lets others read"):
        keyfile.load(keyfile.locate(str(given.parent / "key")))


@pytest.mark.parametrize("name", ["credential:", "credential:../key", "credential:..", "credential:a/b"])
def test_a_credential_is_a_name(given: Path, name: str) -> None:
    with pytest.raises(WireError, match="names no credential"):
        keyfile.locate(name)


def test_who_was_given_none_is_told_what_the_unit_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(WireError, match="LoadCredential=pair:FILE"):
        keyfile.locate("credential:pair")


def test_check_config_looks_at_it_inside_of_the_unit(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = given.parent / "node.toml"
    file.write_text(CONFIG)
    assert CliRunner().invoke(main, ["check-config", str(file)]).exit_code == 0
    (given / "pair").unlink()
    done = CliRunner().invoke(main, ["check-config", str(file)])
    assert done.exit_code == 2 and "no key file" in done.output + done.stderr
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert CliRunner().invoke(main, ["check-config", str(file)]).exit_code == 0
    done = CliRunner().invoke(main, ["key", "show", "--config", str(file)])
    assert done.exit_code == 2 and "LoadCredential=" in done.output + done.stderr
