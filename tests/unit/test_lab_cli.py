"""The lab's command line: which lab is meant."""

from __future__ import annotations

import os
from typing import Any

import pytest
from click.testing import CliRunner

from fttcp.cli.main import main
from lab import cli as lab_cli
from lab.firewalls import RULE_ACTS


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of labs that commands asked for."""
    names: list[str] = []

    class Stand:
        def __init__(self, name: str) -> None:
            names.append(name)
            self.name = name

        def __getattr__(self, call: str) -> Any:
            if call == "status":
                return lambda: {"nodes": []}
            if call == "env":
                return lambda: {"LAB": self.name}
            return lambda *args, **options: True

    monkeypatch.setattr(lab_cli, "Lab", Stand)
    monkeypatch.setattr(lab_cli, "make_fault", lambda lab, kind, **options: {"fault": kind, "at_s": 0.0})
    monkeypatch.setattr(lab_cli, "become_root", lambda name: None)
    monkeypatch.delenv("FTTCP_LAB", raising=False)
    return names


@pytest.mark.parametrize(
    "words",
    [
        "up", "down", "env", "status", "wait synced", "fault heal", "fault cut peer alpha",
        "fault crash-host", f"fault rules {next(iter(RULE_ACTS))}", "fault switchover beta",
    ],
)  # fmt: skip
def test_every_command_takes_the_name_before_and_behind_its_words(
    named: list[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    first, *rest = words.split()
    name = ["--name", "mine"]
    lines = [[first, *rest, *name], [first, *name, *rest], [*name, first, *rest]]
    lines += [["--name", "other", first, *rest, *name]]
    for line in lines:
        done = CliRunner().invoke(main, ["lab", *line])
        assert done.exit_code == 0, (line, done.output)
        assert named.pop() == "mine"
    monkeypatch.setenv("FTTCP_LAB", "by-environment")
    CliRunner().invoke(main, ["lab", *words.split(), "--name", "mine"])
    assert named.pop() == "mine"
    CliRunner().invoke(main, ["lab", *words.split()])
    assert not named or named.pop() == "by-environment"


def test_the_lab_is_the_default_one_if_nobody_names_it(named: list[str]) -> None:
    assert CliRunner().invoke(main, ["lab", "env"]).output == "LAB=default\n"


def test_the_bench_of_who_is_not_root_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(main, ["bench"])
    assert done.exit_code == 1
    said = [line for line in done.output.splitlines() if not line.startswith(("about ", "|"))]
    assert len(said) == 1 and "needs root: run it with sudo" in said[0], done.output
    assert CliRunner().invoke(main, ["bench", "--help"]).exit_code == 0
