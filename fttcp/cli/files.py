"""`fttcp check-config` and `fttcp keygen`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import CommandError
from fttcp.runtime.config import ConfigError, load
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_config(file: Path, as_json: bool) -> None:
    """Check the configuration FILE and the key that it names; exit status 2 if anything is wrong."""
    errors: list[str] = []
    groups: list[str] = []
    try:
        config = load(file)
        groups = [group.name for group in config.group]
        keyfile.load(Path(config.node.key_file))
    except ConfigError as error:
        errors += error.errors
    except WireError as error:
        errors.append(f"{file}: node.key_file: {error}")
    if as_json:
        wrong = {"reason": "wrong-configuration", "error": "\n".join(errors)} if errors else {}
        show_json({"file": str(file), "ok": not errors, **wrong, "errors": errors, "groups": groups})
    elif errors:
        click.echo("\n".join(errors), err=True)
    else:
        click.echo(f"{file}: good ({len(groups)} group(s): {', '.join(groups)})")
    sys.exit(2 if errors else 0)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def keygen(file: Path, as_json: bool) -> None:
    """Write a new random key to FILE (mode 0600). Both nodes of a pair need the same file."""
    try:
        keyfile.generate(file)
    except WireError as error:
        raise CommandError(str(error), "key-file") from error
    if as_json:
        show_json({"file": str(file)})
    else:
        click.echo(f"{file}: new key; copy it to the other node, readable by root only")
