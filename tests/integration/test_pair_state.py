"""State of a server that came back: it follows only with what the primary's has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES
from tests.integration.pair import Pair

PORT = 7008
COUNTING = Path(__file__).with_name("counting_server.py")
ADD = f"""
import socket
s = socket.create_connection(("10.77.0.100", {PORT}), 10)
s.sendall(b"one more\\n")
print(int(s.makefile().readline()))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab that is down."""
    lab = Lab(f"test-state-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


def up(lab: Lab, *settings: str, wait_s: float = 30.0, keep: bool = False) -> None:
    """Serve from memory."""
    lab.up((f"{PORT}/tcp={sys.executable} {COUNTING} {PORT}",), settings, wait_s=wait_s, keep=keep)


def group(lab: Lab, role: str) -> dict[str, Any]:
    """What the node in this role says of the group."""
    return dict(Pair(lab).group(role))


def add(lab: Lab) -> int:
    """A client adds one to what the service has."""
    asked = lab.exec(CLIENT, [sys.executable, "-c", ADD])
    assert asked.returncode == 0, asked.stderr
    return int(asked.stdout)


def strike(lab: Lab, role: str) -> str:
    """The host of the node in this role crashes; return which one it was when the other one serves alone."""
    struck = lab.node_in_role(role)
    (left,) = set(NODES) - {struck}
    make_fault(lab, "crash-host", struck)
    await_condition(lambda: group(lab, left)["mode"] == "solo", 30, f"{left} serves alone")
    return struck


def test_servers_that_start_together_are_a_pair_and_a_returned_one_is_none(lab: Lab) -> None:
    """The state survives one crash; then nobody has it but the node that serves, and that is told."""
    up(lab, 'state="memory"')
    assert [add(lab), add(lab)] == [1, 2]
    struck = strike(lab, "primary")
    assert add(lab) == 3
    make_fault(lab, "restart-host", struck)
    await_condition(lambda: group(lab, "primary")["unfit"] == {struck: "younger"}, 30, "it is told")
    assert not group(lab, "primary")["synced"]
    assert add(lab) == 4
    assert group(lab, "primary")["flows"]["protected"] == 0


def test_a_backup_that_left_may_not_come_back(lab: Lab) -> None:
    """Its server was started again, and had missed nothing until there was a client."""
    up(lab, 'state="memory"')
    make_fault(lab, "restart-host", strike(lab, "backup"))
    lab.wait("synced")
    assert add(lab) == 1
    struck = strike(lab, "backup")
    make_fault(lab, "restart-host", struck)
    await_condition(lambda: group(lab, "primary")["unfit"] == {struck: "younger"}, 30, "it is told")


def test_the_operator_says_when_a_node_has_its_files(lab: Lab, tmp_path: Path) -> None:
    """Until the program agrees there is no backup, and the service goes on; then the pair is in step."""
    there = tmp_path / "replicated"
    with pytest.raises(LabError):
        up(lab, 'state="files"', f'hooks.ready_to_follow="test -e {there}"', wait_s=5.0, keep=True)
    assert add(lab) == 1
    (other,) = set(NODES) - {lab.node_in_role("primary")}
    await_condition(lambda: group(lab, "primary")["unfit"] == {other: "not-ready"}, 30, "it is told")
    there.touch()
    lab.wait("synced")
    assert group(lab, "primary")["unfit"] == {}
