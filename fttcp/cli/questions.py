"""`fttcp status` and `fttcp connections`: what the daemon knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fttcp.cli.calls import lines as calls_lines
from fttcp.cli.client import (
    ask,
    complete_group,
    daemon_options,
    find_socket,
    show_json,
    telling,
    told_by_part,
)
from fttcp.cli.lockstep import lines as lockstep_lines

_WHOLE = "as backup, this node's engine gets long packets of clients whole"
_NOT_STRICT = "output does not wait (experiment.strict_commit): a takeover may break connections"


def _counters() -> str:
    from fttcp.config.words import of_counters

    return told_by_part(of_counters())


def _readiness() -> str:
    from fttcp.config.words import of_readiness

    return told_by_part(of_readiness())


def _status_words() -> str:
    from fttcp.config.words import of_status

    return told_by_part(of_status())


@click.command()
@telling("--words", _status_words, "Tell what its words and fields mean; ask no daemon.")
@telling(
    "--reasons", _readiness, "Tell where to look for each reason why a group is not ready; ask no daemon."
)
@telling("--counters", _counters, "Tell what each counter (with --json) counts; ask no daemon.")
@daemon_options
def status(config: Path | None, socket_path: Path | None, as_json: bool) -> None:
    """Show roles, leases and flows of this node's groups."""
    reply = ask(find_socket(config, socket_path), op="status")
    if as_json:
        show_json(reply)
        return
    click.echo(f"node {reply['node']}")
    for line in _clock_lines(reply.get("clocks", {})):
        click.echo(f"  {line}")
    for line in _adapter_lines(reply.get("adapters", {})):
        click.echo(f"  {line}")
    for outlet in reply["outlets"]:
        if outlet["lost"] or outlet["trouble"]:
            why = f": {outlet['trouble']}" if outlet["trouble"] else ""
            click.echo(f"  events       {outlet['name']}: {outlet['lost']} lost{why}")
    for group in reply["groups"]:
        for line in _group_lines(group):
            click.echo(line)


def _clock_lines(clocks: dict[str, Any]) -> list[str]:
    """What the wall clocks of peers differ by."""
    return [
        f"{'CLOCK APART ' if told['apart'] else 'clock       '} {peer} {abs(told['ahead_ms']):.1f} ms "
        f"{'ahead' if told['ahead_ms'] >= 0 else 'behind'} (+- {told['error_ms']:.1f} ms)"
        f"{', followed' if told.get('followed') else ''}"
        for peer, told in clocks.items()
    ]


def _adapter_lines(adapters: dict[str, Any]) -> list[str]:
    """How the adapters of nodes stand, where there are several."""
    return [f"adapters     {node}: {', '.join(map(_adapter_words, told))}" for node, told in adapters.items()]


def _adapter_words(told: dict[str, Any]) -> str:
    state = "" if told["carrier"] else "no carrier"
    if told["carrier"] and not told["reference"]:
        state = "no reference address answers"
    words = ", ".join(filter(None, ("in use" if told["used"] else "", state)))
    return f"{told['name']} ({words})" if words else str(told["name"])


def paused_until(name: str) -> str:
    """What maintenance means, and what ends it."""
    return f"no takeover and no switchover until `fttcp resume {name}`"


def _group_lines(group: dict[str, Any]) -> list[str]:
    """Return what people want to know of a group."""
    peer = f"{group['peer']} ({'heard' if group['peer_alive'] else 'not heard'})"
    state = "in step" if group["synced"] else "not in step"
    lines = [
        f"\ngroup {group['name']}",
        *([f"  PAUSED       maintenance: {paused_until(group['name'])}"] if group["paused"] else []),
        f"  role         {group['role']} ({group['mode']}), epoch {group['epoch']}",
        f"  peer         {peer}, {state}",
        *([f"  nodes        {nodes_line(group['nodes'])}"] if len(group["nodes"]) > 2 else []),
        *_release_lines(group["nodes"]),
        *_reason_lines(group),
    ]
    if len(group["keys"]["believed"]) > 1:
        lines.append("  keys         being exchanged: `fttcp key show --config FILE` tells how far it is")
    if "ownership" in group:
        lines.append(f"  arbiter      {ownership_line(group['ownership'])}")
    if group.get("firewall") is not None:
        lines += [f"  {line}" for line in firewall_lines(group["firewall"])]
    if "flows" in group:
        flows, commit = group["flows"], group["commit"]
        lines += [
            f"  lease        {group['lease_ms_left']:.1f} ms left",
            f"  flows        {flows['protected']} protected, {flows['unprotected']} unprotected, "
            f"{flows['detached']} detached",
            f"  commit       {commit['held']} packets held, lag p50 {commit['lag_us_p50']:.0f} us, "
            f"p99 {commit['lag_us_p99']:.0f} us",
            *([] if commit["strict"] else [f"  UNSAFE       {_NOT_STRICT}"]),
            f"  divergences  {group['divergences']}",
            *([f"  SLOWER       {_WHOLE}: {group['whole_packets']}"] if group["whole_packets"] else []),
            *_renewal_lines(group),
            *_lane_lines(group),
            *_stored_lines(group),
        ]
    server = group.get("server")
    if server is not None:
        health = "healthy" if server["healthy"] else "not healthy"
        pid = "none" if server["pid"] is None else server["pid"]
        lines.append(f"  server       {health}, pid {pid}: {server['reason']} (since {server['since']})")
        lines += [f"    {line}" for line in map(_check_line, server["checks"]) if line]
    lines += _history_lines(group.get("recording"))
    if "lockstep" in group:
        lines += [f"  {line}" for line in lockstep_lines(group["lockstep"])]
    if "calls" in group:
        lines += [f"  {line}" for line in calls_lines(group["calls"])]
    for takeover in group["takeovers"][-3:]:
        lines.append(f"  takeover     {takeover_line(takeover)}")
    return lines


