"""Writes what goes with an installed `fttcp`: manual pages and shell completions, made from the commands
themselves, manual pages of the configuration files and samples of these, made from the documentation, and
systemd units for the place where fttcp is.

    packaging/extras.py OUT --fttcp /usr/local/bin/fttcp
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

sys.path.insert(0, str(Path(__file__).parent))
from markdown_man import code, escape, section, to_troff

from fttcp import __version__
from fttcp.cli.main import main

COMPLETIONS = {
    "bash": "share/bash-completion/completions/fttcp",
    "zsh": "share/zsh/site-functions/_fttcp",
    "fish": "share/fish/vendor_completions.d/fttcp.fish",
}
ROOT = Path(__file__).parents[1]
NODE_EXAMPLE = "## Two hosts, from nothing"
UNITS = Path(__file__).parent / "systemd"
_STATUS = """0: done, or the answer is printed. 1: refused, failed, or no daemon answers; the reason is on
standard error, or with --json on standard output. 2: a wrong option or a wrong configuration. 3: not done
in time; it may still come."""
_OWN_STATUS = "Exit status: "
"""A command whose help has a paragraph that begins so has numbers of its own."""
_FILES = """/etc/fttcp/node.toml: the configuration, by convention. /run/fttcp: control socket, pid file,
records of what must be undone (node.run_dir). /var/lib/fttcp: events, maintenance (node.state_dir)."""


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
        escape(f"{name.replace(' ', '-')} - {summary[:1].lower()}{summary[1:]}"),
        ".SH SYNOPSIS",
        f".B {escape(name)}",
        escape(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
    ]
    status = _STATUS
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith(_OWN_STATUS):
            status = paragraph.removeprefix(_OWN_STATUS)
        else:
            lines += [".PP", escape(paragraph)]
    records = [
        record for p in command.get_params(context) if (record := p.get_help_record(context)) and record[1]
    ]
    if records:
        lines.append(".SH OPTIONS")
    for options, help_text in records:
        lines += [".TP", f".B {escape(options)}", escape(help_text)]
    if children:
        lines.append(".SH COMMANDS")
    for child, sub in children:
        lines += [".TP", f".BR {escape(child.replace(' ', '-'))} (1)", escape(sub.get_short_help_str(200))]
    lines += [".SH EXIT STATUS", escape(status), ".SH FILES", escape(_FILES)]
    if name != "fttcp":
        lines += [".SH SEE ALSO", ".BR fttcp (1)"]
    else:
        lines += [".SH SEE ALSO", ".BR node.toml (5),", ".BR witness.toml (5)"]
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


def read(name: str) -> str:
    """Return a text of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def file_pages() -> dict[str, tuple[str, str]]:
    """For each configuration file: what its page says of it in a line, and the page's text in Markdown."""
    settings = read("docs/settings.md")
    links = section(read("docs/operations.md"), "### Links")
    example = code(read("README.md"), NODE_EXAMPLE, "toml")
    node = [section(settings, "## node.toml"), "### Links", links, "### Example", f"```toml\n{example}```"]
    witness = [
        section(settings, "## witness.toml"),
        "### Use",
        section(read("docs/arbiters.md"), "## Witness"),
    ]
    return {
        "node.toml": ("configuration of a node of fttcp", "\n".join(node)),
        "witness.toml": ("configuration of the witness of fttcp", "\n".join(witness)),
    }


def write_file_pages(out: Path) -> None:
    """Write the pages of section 5."""
    directory = out / "share/man/man5"
    directory.mkdir(parents=True, exist_ok=True)
    for name, (summary, text) in file_pages().items():
        head = f'.TH "{name.upper()}" "5" "" "fttcp {__version__}" "fttcp"\n'
        head += f".SH NAME\n{escape(name)} \\- {summary}\n.SH DESCRIPTION\n"
        tail = ".SH SEE ALSO\n.BR fttcp (1),\n.BR fttcp\\-check\\-config (1),\n.BR fttcp\\-doctor (1)\n"
        (directory / f"{name}.5").write_text(head + to_troff(text) + tail, encoding="utf-8")


def write_samples(out: Path) -> None:
    """Write the configurations that the documentation shows."""
    directory = out / "share/doc/fttcp/examples"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "node.toml").write_text(code(read("README.md"), NODE_EXAMPLE, "toml"), encoding="utf-8")
    (directory / "witness.toml").write_text(
        code(read("docs/arbiters.md"), "## Witness", "toml"), encoding="utf-8"
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
    write_file_pages(options.out)
    write_samples(options.out)
    write_completions(options.out)
    write_units(options.out, options.fttcp)


if __name__ == "__main__":
    run()
