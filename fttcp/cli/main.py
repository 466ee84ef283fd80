"""The `fttcp` command. Sub-commands are imported when they are used, so that each starts fast."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

import click

from fttcp import __version__
from fttcp.cli import failure

_COMMANDS = {
    "adapter": ("fttcp.cli.adapter:adapter", "Move the service addresses to another adapter of this host."),
    "bench": ("lab.bench.cli:bench", "Measure costs and gaps, side by side with other systems."),
    "check-config": ("fttcp.cli.files:check_config", "Check a configuration file; name every error in it."),
    "cleanup": ("fttcp.cli.cleanup:cleanup", "Remove every trace of a daemon that was killed."),
    "connections": ("fttcp.cli.questions:connections", "List the connections of the node's groups."),
    "demo": ("lab.demo:demo", "A download survives the crash of the host that serves it."),
    "doctor": ("fttcp.cli.doctor:doctor", "Say what this machine has, what is missing, what to do."),
    "events": ("fttcp.cli.events:events", "List what happened on the node, or follow it."),
    "explain": (
        "fttcp.cli.explain:explain",
        "Tell what the engine decides about each packet of a capture.",
    ),
    "failover": ("fttcp.cli.roles:failover", "Let this backup serve a group without the primary's consent."),
    "history": ("fttcp.cli.events:history", "List what happened, also before the last start."),
    "key": ("fttcp.cli.key:key", "Show the shared key, or exchange it for another one."),
    "keygen": ("fttcp.cli.files:keygen", "Make a key for a pair."),
    "lab": ("lab.cli:lab", "Hosts, switch and faults in network namespaces."),
    "members": ("fttcp.cli.members:members", "Show the nodes of the cluster, by the arbiter's record."),
    "node": ("fttcp.cli.node:node", "Run the daemon of this host."),
    "pause": ("fttcp.cli.maintenance:pause", "Begin maintenance: no takeover, no switchover."),
    "plan": ("fttcp.cli.plan:plan", "Show where groups would be if hosts were lost, or returned."),
    "probe-server": ("lab.probe.cli:probe_server", "Run two copies of a server; say where they differ."),
    "reload": ("fttcp.cli.reload:reload", "Let the daemon read its configuration again."),
    "replay": (
        "fttcp.cli.replay:replay",
        "Play a history to a server; tell where its output differs.",
    ),
    "resume": ("fttcp.cli.maintenance:resume", "End maintenance."),
    "settings": ("fttcp.cli.settings:settings", "Tell what the keys of the configuration files mean."),
    "spread": ("fttcp.cli.spread:spread", "Tell DNS, HAProxy or IPVS which groups are served."),
    "status": ("fttcp.cli.questions:status", "Show roles, leases and flows."),
    "stop": ("fttcp.cli.stop:stop", "End the daemon of this host; hand over what it serves."),
    "switchover": ("fttcp.cli.roles:switchover", "Exchange the roles of a group's nodes."),
    "sync": ("fttcp.cli.sync:sync", "Keep directories of the nodes identical."),
    "top": ("fttcp.cli.top:top", "Show groups, leases, flows and rates, live."),
    "topology": ("fttcp.cli.topology:topology", "Show nodes, links, and who serves what."),
    "witness": ("fttcp.cli.witness:witness", "Run the daemon that keeps an arbiter's records."),
}


_LAB = Path(__file__).parents[1] / "_lab"
"""Where an installed fttcp has the package `lab`, which has too common a name to stand in every path."""

_JSON = "fttcp.json"
"""In a context: programs read the output."""


def _bring_lab() -> bool:
    """Let the package `lab` be imported: an installed one, or that of the checkout. False: there is none."""
    if _LAB.is_dir() and str(_LAB) not in sys.path:
        sys.path.insert(0, str(_LAB))
    return _LAB.is_dir() or (_LAB.parents[1] / "lab").is_dir()


def _without_lab(name: str) -> click.Command:
    """Return what stands for a command of the lab where that is not installed."""

    def refuse(ctx: click.Context) -> None:
        raise click.ClickException(f"`fttcp {name}` needs the lab: apt-get install fttcp-lab")

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, expose_value=False)
    help_text = f"{_COMMANDS[name][1]} Not installed: package fttcp-lab."
    settings = {"ignore_unknown_options": True}
    refusal = click.pass_context(refuse)
    return click.Command(name, context_settings=settings, callback=refusal, params=[words], help=help_text)


class LazyGroup(click.Group):
    """Loads a sub-command's module only when that sub-command runs; with --json, errors are JSON as well."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for --json before anything can be wrong with the other words."""
        ctx.meta[_JSON] = "--json" in (args[: args.index("--")] if "--" in args else args)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; one that there is not is told with the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]}?", error.ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if not ctx.meta[_JSON]:
                raise
            failure.show(error)
            ctx.exit(error.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a sub-command; None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        if module.startswith("lab.") and not _bring_lab():
            return _without_lab(cmd_name)
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fttcp")
def main() -> None:
    """Keeps TCP connections and UDP sessions alive when the host that serves them dies."""
