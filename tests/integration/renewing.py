"""Connections that are renewed, as the nodes tell of them, and uploads that wait for that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.experiment import Case, start_client
from lab.failures import client_of
from lab.hosts import at_the_latest, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4
from lab.speakers import Clients
from lab.workloads.registry import WORKLOADS

SEED = 11
WITHIN_S = 90.0
"""Longer than an attempt to renew, and the time to the next one."""
STALL_S = 10.0
"""A longer silence is a failure."""
_LONG_S = 120.0
"""No client goes on for so long: it is told when it is enough."""
_PORT = WORKLOADS["bulk-up"].port(4)
_PROGRAM = Path(__file__).with_name("uploads.py")


def told(lab: Lab, node: str) -> dict[str, dict[str, object]]:
    """The living TCP connections of a node, by the client's end; without those that a backup let
    go, and remembers for an hour."""
    return {client: flow for client, flow in living(lab, node).items() if flow["protection"] != "detached"}


def living(lab: Lab, node: str) -> dict[str, dict[str, object]]:
    """Those as well."""
    answer = lab.ask(node, {"op": "connections", "limit": 100_000}, 10)
    return {client_of(flow["flow"]): flow for flow in answer["connections"] if not flow["closed"]}


def protections(lab: Lab, node: str) -> list[str]:
    """In which state each of them is, in order."""
    return sorted(str(flow["protection"]) for flow in told(lab, node).values())


def await_states(lab: Lab, node: str, *states: str) -> None:
    """Wait until that is how they are."""
    try:
        await_condition(lambda: protections(lab, node) == sorted(states), WITHIN_S, f"{states} on {node}")
    except LabError as error:
        raise AssertionError(f"{error}: {living(lab, node)}") from error


@contextmanager
def uploads(lab: Lab, *sizes: int) -> Iterator[subprocess.Popen[str]]:
    """Uploads of which all but the end is sent."""
    words = [sys.executable, str(_PROGRAM), SERVICE4, str(_PORT), str(SEED), *map(str, sizes)]
    with lab.popen(CLIENT, words, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        try:
            with at_the_latest(WITHIN_S, one.kill):
                assert one.stdout and one.stdout.readline() == "sent\n"
            yield one
        finally:
            one.kill()


@contextmanager
def begun(lab: Lab, workload: str, directory: Path) -> Iterator[Clients]:
    """A client of that workload, which has begun."""
    directory.mkdir()
    one = start_client(lab, Case(workload, seed=SEED, duration_s=_LONG_S), directory, STALL_S)
    try:
        assert one.wait_started()
        yield one
    finally:
        one.kill()


def enough(one: Clients) -> None:
    """Its end is due, and all of it was right."""
    one.enough()
    report = one.finish()
    assert report["ok"], report
