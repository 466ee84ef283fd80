"""The lab's commands at a prompt."""

from __future__ import annotations

import io
import signal
from collections.abc import Sequence
from typing import Any

import click
import pytest

from lab.cli import lab
from lab.hosts import Process
from lab.lifecycle import Lab
from lab.shell import Shell, run


def offered(before: str, text: str) -> list[str]:
    return [word.strip() for word in Shell(lab, "x").possible(before.split(), text)]


def test_what_may_stand_there_is_offered() -> None:
    assert {"status", "fault", "exec", "help", "quit"} <= set(offered("", ""))
    assert offered("", "sta") == ["status"]
    assert {"crash-host", "kill-server"} <= set(offered("fault", ""))
    assert offered("fault cut", "p") == ["peer"]
    assert "shell" not in offered("", "")


def test_the_shell_has_its_signals_back_after_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(Lab):
        def popen(self, host: str, argv: Sequence[str], **options: Any) -> Process:
            return Process(argv)

    monkeypatch.setattr("lab.cli.Lab", Here)
    monkeypatch.setattr("lab.cli.become_root", lambda name: None)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    Shell(lab, "x").onecmd("exec client true")
    assert [signal.getsignal(number) for number in numbers] == before


def test_each_line_is_a_command_for_its_lab(capsys: pytest.CaptureFixture[str]) -> None:
    """One that fails says why, and does not end the shell."""

    @click.group()
    @click.option("--name")
    @click.pass_context
    def commands(context: click.Context, name: str) -> None:
        context.obj = name

    @commands.command()
    @click.argument("word")
    @click.pass_obj
    def say(name: str, word: str) -> None:
        click.echo(f"{name} says {word}")

    @commands.command()
    def fail() -> None:
        raise click.ClickException("it is broken")

    @commands.command()
    def end() -> None:
        raise SystemExit(3)

    shell = Shell(commands, "mine")
    shell.stdin = io.StringIO(
        "say 'two words'\nfail\nend\nnothing\nsay \"open\n\nsay last\nquit\nsay never\n"
    )
    shell.use_rawinput = False
    shell.cmdloop()
    said = capsys.readouterr()
    assert said.out.splitlines() == ["mine says two words", "mine says last"]
    assert "it is broken" in said.err and "No such command 'nothing'" in said.err and "quotation" in said.err


def test_it_ends_with_its_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("help\n"))
    run(lab, "mine")
    assert "Commands:" in capsys.readouterr().out
