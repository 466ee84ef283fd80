"""`fttcp node`: the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from fttcp.cli.failure import CommandError, ConfigurationError


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration (TOML).")
def node(config: Path) -> None:
    """Run the daemon of this host in the foreground until SIGTERM; SIGHUP reloads the configuration."""
    from fttcp.config import ConfigError, load_to_run
    from fttcp.node.node import START_ERRORS, run

    try:
        loaded = load_to_run(config)
    except ConfigError as error:
        raise ConfigurationError(error.errors) from error
    try:
        run(loaded, config)
    except START_ERRORS as error:
        raise CommandError(f"{config}: the node cannot run: {error}") from error
