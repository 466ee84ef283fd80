"""`fttcp witness`: the daemon that keeps the registers on a third host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import CommandError, ConfigurationError

if TYPE_CHECKING:
    from fttcp.config.witness import WitnessConfig


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The witness's file (TOML).")
@click.option("--init", is_flag=True, help="Make the data file of a new witness, and end.")
@click.option("--status", is_flag=True, help="Ask the running witness what it holds, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --status: print one JSON object.")
def witness(config: Path, init: bool, status: bool, as_json: bool) -> None:
    """Run the witness in the foreground until SIGTERM."""
    if init and status:
        raise click.UsageError("--init makes a new witness, --status asks a running one: give one of the two")
    if as_json and not status:
        raise click.UsageError("--json goes with --status")
    from fttcp.config.error import ConfigError
    from fttcp.config.witness import load_witness
    from fttcp.node import witness as daemon
    from fttcp.wire.errors import WireError

    try:
        loaded = load_witness(config)
    except ConfigError as error:
        raise ConfigurationError(error.errors) from error
    try:
        if init:
            daemon.initialise(loaded)
            click.echo(f"{loaded.data_file}: made")
        elif status:
            _show(loaded, as_json)
        else:
            asyncio.run(daemon.run(loaded))
    except (daemon.WitnessError, WireError) as error:
        raise CommandError(f"{config}: {error}") from error


def _show(config: WitnessConfig, as_json: bool) -> None:
    """Print what the running witness says of each of its clusters."""
    import msgspec

    from fttcp.node.witness import ask_status

    shown: dict[str, Any] = {}
    for cluster in config.cluster:
        status = asyncio.run(ask_status(config, cluster.name))
        if status is None:
            raise CommandError(
                f"{', '.join(config.listen)}: no witness answers for cluster {cluster.name}; is it running, "
                "with this file? (its log tells what it drops)",
                "no-witness",
            )
        shown[cluster.name] = msgspec.to_builtins(status)
    if as_json:
        show_json(shown)
        return
    for name, status in shown.items():
        click.echo(f"cluster {name}  (release {status['release']}, up {status['uptime_ns'] / 1e9:.0f} s)")
        for entry in status["registers"]:
            record, lease_ns = entry.get("record"), entry.get("lease_ns")
            if record is None:
                continue
            who = f"{record['mode']} {record['holder']}" + (
                f", {record['backup']}" if record["backup"] else ""
            )
            lease = "" if lease_ns is None else f", lease {lease_ns / 1e9:.1f} s"
            click.echo(f"  {entry['group']:<16} epoch {record['epoch']}  {who}{lease}")
        for counter, value in sorted(status["counters"].items()):
            click.echo(f"  {counter:<24} {value}")
