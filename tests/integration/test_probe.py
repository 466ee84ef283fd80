"""Probes on a real link: who answers, who does not, who else probes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.netns import Namespace, Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
_DRIVER = [sys.executable, "-m", "tests.integration.probe_driver"]


def begin(
    where: Namespace, interface: str, what: str, window_s: float, *addresses: str
) -> subprocess.Popen[str]:
    """Start probing; returns when the probes begin."""
    command = where.command(*_DRIVER, interface, what, str(window_s), *addresses)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == "ready\n", line + process.stderr.read()
    return process


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    answer: dict[str, Any] = json.loads(out)
    return answer


def probe(net: Net, what: str, window_s: float, *addresses: str) -> dict[str, Any]:
    return result(begin(net.node, "svc0", what, window_s, *addresses))


@pytest.mark.parametrize("address", ["10.77.0.10", "fd77::10"])
def test_a_living_owner_refutes_with_its_mac(net: Net, address: str) -> None:
    answer = probe(net, "claimed", 20, "10.77.0.77", address)
    assert answer["answer"] == f"{address} is at {net.client.mac('eth0')} on svc0"
    assert answer["took_ms"] < 20_000


@pytest.mark.parametrize("address", ["10.77.0.77", "fd77::77"])
def test_silence_is_taken_for_what_it_is_after_the_window(net: Net, address: str) -> None:
    answer = probe(net, "claimed", 0.05, address)
    assert answer["answer"] == "" and answer["took_ms"] >= 50


def test_what_was_seen_over_another_adapter_is_no_answer(net: Net) -> None:
    """Nobody answers over one that has failed."""
    answer = probe(net, "moved", 0.05, "10.77.0.77", "10.77.0.10")["answer"]
    assert answer == [None, "", f"10.77.0.10 is at {net.client.mac('eth0')} on svc0"]


def test_a_watch_says_what_came_until_it_is_asked(net: Net) -> None:
    assert (
        probe(net, "watch", 20, "10.77.0.10")["answer"]
        == f"10.77.0.10 is at {net.client.mac('eth0')} on svc0"
    )
    silent = probe(net, "watch", 0.05, "10.77.0.77", "fd77::77")
    assert silent["answer"] == "" and silent["took_ms"] >= 50
    assert probe(net, "ended", 0.05, "10.77.0.77")["answer"] is None


@pytest.mark.parametrize("address", ["10.77.0.10", "fd77::10"])
def test_probes_go_over_an_interface_that_was_made_anew(net: Net, address: str) -> None:
    """With another index and another MAC address; the sockets of the old one hear nothing for ever."""
    waiting = begin(net.node, "svc0", "anew", 20, address)
    net.node.run("ip", "link", "delete", "svc0")
    net.join(net.node, "svc0", net.client, "eth0", "77")
    assert waiting.stdin is not None
    waiting.stdin.write("go\n")
    waiting.stdin.flush()
    assert result(waiting)["answer"] == f"{address} is at {net.client.mac('eth0')} on svc0"


def test_a_gratuitous_claim_of_another_refutes(net: Net) -> None:
    waiting = begin(net.node, "svc0", "claimed", 20, "10.77.0.77")
    net.client.run("ip", "addr", "add", "10.77.0.77/24", "dev", "eth0")
    net.client.run("arping", "-c", "1", "-U", "-I", "eth0", "10.77.0.77")
    assert "10.77.0.77 is at" in result(waiting)["answer"]


@pytest.mark.parametrize("address", ["10.77.0.77", "fd77::77"])
def test_of_two_that_probe_at_once_one_goes_on(net: Net, address: str) -> None:
    macs = {"node": net.node.mac("svc0"), "client": net.client.mac("eth0")}
    first = begin(net.node, "svc0", "claimed", 3, address)
    second = begin(net.client, "eth0", "claimed", 3, address)
    answers = {"node": result(first)["answer"], "client": result(second)["answer"]}
    smaller, larger = sorted(macs, key=lambda name: macs[name])
    assert answers[smaller] == ""
    assert answers[larger] == f"{address} is being probed by {macs[smaller]} as well, which goes first"


@pytest.mark.parametrize("address", ["10.77.0.10", "fd77::10"])
def test_a_reference_on_the_link_is_reached(net: Net, address: str) -> None:
    assert probe(net, "reachable", 20, address)["answer"] is True


@pytest.mark.parametrize(("address", "route"), [("192.0.2.9", "-4"), ("2001:db8::9", "-6")])
def test_a_reference_behind_a_router_is_reached_by_echo(net: Net, address: str, route: str) -> None:
    length = "32" if route == "-4" else "128"
    net.client.run("ip", "addr", "add", f"{address}/{length}", "dev", "lo")
    assert probe(net, "reachable", 20, address, "10.77.0.99")["answer"] is True


def test_an_unreachable_reference_is_not(net: Net) -> None:
    assert probe(net, "reachable", 0.1, "10.77.0.99", "192.0.2.99", "fd77::99")["answer"] is False


def test_what_cannot_be_sent_is_an_error(net: Net) -> None:
    net.node.run("ip", "link", "set", "svc0", "down")
    process = begin(net.node, "svc0", "claimed", 1, "10.77.0.10")
    assert process.stderr is not None
    # communicate() does not look at what came together with the first line
    assert "Network is down" in process.stderr.read()
    process.communicate(timeout=30)