def _renewal_lines(group: dict[str, Any]) -> list[str]:
    """With how many connections a new backup catches up, and how many it could not catch up with."""
    whys = group.get("unrenewable", {}).items()
    lost = ", ".join(f"{count} {why}" for why, count in whys if why != "no-renewal")
    catching = group["flows"].get("catching", 0)
    parts = [f"catching up with {catching}"] * bool(catching) + [f"not renewable: {lost}"] * bool(lost)
    lines = [f"  renewal      {'; '.join(parts)}"] if parts else []
    spool = group.get("spool", {"bytes": 0, "trouble": ""})
    if spool["trouble"]:
        lines.append(f"  SPOOL        {spool['trouble']}: long uploads are not renewable")
    elif spool["bytes"]:
        lines.append(f"  spool        {spool['bytes']} bytes of what clients have sent")
    return lines


def _lane_lines(group: dict[str, Any]) -> list[str]:
    """Return what is missing of the bulk lane of a group in step."""
    lane = group.get("bulk_lane")
    if lane is None or not group["synced"] or lane["up"] >= lane["wanted"]:
        return []
    return [f"  BULK LANE    {lane['up']} of {lane['wanted']} connections: does TCP pass on the peer link?"]


def _stored_lines(group: dict[str, Any]) -> list[str]:
    """Return how many requests are known, whose replies are stored, and what is wrong with that."""
    stored = group.get("stored")
    if stored is None or not (stored["requests"] or stored["trouble"] or stored["behind"]):
        return []
    known = f"{stored['requests']} requests, {stored['file_bytes']} bytes on the disk"
    if stored["trouble"]:
        return [f"  STORED       {known}, which takes no more: {stored['trouble']}"]
    behind = f"; the backup has not all: {stored['behind']}" if stored["behind"] else ""
    return [f"  {'STORED' if behind else 'stored'}       {known}{behind}"]


def _history_lines(history: dict[str, Any] | None) -> list[str]:
    """Return where the history of the server is kept, or why not."""
    if history is None or (history["file"] is None and not history["trouble"]):
        return []
    if history["trouble"]:
        return [f"  HISTORY      not kept on disk any more: {history['trouble']}"]
    return [f"  history      {history['bytes']} bytes in {history['file']}"]


def _release_lines(nodes: list[dict[str, Any]]) -> list[str]:
    """Return which release each node runs, where that is not one."""
    told = {node["name"]: node.get("release") for node in nodes if node.get("release")}
    if len(set(told.values())) < 2:
        return []
    return [f"  RELEASES     {'; '.join(f'{name} {release}' for name, release in told.items())}"]


def _reason_lines(group: dict[str, Any]) -> list[str]:
    """Return why the group is not ready here, or why this node that serves has no backup."""
    lacking = "UNPROTECTED" if not group["synced"] else "WEAKENED"
    word = lacking if group.get("ready", True) else "NOT READY"
    return [
        f"  {word:<12} {reason['what']} (since {reason['since']}); to do: {reason['todo']}"
        for reason in group.get("not_ready", [])
    ]


_LEVELS = {
    "kept": "others cannot flush them, and they outlive the daemon",
    "guarded": "a flush closes the service for a moment; Linux 6.9 can do more",
}
"""What the rules withstand, to people."""
_FLUSHABLE = (
    "rules of iptables without a guard: whoever flushes them lets a backup speak; Linux 5.12 can do more"
)


def firewall_lines(firewall: dict[str, Any]) -> list[str]:
    """Return how the rules stand, and what to do about it."""
    level, why = firewall["level"], f" ({firewall['why']})" if firewall["why"] else ""
    there = {True: "stand", False: "are NOT ALL there"}
    if level == "flushable":
        lines = [f"FLUSHABLE    {_FLUSHABLE}{why}"]
    else:
        guard = "stands" if firewall["guard"] else "is NOT ALL there"
        lines = [f"firewall     rules {there[firewall['rules']]}, guard {guard}: {_LEVELS[level]}{why}"]
    if firewall["missing"]:
        todo = "find out who changes the host; `fttcp history` tells since when"
        lines.append(f"MISSING      {'; '.join(firewall['missing'])}: {todo}")
    if firewall["stopped"]:
        lines.append(f"STOPPED      {firewall['stopped']} packets that came round the rules: the guard held")
    return lines


