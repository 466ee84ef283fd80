"""The faults of the lab. Each returns when it has really happened, with a report of what and when.

A report has `fault`, `target`, and `at_s`: the time on CLOCK_MONOTONIC (the same in every process of the
machine) at which the fault struck; it had its effect within milliseconds of that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fttcp.ownership.model import Refusal
from lab import firewalls, links, network
from lab.errors import LabError
from lab.firewalls import RULE_ACTS
from lab.hosts import Host, await_condition
from lab.lifecycle import ROLES, Lab
from lab.network import CLIENT, SWITCH
from lab.nodeconfig import GROUP
from lab.state import LabState, ProcessId
from lab.wire import PLAIN, Terms

Report = dict[str, Any]
EFFECT_S = 5.0
"""Longest time in seconds that a fault may take to show its effect."""
ASK_AGAIN_S = 0.01
"""Seconds until a node that cannot yet do what it is asked is asked again."""


def crash_host(lab: Lab, target: str = "primary") -> Report:
    """The host is gone at once: every process stops in one stroke, then its links, then all is killed.

    Links take tens of milliseconds to go down on a busy machine. A daemon that lived on meanwhile would
    notice, and arrange things with its peer, as no dead host does.
    """
    host = _node(lab, target)
    switch = lab.host(SWITCH)
    own = network.plugged(switch, host.name)
    lab.exec(host.name, ["kill", "-STOP", "-1"])
    at_s = time.monotonic()
    network.set_links(switch, own, up=False)
    host.kill()
    network.unplug(switch, host.name)
    lab.reap()
    return _report("crash-host", host.name, at_s)


def kill_server(lab: Lab, target: str = "primary") -> Report:
    """SIGKILL to the server processes that the node supervises (their whole process groups)."""
    host = _node(lab, target)
    members = _signal_servers(lab, host, signal.SIGKILL)
    at_s = time.monotonic()
    await_condition(
        lambda: not any(process.alive() for process in members),
        EFFECT_S,
        f"host {host.name}: end of its servers",
    )
    return _report("kill-server", host.name, at_s)


def hang_server(lab: Lab, target: str = "primary") -> Report:
    """SIGSTOP to the server processes that the node supervises: alive, but deaf."""
    host = _node(lab, target)
    members = _signal_servers(lab, host, signal.SIGSTOP)
    at_s = time.monotonic()
    await_condition(
        lambda: all(process.state() in ("T", None) for process in members),
        EFFECT_S,
        f"host {host.name}: stop of its servers",
    )
    return _report("hang-server", host.name, at_s)


def kill_node(lab: Lab, target: str = "primary") -> Report:
    """SIGKILL to the node daemon."""
    host = _node(lab, target)
    daemon = lab.node_process(host.name)
    daemon.signal(signal.SIGKILL)
    at_s = time.monotonic()
    await_condition(lambda: not daemon.alive(), EFFECT_S, f"host {host.name}: end of its daemon")
    lab.reap()
    return _report("kill-node", host.name, at_s)


def freeze_node(lab: Lab, target: str = "primary", seconds: float = 2.0) -> Report:
    """SIGSTOP to the node daemon, and SIGCONT after `seconds` by a timer that lives in the host."""
    host = _node(lab, target)
    daemon = lab.node_process(host.name)
    if seconds <= 0:
        raise LabError(f"freeze-node: {seconds} seconds; it must be more than 0")
    timer = host.popen(
        ["sh", "-c", 'sleep "$0" && kill -CONT "$1"', str(seconds), str(host.inner_pid(daemon.pid))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    lab.keep_child(timer)
    daemon.signal(signal.SIGSTOP)
    at_s = time.monotonic()
    await_condition(lambda: daemon.state() == "T", EFFECT_S, f"host {host.name}: stop of its daemon")
    return _report("freeze-node", host.name, at_s, seconds=seconds)


def cut(lab: Lab, link: str, target: str = "primary") -> Report:
    """Pull the cable(s) of a host: "client" (its service side), "standby" (a second one there), "peer",
    "arbiter", or "all"; it loses the carrier."""
    if link not in (*network.LINKS, "all"):
        raise LabError(f"cut {link!r}: there is no such link; links are {', '.join(network.LINKS)}, all")
    host = lab.host(target)
    host.require_alive()
    chosen = network.plugged(lab.host(SWITCH), host.name, link)
    if not chosen:
        raise LabError(f"cut {link}: host {host.name} has no such link")
    network.set_links(lab.host(SWITCH), chosen, up=False)
    at_s = time.monotonic()
    await_condition(
        lambda: not any(network.has_carrier(host, cable) for cable in chosen),
        EFFECT_S,
        f"host {host.name}: loss of the carrier",
    )
    return _report("cut", host.name, at_s, link=link)


def part(lab: Lab) -> Report:
    """The nodes reach each other on no link; clients and an arbiter reach all of them."""
    network.isolate(lab.host(SWITCH), _cables(lab, lab.nodes()), on=True)
    return _report("part", "nodes", time.monotonic())


def loss(lab: Lab, link: str, percent: float) -> Report:
    """Lose `percent` of the frames of the "client" or "peer" link, in both directions; 0 ends it."""
    if link not in ("client", "peer"):
        raise LabError(f"loss {link!r}: there is no such link; links are client, peer")
    hosts = [host for host in map(lab.host, (CLIENT, *lab.nodes())) if host.alive()]
    network.set_loss(lab.host(SWITCH), hosts, link, percent)
    return _report("loss", link, time.monotonic(), percent=percent)


def rate(lab: Lab, link: str, mbit: float) -> Report:
    """Shape the "client" link to `mbit` Mbit/s in each direction."""
    if link != "client":
        raise LabError(f"rate {link!r}: only the client link can be shaped")
    network.set_rate(lab.host(SWITCH), lab.host(CLIENT), mbit)
    return _report("rate", link, time.monotonic(), mbit=mbit)


def link(
    lab: Lab,
    link: str,
    sender: str | None = None,
    *,
    delay_ms: float = 0,
    jitter_ms: float = 0,
    reorder_percent: float = 0,
    duplicate_percent: float = 0,
    loss_percent: float = 0,
    rate_mbit: float | None = None,
    seed: int = 1,
) -> Report:
    """Make a link ("client", "peer", a client of a segment) so, for what `sender` sends (None: everybody)."""
    terms = Terms(delay_ms, jitter_ms, reorder_percent, duplicate_percent, loss_percent, rate_mbit)
    links.apply(lab, link, terms, sender, seed)
    told = {name: value for name, value in asdict(terms).items() if value}
    return _report("link", link, time.monotonic(), **({"from": sender} if sender else {}), **told)


def heal(lab: Lab) -> Report:
    """All links up and plain, no loss, no rate limit, no foreign rules, and stopped daemons and servers run
    on. Dead ones stay dead; what was flushed, the daemons mend."""
    switch = lab.host(SWITCH)
    hosts = [host for host in map(lab.host, (CLIENT, *lab.daemon_hosts())) if host.alive()]
    chosen = [(host, cable) for host in hosts for cable in network.plugged(switch, host.name)]
    network.set_links(switch, [cable for _, cable in chosen], up=True)
    network.isolate(switch, _cables(lab, lab.nodes()), on=False)
    state = LabState.load(lab.name)
    for name in state.links:
        links.apply(lab, name, PLAIN)
    for name in links.LINKS:
        network.set_loss(switch, hosts, name, 0)
    network.set_rate(switch, lab.host(CLIENT), None)
    for host in hosts:
        firewalls.undo(lab, host)
        for pid in host.processes():
            process = ProcessId.find(pid)
            if process is not None and process.state() == "T":
                process.signal(signal.SIGCONT)
    await_condition(
        lambda: all(network.has_carrier(host, cable) for host, cable in chosen),
        EFFECT_S,
        "carrier on all links",
    )
    return _report("heal", "all", time.monotonic())


def restart_host(lab: Lab, target: str | None = None) -> Report:
    """Make a node, or the witness, anew (default: the one that is down or has no daemon); returns before
    it is in step."""
    name = target if target in lab.daemon_hosts() else lab.host(target).name if target else _fallen(lab)
    lab.restart_host(name)
    return _report("restart-host", name, time.monotonic())


def switchover(lab: Lab, target: str = "primary") -> Report:
    """Ask the primary for a planned switchover of the lab's group: no fault, but a disturbance."""
    host = _node(lab, target)
    at_s = order_switchover(host.name, lambda order: lab.ask(host.name, order, timeout_s=EFFECT_S))
    return _report("switchover", host.name, at_s)


