"""Writes what goes with an installed `fttcp`: manual pages and shell completions, made from the commands
themselves, and systemd units for the place where fttcp is.

    packaging/extras.py OUT --fttcp /usr/local/bin/fttcp
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from fttcp import __version__
from fttcp.cli.main import main

COMPLETIONS = {
    "bash": "share/bash-completion/completions/fttcp",
    "zsh": "share/zsh/site-functions/_fttcp",
    "fish": "share/fish/vendor_completions.d/fttcp.fish",
}
UNITS = Path(__file__).parent / "systemd"
_STATUS = """0: done, or the answer is printed. 1: refused, failed, or no daemon answers; the reason is on
standard error, or with --json on standard output. 2: a wrong option or a wrong configuration. 3: not done
in time; it may still come."""
_FILES = """/etc/fttcp/node.toml: the configuration, by convention. /run/fttcp: control socket, pid file,
records of what must be undone (node.run_dir). /var/lib/fttcp: events, maintenance (node.state_dir)."""


def troff(text: str) -> str:
    """Escape text for troff; a line must not begin with a dot or an apostrophe."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.splitlines())


def commands(group: click.Group, name: str, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every sub-command with its whole name."""
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if command is None or command.hidden:
            continue
        yield f"{name} {word}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}", context)


def page(name: str, command: click.Command, children: list[tuple[str, click.Command]]) -> str:
    """Return a command's manual page, section 1."""
    context = click.Context(command, info_name=name)
    summary = command.get_short_help_str(200).rstrip(".")
    lines = [
        f'.TH "{name.upper().replace(" ", "-")}" "1" "" "fttcp {__version__}" "fttcp"',
        ".SH NAME",
        troff(f"{name.replace(' ', '-')} - {summary[:1].lower()}{summary[1:]}"),
        ".SH SYNOPSIS",
        f".B {troff(name)}",
        troff(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
    ]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += [".PP", troff(paragraph)]
    records = [
        record for p in command.get_params(context) if (record := p.get_help_record(context)) and record[1]
    ]
    if records:
        lines.append(".SH OPTIONS")
    for options, help_text in (record for record in records if record[1]):
        lines += [".TP", f".B {troff(options)}", troff(help_text)]
    if children:
        lines.append(".SH COMMANDS")
    for child, sub in children:
        lines += [".TP", f".BR {troff(child.replace(' ', '-'))} (1)", troff(sub.get_short_help_str(200))]
    lines += [".SH EXIT STATUS", troff(_STATUS), ".SH FILES", troff(_FILES)]
    if name != "fttcp":
        lines += [".SH SEE ALSO", ".BR fttcp (1)"]
    return "\n".join(lines) + "\n"


def write_manual(out: Path) -> None:
    """Write one page for each command."""
    context = click.Context(main, info_name="fttcp")
    everything = [("fttcp", main), *commands(main, "fttcp", context)]
    directory = out / "share/man/man1"
    directory.mkdir(parents=True, exist_ok=True)
    for name, command in everything:
        children = [(n, c) for n, c in everything if n.rpartition(" ")[0] == name]
        (directory / f"{name.replace(' ', '-')}.1").write_text(
            page(name, command, children), encoding="utf-8"
        )


def write_completions(out: Path) -> None:
    """Write what the shells load."""
    for shell, place in COMPLETIONS.items():
        kind = get_completion_class(shell)
        assert kind is not None
        path = out / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(kind(main, {}, "fttcp", "_FTTCP_COMPLETE").source(), encoding="utf-8")


def write_units(out: Path, fttcp: str) -> None:
    """Write the units, which name the program, and the user that they run as."""
    directory = out / "lib/systemd/system"
    directory.mkdir(parents=True, exist_ok=True)
    for template in sorted(UNITS.glob("*.service.in")):
        unit = template.read_text(encoding="utf-8").replace("@FTTCP@", fttcp)
        (directory / template.stem).write_text(unit, encoding="utf-8")
    users = out / "lib/sysusers.d/fttcp.conf"
    users.parent.mkdir(parents=True, exist_ok=True)
    users.write_text((UNITS / "fttcp.sysusers").read_text(encoding="utf-8"), encoding="utf-8")


def run() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="directory to write below, like /usr/local")
    parser.add_argument("--fttcp", required=True, help="the program, as the units are to start it")
    options = parser.parse_args()
    write_manual(options.out)
    write_completions(options.out)
    write_units(options.out, options.fttcp)


if __name__ == "__main__":
    run()
