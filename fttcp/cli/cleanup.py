"""`fttcp cleanup`: remove every trace of a daemon that was killed."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import CommandError, ConfigurationError

DEFAULT_RUN_DIR = Path("/run/fttcp")


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path), help="The daemon's configuration, to find its run_dir."
)
@click.option("--run-dir", type=click.Path(path_type=Path), help="The daemon's run directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cleanup(config: Path | None, run_dir: Path | None, as_json: bool) -> None:
    """Remove every trace of a daemon that was killed: servers, rules, addresses, routes, sysctls.

    Refused while a daemon runs. May be repeated, and run where nothing is left. It opens the firewall
    rules, so nothing may run under the service addresses any more (a server of `pid_file` or `unit`).
    The start of a daemon cleans up as well; its regular end leaves nothing.
    """
    from fttcp.network.kernel import KernelError
    from fttcp.network.rules import RulesError
    from fttcp.node.cleanup import clean
    from fttcp.node.rundir import BusyError

    directory = run_dir or (_run_dir(config) if config is not None else DEFAULT_RUN_DIR)
    try:
        found = asyncio.run(clean(directory))
    except BusyError as error:
        raise CommandError(f"{error}: nothing was changed; stop it first", "busy") from error
    except (KernelError, RulesError, OSError) as error:
        why = f"{directory}: not all could be removed, try again: {error}"
        raise CommandError(why, "incomplete") from error
    if as_json:
        show_json({"run_dir": str(directory), "removed": found})
        return
    lines = [f"{what}: {_shown(value)}" for what, value in found.items() if value]
    click.echo(
        "\n".join(["removed", *(f"  {line}" for line in lines)])
        if lines
        else f"{directory}: nothing was left"
    )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _run_dir(config: Path) -> Path:
    """Return run_dir of a configuration, whatever else may be wrong in it. Raises ConfigurationError."""
    try:
        with config.open("rb") as file:
            node = tomllib.load(file).get("node", {})
    except OSError as error:
        raise ConfigurationError(
            [f"{config}: cannot be read: {error.strerror}; or give --run-dir"]
        ) from error
    except ValueError as error:  # not TOML, or not even UTF-8
        raise ConfigurationError([f"{config}: not TOML: {error}; or give --run-dir"]) from error
    return Path(str(node.get("run_dir", DEFAULT_RUN_DIR))) if isinstance(node, dict) else DEFAULT_RUN_DIR