def order_switchover(node: str, ask: Callable[[dict[str, Any]], dict[str, Any]]) -> float:
    """Ask ``node`` for a planned switchover, and again while its peer has yet to say that it can take over.
    Returns the monotonic time in seconds of the request that was heeded; raises LabError for one that was
    refused.
    """
    deadline = time.monotonic() + EFFECT_S
    while True:
        at_s = time.monotonic()
        refused = ask({"op": "switchover", "group": GROUP}).get("error")
        if not refused:
            return at_s
        if Refusal.PEER_UNABLE not in refused or at_s >= deadline:
            raise LabError(f"host {node}: switchover refused: {refused}")
        time.sleep(ASK_AGAIN_S)


def rules(lab: Lab, act: str, target: str = "backup") -> Report:
    """Do to a node's firewall, or its rules of routing, what other programs do."""
    if act not in RULE_ACTS:
        raise LabError(f"rules {act!r}: there is no such act; acts are {', '.join(RULE_ACTS)}")
    host = _node(lab, target)
    at_s = time.monotonic()
    firewalls.act(lab, act, host)
    return _report("rules", host.name, at_s, act=act)


FAULTS: dict[str, Callable[..., Report]] = {
    "crash-host": crash_host,
    "kill-server": kill_server,
    "hang-server": hang_server,
    "kill-node": kill_node,
    "freeze-node": freeze_node,
    "cut": cut,
    "part": part,
    "loss": loss,
    "link": link,
    "rate": rate,
    "heal": heal,
    "restart-host": restart_host,
    "switchover": switchover,
    "rules": rules,
}


