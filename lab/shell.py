"""``fttcp lab shell``: the lab's commands at a prompt, with completion."""

from __future__ import annotations

import cmd
import os
import shlex
import sys
from collections.abc import Iterator

import click
from click.shell_completion import ShellComplete

from lab.rootless import in_child

LEAVE = ("exit", "quit", "EOF")


class Shell(cmd.Cmd):
    """Reads lines, each of them a command of ``fttcp lab`` for one lab. One that fails says why, and the
    shell goes on."""

    def __init__(self, commands: click.Group, name: str) -> None:
        super().__init__()
        self._commands, self._name = commands, name
        self.prompt = f"{name}> " if sys.stdin.isatty() else ""
        self._offered: list[str] = []

    def onecmd(self, line: str) -> bool:
        """Do what a line says; True: leave."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            click.echo(f"{line}: {error}", err=True)
            return False
        if words and words[0] in LEAVE:
            return True
        if words == ["help"]:
            words = ["--help"]
        if words and words[0] != "shell":
            self._run(words)
        return False

    def _run(self, words: list[str]) -> None:
        if os.geteuid() == 0:
            self._do(words)
        else:
            in_child(lambda: self._do(words))  # each becomes root of its own: the lab may be another one

    def _do(self, words: list[str]) -> None:
        try:
            self._commands.main(["--name", self._name, *words], prog_name="fttcp lab", standalone_mode=False)
        except click.ClickException as error:
            error.show()
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
        except SystemExit:  # a command that gives its own exit status, as exec does
            return

    def complete(self, text: str, state: int) -> str | None:  # type: ignore[override]
        """Return the next of what may stand here, as readline asks."""
        if state == 0:
            self._offered = list(self._possible(text))
        return self._offered[state] if state < len(self._offered) else None

    def _possible(self, text: str) -> Iterator[str]:
        import readline

        before = readline.get_line_buffer()[: readline.get_begidx()].split()
        return self.possible(before, text)

    def possible(self, before: list[str], text: str) -> Iterator[str]:
        """Yield what may stand behind the words ``before`` and begins with ``text``."""
        found = ShellComplete(self._commands, {}, "fttcp lab", "").get_completions(before, text)
        yield from (f"{item.value} " for item in found if item.type == "plain" and item.value != "shell")
        if not before:
            yield from (f"{word} " for word in ("help", "quit") if word.startswith(text))


def run(commands: click.Group, name: str) -> None:
    """Read commands until the end of the input."""
    shell = Shell(commands, name)
    if sys.stdin.isatty():
        import readline

        readline.set_completer_delims(" ")
        shell.intro = (
            'Commands of "fttcp lab" for this lab; help lists them, the tab key completes, quit leaves.'
        )
    while True:
        try:
            shell.cmdloop()
            return
        except KeyboardInterrupt:
            click.echo()
            shell.intro = None
