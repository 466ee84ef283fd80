"""`fttcp check-config` and `fttcp keygen`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import CommandError
from fttcp.config import ConfigError, load
from fttcp.config.present import trouble_of_spool, what_is_missing
from fttcp.config.reader import read_tables
from fttcp.config.witness import is_witness, load_witness
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_config(file: Path, as_json: bool) -> None:
    """Check a node's configuration FILE, or a witness's, with the keys, programs and files that it names.

    Exit status 2 if anything is wrong."""
    errors: list[str] = []
    names: list[str] = []
    what = "node"
    try:
        raw = read_tables(file)
        if is_witness(raw):
            what = "witness"
            names = _check_witness(file, raw, errors)
        else:
            names = _check_node(file, raw, errors)
    except ConfigError as error:
        errors += error.errors
    list_name = "clusters" if what == "witness" else "groups"
    if as_json:
        wrong = {"reason": "wrong-configuration", "error": "\n".join(errors)} if errors else {}
        shown = {"file": str(file), "kind": what, "ok": not errors}
        show_json({**shown, **wrong, "errors": errors, list_name: names})
    elif errors:
        click.echo("\n".join(errors), err=True)
    else:
        click.echo(f"{file}: good: a {what}'s file ({list_name}: {', '.join(names)})")
    sys.exit(2 if errors else 0)


def _check_node(file: Path, raw: dict[str, Any], errors: list[str]) -> list[str]:
    """Return the groups' names; what is wrong is noted, the key's trouble beside all else."""
    names = []
    try:
        config = load(file)
        names = [group.name for group in config.group]
        errors += [f"{file}: {error}" for error in what_is_missing(config)]
        errors += [
            f"{file}: group[{i}].renew_spool_dir: {group.renew_spool_dir}: {trouble}"
            for i, group in enumerate(config.group)
            if group.renew_spool_dir is not None and (trouble := trouble_of_spool(group.renew_spool_dir))
        ]
    except ConfigError as error:
        errors += error.errors
    _check_key(file, raw.get("node"), "node.key_file", errors)
    groups = raw.get("group")
    for i, group in enumerate(groups if isinstance(groups, list) else ()):
        entries = group.get("md5") if isinstance(group, dict) else None
        for k, entry in enumerate(entries if isinstance(entries, list) else ()):
            _check_key(file, entry, f"group[{i}].md5[{k}].key_file", errors, keyfile.load_password)
    arbiter = raw.get("arbiter")
    witness = arbiter.get("witness") if isinstance(arbiter, dict) else None
    _check_key(file, witness, "arbiter.witness.key_file", errors)
    return names


def _check_witness(file: Path, raw: dict[str, Any], errors: list[str]) -> list[str]:
    names = []
    try:
        names = [cluster.name for cluster in load_witness(file).cluster]
    except ConfigError as error:
        errors += error.errors
    clusters = raw.get("cluster")
    for i, cluster in enumerate(clusters if isinstance(clusters, list) else ()):
        _check_key(file, cluster, f"cluster[{i}].key_file", errors)
    return names


def _check_key(
    file: Path, table: Any, where: str, errors: list[str], load_it: Callable[[Path], object] = keyfile.load
) -> None:
    path = table.get("key_file") if isinstance(table, dict) else None
    if not isinstance(path, str) or not path:
        return  # complained about already, or none is wanted
    if keyfile.is_credential(path) and "CREDENTIALS_DIRECTORY" not in os.environ:
        return  # the unit has it, and runs this check, too
    try:
        load_it(keyfile.locate(path))
    except WireError as error:
        errors.append(f"{file}: {where}: {error}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def keygen(file: Path, as_json: bool) -> None:
    """Write a new random key to FILE (mode 0600). Both nodes of a pair need the same file.

    Its directory is made (mode 0700) if it is not there."""
    try:
        keyfile.generate(file)
    except WireError as error:
        raise CommandError(str(error), "key-file") from error
    if as_json:
        show_json({"file": str(file)})
    else:
        click.echo(f"{file}: new key; copy it to the other node, readable by its owner only")