def make_fault(lab: Lab, kind: str, *arguments: Any, **options: Any) -> Report:
    """Make the fault `kind` and return its report once it has really happened. Raises LabError."""
    if kind not in FAULTS:
        raise LabError(f"fault {kind!r}: there is none; faults are {', '.join(FAULTS)}")
    return FAULTS[kind](lab, *arguments, **options)


def _cables(lab: Lab, nodes: Iterable[str]) -> list[network.Cable]:
    """The cables of those nodes that are alive."""
    return [
        cable for node in nodes if lab.host(node).alive() for cable in network.plugged(lab.host(SWITCH), node)
    ]


def _report(fault: str, target: str, at_s: float, **details: Any) -> Report:
    return {"fault": fault, "target": target, "at_s": round(at_s, 6), **details}


def _node(lab: Lab, target: str) -> Host:
    """The living host with a daemon that `target` means (a node, witness, primary, backup, spare)."""
    host = lab.host(target)
    daemons = lab.daemon_hosts()
    if host.name not in daemons:
        raise LabError(f"host {host.name}: this fault needs a node ({', '.join((*daemons, *ROLES))})")
    host.require_alive()
    return host


def _fallen(lab: Lab) -> str:
    """The one host that is down or whose daemon has ended."""
    state = LabState.load(lab.name)
    fallen = [
        node
        for node in lab.daemon_hosts()
        if not lab.host(node).alive()
        or not (state.bare or ((daemon := state.hosts[node].node) and daemon.alive()))
    ]
    if len(fallen) != 1:
        raise LabError(
            f"restart-host: {len(fallen)} nodes are down, so say which one: {' or '.join(lab.daemon_hosts())}"
        )
    return fallen[0]


def _is_guardian(process: ProcessId) -> bool:
    with contextlib.suppress(OSError):  # it has just ended
        return Path(f"/proc/{process.pid}/environ").read_bytes().startswith(b"FTTCP_GUARDIAN=")
    return False


def _signal_servers(lab: Lab, host: Host, number: int) -> list[ProcessId]:
    """Send `number` to all servers of `host`, each with its whole process group; returns their processes.

    Servers are those children of the daemon that lead a process group of their own, but for those that are
    there to outlive it.
    """
    daemon = lab.node_process(host.name)
    processes = [process for pid in host.processes() if (process := ProcessId.find(pid)) is not None]
    groups = {
        process.pid
        for process in processes
        if process.parent() == daemon.pid and process.group() == process.pid and not _is_guardian(process)
    }
    if not groups:
        raise LabError(f"host {host.name}: no server runs there; see: fttcp lab logs {host.name}")
    members = [process for process in processes if process.group() in groups]
    for group in groups:
        with contextlib.suppress(ProcessLookupError):  # a short program of the daemon's, or it has just ended
            os.killpg(group, number)
    return members
