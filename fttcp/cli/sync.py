"""`fttcp sync`: directories of the nodes kept identical; a service of its own beside the daemon."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import to_builtins

from fttcp.cli.client import CONFIG, AskError, RefusedError, ask, load_config, show_json
from fttcp.cli.failure import CommandError
from fttcp.cli.service import until_told
from fttcp.sync.news import news
from fttcp.sync.record import Records, Report

if TYPE_CHECKING:
    from fttcp.config import Config
    from fttcp.sync.copying import Pair
    from fttcp.sync.settings import SyncSection

_NOW_S = 86_400.0
_Function = TypeVar("_Function", bound=Callable[..., Any])
_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=CONFIG,
    show_default=True,
    help="The node's configuration.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def sync() -> None:
    """Keep the directories of [[sync]] the same on this node and its peers.

    The newest version of a file wins; docs/operations.md tells the rules."""


@sync.command()
@_config
def run(config: Path) -> None:
    """Run the service in the foreground until SIGTERM.

    Of two nodes that with the smaller name copies; the other one answers by its shell."""
    from fttcp.sync.service import Service

    loaded = load_config(config)
    pairs = list(_pairs(loaded, config))
    service = Service(pairs, _records(loaded), _primary_of(loaded), _telling(loaded))
    _run_dir(loaded).mkdir(mode=0o700, parents=True, exist_ok=True)
    with (_run_dir(loaded) / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"{lock.name}: another `fttcp sync run` of this node is at work", "busy"
            ) from error
        os.nice(19)
        asyncio.run(until_told(service.run(_socket(loaded))))


@sync.command()
@_config
@_json
def status(config: Path, as_json: bool) -> None:
    """Show for each directory and peer how old the last good copy is, and what went wrong since."""
    loaded = load_config(config)
    records, now = _records(loaded), datetime.now(UTC)
    shown = []
    for section, peer in _both(loaded):
        try:
            report = records.report(section.name, peer)
        except PermissionError as error:
            raise CommandError(
                f"{error.filename}: {error.strerror}: say it as root", "no-permission"
            ) from error
        driver = min(loaded.node.name, peer)
        report = report or Report(section.name, peer, driver, section.directory)
        age_s = report.age_s(now)
        shown.append(to_builtins(report) | {"age_s": None if age_s is None else round(age_s)})
    running = _socket(loaded).exists()
    if as_json:
        show_json({"node": loaded.node.name, "running": running, "sync": shown})
        return
    if not running:
        click.echo("the service does not run on this node: systemctl start fttcp-sync")
    for one in shown:
        click.echo("\n".join(_lines(one)))


def _lines(one: dict[str, Any]) -> Iterator[str]:
    age = "never" if one["age_s"] is None else f"{one['age_s']} s ago"
    yield f"{one['entry']}  {one['directory']}  with {one['peer']} (by {one['driver']})  good copy {age}"
    yield (
        f"  {one['files']} files, {one['bytes']} bytes copied, {one['removed']} removed, "
        f"{one['conflicts']} conflicts; the last one took {one['took_s']} s"
    )
    if one["interrupted_at"] is not None:
        yield f"  interrupted at {one['interrupted_at']}: it goes on later"
    if one["error"] is not None:
        yield f"  failed at {one['tried_at']}: {one['error']}"


@sync.command()
@click.argument("name", required=False)
@_config
@_json
def now(name: str | None, config: Path, as_json: bool) -> None:
    """Copy now, in quiet hours, too; wait until it is done."""
    loaded = load_config(config)
    if name is not None:
        _section(loaded, name)
    if not any(name in (None, section.name) and loaded.node.name < peer for section, peer in _both(loaded)):
        first = min(peer.name for peer in loaded.peer)
        raise CommandError(f"this node copies nothing by itself: say it on {first}", "not-driver")
    path = _socket(loaded)
    try:
        copies = ask(path, _NOW_S, now=name)["copies"]
    except AskError as error:
        raise CommandError(
            f"{path}: the service does not answer: systemctl start fttcp-sync", "no-daemon"
        ) from error
    if not copies:
        raise CommandError(
            f"the service does not know {name or 'what to copy'} yet: systemctl restart fttcp-sync",
            "no-daemon",
        )
    if as_json:
        show_json({"sync": copies})
    failed = [one for one in copies if one["error"] is not None]
    for one in failed:
        click.echo(f"{one['entry']} with {one['peer']}: {one['error']}", err=True)
    raise SystemExit(1 if failed else 0)


@sync.command(hidden=True)
@click.argument("name")
@_config
def agent(name: str, config: Path) -> None:
    """Serve a node that copies, over standard input and output."""
    from fttcp.sync.agent import Agent
    from fttcp.sync.tree import Directory

    loaded = load_config(config)
    section = _section(loaded, name)
    os.nice(19)
    records, tell = _records(loaded), _telling(loaded)

    def keep(report: Report) -> None:
        before = records.report(report.entry, report.peer)
        records.keep_report(report, report.peer)
        asyncio.run(tell(report, before))

    Agent(Directory(Path(section.directory), section.exclude), loaded.node.name, keep).serve(
        sys.stdin, sys.stdout
    )


@sync.command(hidden=True)
@click.argument("name")
@_config
def watch(name: str, config: Path) -> None:
    """Print a line for each change, for a node that copies."""
    from fttcp.sync.watch import watch_for_another

    raise SystemExit(watch_for_another(_section(load_config(config), name).directory))


def _section(config: Config, name: str) -> SyncSection:
    for section in config.sync:
        if section.name == name:
            return section
    names = ", ".join(section.name for section in config.sync) or "none"
    raise CommandError(f"no [[sync]] has the name {name!r} on node {config.node.name} (there are: {names})")


def _both(config: Config) -> Iterator[tuple[SyncSection, str]]:
    """Yield each directory and peer."""
    for section in config.sync:
        for peer in config.peer:
            if section.copied_to(peer.name):
                yield section, peer.name


def _pairs(config: Config, file: Path) -> Iterator[Pair]:
    """Yield those for which this node copies."""
    from fttcp.sync.copying import Pair
    from fttcp.sync.remote import Peer

    hosts = {peer.name: peer.link[0].remote or peer.name for peer in config.peer}
    for section, peer in _both(config):
        if config.node.name < peer:
            yield Pair(section, config.node.name, Peer(peer, hosts[peer]), str(file.absolute()))


def _primary_of(config: Config) -> Any:
    def asked(group: str) -> str | None:
        try:
            groups = ask(config.socket_path, op="status", group=group)["groups"]
        except (AskError, RefusedError):
            return None
        primaries = [node["name"] for one in groups for node in one["nodes"] if node["role"] == "primary"]
        return primaries[0] if len(primaries) == 1 else None

    async def primary_of(group: str) -> str | None:
        return await asyncio.to_thread(asked, group)

    return primary_of


def _telling(config: Config) -> Any:
    """Return what says on standard error, and to the daemon if it runs, how a copy went."""

    async def told(report: Report, before: Report | None) -> None:
        for kind, _, fields in news(report, before):
            print(json.dumps({"event": kind, **fields}), file=sys.stderr, flush=True)
        told = {"report": to_builtins(report), "before": None if before is None else to_builtins(before)}
        try:
            await asyncio.to_thread(ask, config.socket_path, op="synced", **told)
        except AskError:
            return  # no daemon runs: its metrics are not asked for, either
        except RefusedError as error:
            print(f"the daemon does not take it: {error.message}", file=sys.stderr, flush=True)

    return told


def _records(config: Config) -> Records:
    """Apart from what the daemon keeps: that belongs to its user, and this to root."""
    return Records(Path(config.node.state_dir.rstrip("/") + "-sync"))


def _run_dir(config: Config) -> Path:
    return Path(config.node.run_dir.rstrip("/") + "-sync")


def _socket(config: Config) -> Path:
    return _run_dir(config) / "control.sock"
