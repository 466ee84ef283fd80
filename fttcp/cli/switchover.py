"""`fttcp switchover GROUP`: exchange the roles, and tell how it went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from fttcp.cli.client import AskError, ask, daemon_options, find_socket, show_json
from fttcp.cli.questions import takeover_line

_POLL_S = 0.02


@click.command()
@click.argument("group")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done.")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 600), default=10, show_default=True, help="Seconds to wait."
)
@daemon_options
def switchover(
    config: Path | None, socket_path: Path | None, as_json: bool, group: str, wait: bool, timeout: float
) -> None:
    """Let the other node of the pair serve GROUP; can be asked of either node."""
    path = find_socket(config, socket_path)
    reply = ask(path, op="switchover", group=group)
    before = reply["role"]
    if not wait:
        reply_text = f"group {group}: switchover started; this node was {before}"
        show_json(reply) if as_json else click.echo(reply_text)
        return
    started = time.monotonic()
    now = _wait(path, group, before, timeout)
    result: dict[str, Any] = {
        "group": group,
        "done": True,
        "was": before,
        "role": now["role"],
        "epoch": now["epoch"],
        "waited_ms": round((time.monotonic() - started) * 1000, 1),
    }
    if now["role"] == "primary" and now["takeovers"]:
        result["takeover"] = now["takeovers"][-1]
    if as_json:
        show_json(result)
        return
    click.echo(f"group {group}: this node was {before}, is {now['role']} now (epoch {now['epoch']})")
    if "takeover" in result:
        click.echo(f"  {takeover_line(result['takeover'])}")


def _wait(path: Path, group: str, before: str, timeout_s: float) -> dict[str, Any]:
    """Wait until the group has the other role here; return its status. Raises AskError."""
    end = time.monotonic() + timeout_s
    while True:
        found: list[dict[str, Any]] = [g for g in ask(path, op="status")["groups"] if g["name"] == group]
        wanted = "backup" if before == "primary" else "primary"
        if found and found[0]["role"] == wanted:
            return found[0]
        if time.monotonic() >= end:
            state = f"{found[0]['role']} ({found[0]['mode']})" if found else "gone"
            raise AskError(
                f"group {group}: not done after {timeout_s:g} s; this node is {state}. "
                "See `fttcp events` on both nodes."
            )
        time.sleep(_POLL_S)
