"""`fttcp node`: the daemon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration (TOML).")
def node(config: Path) -> None:
    """Run the daemon of this host in the foreground until SIGTERM."""
    from fttcp.datapath.base import EngineError
    from fttcp.datapath.kernel import KernelError
    from fttcp.datapath.rules import RulesError
    from fttcp.runtime.config import ConfigError, load
    from fttcp.runtime.node import Node, NodeError
    from fttcp.wire.errors import WireError

    try:
        loaded = load(config)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    try:
        asyncio.run(Node(loaded).run())
    except (EngineError, KernelError, RulesError, NodeError, WireError, OSError) as error:
        raise click.ClickException(f"{config}: the node cannot run: {error}") from error