def nodes_line(nodes: list[dict[str, Any]]) -> str:
    """Return all nodes of a group in one line, each with its role."""
    sick = {False: ", server not healthy", True: "", None: ""}
    return "; ".join(f"{node['name']} {node['role']}{sick[node['healthy']]}" for node in nodes)


def _check_line(check: dict[str, Any]) -> str:
    """Return one line about a check of a server; nothing about what goes well without having been asked."""
    if check["kind"] in ("progress", "resource") and check["state"] in ("ok", "waiting"):
        return ""
    return f"{check['name']:<12} {check['state']}: {check['reason']} (since {check['since']})"


def ownership_line(ownership: dict[str, Any]) -> str:
    """Return one line about the arbiter and the record that it keeps."""
    arbiter, record = ownership["arbiter"], ownership["record"]
    places = f" at {', '.join(arbiter['endpoints'])}" if arbiter["endpoints"] else ""
    answers = {True: "answers", False: "DOES NOT ANSWER", None: "not asked yet"}[arbiter["reachable"]]
    state = answers if arbiter["kind"] != "none" else arbiter["residual_risk"]
    kept = ""
    if record is not None:
        with_backup = f" with {record['backup']}" if record["backup"] else ""
        kept = f"; record: {record['holder']} {record['mode']}{with_backup}, epoch {record['epoch']}"
    return f"{arbiter['kind']}{places}: {state}{kept}"


def takeover_line(takeover: dict[str, Any]) -> str:
    """Return one line about a takeover."""
    steps = ("detected", "gate", "announced", "done")
    times = ", ".join(f"{step} {_ms(takeover[f'{step}_ms'])}" for step in steps)
    return f"{takeover['cause']} (epoch {takeover['epoch']}): {times}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _words() -> str:
    from fttcp.config.words import of_connections

    return told_by_part(of_connections())


@click.command()
@telling("--words", _words, "Tell what the words mean, and what to do; ask no daemon.")
@click.option("--group", help="Only this group.", shell_complete=complete_group)
@click.option("--limit", type=click.IntRange(0, 100_000), default=10_000, show_default=True, help="At most.")
@click.option("--all", "with_closed", is_flag=True, help="Those that have ended as well, for a minute.")
@daemon_options
def connections(
    config: Path | None,
    socket_path: Path | None,
    as_json: bool,
    group: str | None,
    limit: int,
    with_closed: bool,
) -> None:
    """List the connections of this node's groups, with their protection."""
    request: dict[str, Any] = {"op": "connections", "limit": limit, "all": with_closed}
    if group is not None:
        request["group"] = group
    reply = ask(find_socket(config, socket_path), **request)
    if as_json:
        show_json(reply)
        return
    for flow in reply["connections"]:
        click.echo(connection_line(flow))
    if reply.get("more"):
        click.echo(f"... there are more; --limit shows more than {limit}")
    elif not reply["connections"]:
        click.echo("no connections")


def connection_line(flow: dict[str, Any]) -> str:
    """Return what people want to know of a connection."""
    why = "" if flow["reason"] == "none" else f" ({flow['reason']})"
    state = "closed" if flow["closed"] else f"{flow['protection']}{why}"
    amount = f"in {flow['bytes_in']} out {flow['bytes_out']} bytes, {flow['held']} held"
    times = f", open {_short(flow['age_ns'])}, idle {_short(flow['idle_ns'])}"
    differs = f", {flow['divergences']} divergences" if flow["divergences"] else ""
    lost = "" if flow["unrenewable"] == "renewable" or flow["closed"] else f", {flow['unrenewable']}"
    lost += f", {flow['spool_bytes']} in the spool" if flow.get("spool_bytes") else ""
    return f"{flow['group']}  {flow['flow']}  {state}  {amount}{_verified(flow)}{differs}{lost}{times}"


_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def _short(span_ns: int) -> str:
    """Return a time in its largest unit."""
    seconds = span_ns / 1e9
    size, unit = next((one for one in _UNITS if seconds >= one[0]), (1e-3, "ms"))
    return f"{seconds / size:.0f} {unit}"


def _verified(flow: dict[str, Any]) -> str:
    """Return up to which byte the output of a protected TCP connection is the same on both nodes."""
    if flow["protection"] != "protected" or flow["proto"] != "tcp" or flow["closed"]:
        return ""
    if not flow["continues"]:
        ends = ": NOT ALL that the client has; a takeover now would end it"
    elif not flow["verified"] and flow["bytes_out"]:
        return ", outputs are not compared"
    else:
        ends = ""
    return f", verified to byte {flow['verified']}{ends}"
