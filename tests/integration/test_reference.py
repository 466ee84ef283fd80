"""Reference addresses on a real kernel: they answer, fall silent, and come back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.netns import Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
WATCH = """
import asyncio, json, sys
from fttcp.server.reference import ReferenceMonitor
from fttcp.server.settings import ReferenceSection
times = {"interval_ms": 50, "timeout_ms": 40, "rise": 2, "fall": 3}
settings = ReferenceSection(addresses=sys.argv[2:], method=sys.argv[1], **times)
async def main():
    def note(kind, level, **fields):
        print(json.dumps([kind, fields]), flush=True)
    monitor = ReferenceMonitor(settings, "svc0", lambda reachable: None, note)
    monitor.start()
    while "answers" not in monitor.shown()["addresses"].values():
        await asyncio.sleep(0.01)
    print(json.dumps(["start", monitor.shown()]), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("method", ["icmp", "neighbour"])
@pytest.mark.parametrize("address", ["10.77.0.10", "fd77::10"])
def test_a_reference_is_lost_and_found(net: Net, method: str, address: str) -> None:
    """The carrier stays up all the time: the far end goes, as behind a broken switch."""
    watcher = subprocess.Popen(
        net.node.command(sys.executable, "-c", WATCH, method, address, "10.77.0.99"),
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        kind, fields = heard(watcher)
        assert (kind, fields["reachable"], fields["method"]) == ("start", True, method)
        prefix = "/64" if ":" in address else "/24"
        net.client.run("ip", "addr", "del", address + prefix, "dev", "eth0")
        kind, fields = heard(watcher)
        assert kind == "reference-lost" and "answers" not in fields["addresses"].values()
        options = ["nodad"] if ":" in address else []
        net.client.run("ip", "addr", "add", address + prefix, "dev", "eth0", *options)
        kind, fields = heard(watcher)
        assert kind == "reference-found" and fields["addresses"][address] == "answers"
    finally:
        watcher.kill()
        watcher.communicate()


def heard(watcher: subprocess.Popen[str]) -> list[Any]:
    assert watcher.stdout is not None
    return list(json.loads(watcher.stdout.readline()))


def test_the_probe_of_an_address_that_left_this_host_does_not_reach_another(net: Net) -> None:
    """The address lives on the other side now: an ordinary connection gets there, a probe does not."""
    code = """
import asyncio, socket, sys
from fttcp.server.probes import _loopback_socket
async def connect(sock):
    try:
        async with asyncio.timeout(0.5):
            await asyncio.get_running_loop().sock_connect(sock, ("10.77.0.10", 80))
        return "connected"
    except (OSError, TimeoutError) as error:
        return type(error).__name__
plain = socket.socket(); plain.setblocking(False)
print(asyncio.run(connect(plain)), asyncio.run(connect(_loopback_socket("10.77.0.10", socket.SOCK_STREAM))))
"""
    serve = (
        "import socket; s = socket.create_server(('', 80)); print('up', flush=True); s.accept(); s.accept()"
    )
    server = subprocess.Popen(
        net.client.command(sys.executable, "-c", serve), stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stdout.readline() == "up\n"
        done = subprocess.run(
            net.node.command(sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=30
        )
        plain, probe = done.stdout.split()
        assert plain == "connected" and probe != "connected", done.stderr
    finally:
        server.kill()
        server.communicate()
