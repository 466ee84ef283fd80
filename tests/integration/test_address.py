"""Announcements that real neighbours heed, and the loss of a carrier, on a real kernel."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.netns import Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
ANNOUNCE = """
import socket, sys
from ipaddress import ip_address
from fttcp.address.announce import announcement
from fttcp.address.interface import hardware_address
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("svc0", 0))
    for frame in announcement(hardware_address("svc0"), [ip_address(sys.argv[1])], {})[int(sys.argv[2]):]:
        sock.send(frame)
"""
CARRIER = """
import asyncio
from fttcp.address.carrier import CarrierMonitor
async def main():
    changes = asyncio.Queue()
    monitor = CarrierMonitor("svc0", changes.put_nowait)
    print(monitor.start(), flush=True)
    while True:
        print(await changes.get(), flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("address", "skip"), [("10.77.0.100", "0"), ("10.77.0.100", "1"), ("fd77::100", "0")]
)
def test_a_neighbour_heeds_the_announcement(net: Net, address: str, skip: str) -> None:
    net.client.run(
        "ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "eth0"
    )
    command = net.node.command(sys.executable, "-c", ANNOUNCE, address, skip)
    subprocess.run(command, cwd=ROOT, check=True, timeout=30)
    assert net.node.mac("svc0") in net.client.run("ip", "neigh", "show", address)


def test_loss_and_return_of_the_carrier_are_told(net: Net) -> None:
    watcher = subprocess.Popen(
        net.node.command(sys.executable, "-c", CARRIER), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "True\n"
        for namespace, interface, state, told in (
            (net.client, "eth0", "down", "False\n"),
            (net.client, "eth0", "up", "True\n"),
            (net.node, "svc0", "down", "False\n"),
            (net.node, "svc0", "up", "True\n"),
        ):
            namespace.run("ip", "link", "set", interface, state)
            assert watcher.stdout.readline() == told
        net.node.run("ip", "link", "del", "svc0")
        assert watcher.stdout.readline() == "False\n"
    finally:
        watcher.kill()
        watcher.wait()
