"""Further failures in one run: the pair is made whole, connections are renewed, and the next one strikes.

A connection may be lost only if it was not protected when a node failed: as the primary said of each before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.speakers import ENDED
from lab.status import Status, groups_of

NOTICED_S = 10.0
RENEW_S = 8.0
"""How long a run waits for it. No new copy of a server with a pace of its own ever comes as far."""
LOST = ("reset", "closed", "stall")
"""Kinds of failure of a client whose connection was not protected."""
SHOWN = 100_000
UDP = "udp"
"""Among the clients' ends: one of them is of UDP."""
TCP_LABEL = re.compile(r"[0-9a-f.:]+:\d+: ")
CATCHING = ("opening", "catching-up")
RENEWABLE = "renewable"
"""Nothing speaks against it: told of a connection in place of the reason why it cannot be renewed."""
NOT_PROTECTED = (*CATCHING, "unprotected", "detaching", "detached", "resetting")


class Ended(Protocol):
    """A client that may come to its end at any time."""

    def ended(self) -> bool:
        """Whether it has."""


@dataclass
class Struck:
    """What happened in a run after its first failure."""

    owners: list[str] = field(default_factory=list)
    """Who was to own the service after each."""
    unrenewed: int = 0
    """Connections that were still being caught up with when one struck."""
    unprotected: dict[str, str] = field(default_factory=dict)
    """Clients' ends of connections that no promise was made for at a failure, with what was told."""


def await_alone(lab: Lab, owner: str) -> None:
    """Wait until the primary has noticed that its backup is gone: till then the pair looks whole."""
    await_condition(
        lambda: not any(group["synced"] for group in _groups(lab, owner)), NOTICED_S, f"{owner} to be alone"
    )


def _groups(lab: Lab, node: str) -> list[dict[str, Any]]:
    return list(lab.ask(node, {"op": "status"}, timeout_s=10.0)["groups"])


def await_renewed(lab: Lab, client: Ended) -> int:
    """Wait until no connection is caught up with any more, or will be, or the client has ended; how many are
    left. A pair that is in step begins with it a moment later. (Sessions of UDP that rest are left alone.)"""
    deadline = time.monotonic() + RENEW_S
    while (left := _to_renew(lab, lab.node_in_role("primary"))) and time.monotonic() < deadline:
        if client.ended():
            return 0
        time.sleep(0.05)
    return left


def _to_renew(lab: Lab, primary: str) -> int:
    return sum(
        flow["protection"] in CATCHING
        or (
            flow["protection"] == "unprotected"
            and flow.get("unrenewable") == RENEWABLE
            and not flow["closed"]
            and not flow["flow"].endswith("/udp")
        )
        for flow in _connections(lab, primary)
    )


def _connections(lab: Lab, node: str) -> list[dict[str, Any]]:
    told = lab.ask(node, {"op": "connections", "limit": SHOWN}, timeout_s=10.0)
    return list(told["connections"])


def in_state(lab: Lab, node: str, states: Sequence[str]) -> dict[str, str]:
    """The clients' ends (``address:port``) of living connections with such a protection, as this node says;
    with the protection, and why a connection is not renewed."""
    found = {
        flow["flow"]: f"{flow['protection']}, {flow.get('unrenewable', 'not renewed')}"
        for flow in _connections(lab, node)
        if flow["protection"] in states
    }
    ends = {client_of(flow): how for flow, how in found.items()}
    sessions = [how for flow, how in found.items() if flow.endswith("/udp")]
    if sessions:
        ends[UDP] = sessions[0]
    return ends


def client_of(flow: str) -> str:
    """The client's end of a flow, as workloads name it."""
    return flow.split(" > ", 1)[0].replace("[", "").replace("]", "")


def excused(kind: str, errors: Sequence[str], lost: Collection[str]) -> bool:
    """Whether a client's failures are of connections alone that were not protected when a node failed. What a
    client of UDP says of a failure does not name its session: it has one."""
    if kind in LOST and UDP in lost and errors and not any(TCP_LABEL.match(error) for error in errors):
        return True
    return (
        kind in LOST
        and bool(errors)
        and all(any(error.find(f"{one}:") >= 0 for one in lost) for error in errors)
    )


def lost_as_told(
    client: Mapping[str, Any], unprotected: Mapping[str, str], detached: Collection[str], status: Status
) -> str:
    """How a client has lost its connection at a takeover that the nodes called unprotected, or whose outputs
    were not known to be equal; "" if it did not, or nothing was told. No excuse is for a silence, or a wrong
    byte."""
    unverified = sum(group["counters"]["unverified_resets"] for _, group in groups_of(status))
    told = [*unprotected.values(), *(f"detached, {reason}" for reason in detached)]
    told += ["its output was not known to be equal"] if unverified else []
    if client["ok"] or client["kind"] not in ENDED or not told:
        return ""
    return f"{client['why']} ({'; '.join(sorted(set(told)))})"


def pause(client: Ended, seconds: float) -> bool:
    """Let the traffic go on for so long; False if it ended meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not client.ended():
        time.sleep(0.01)
    return not client.ended()
