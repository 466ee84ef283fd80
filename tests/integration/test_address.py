"""The loss of a carrier, on a real kernel."""

import subprocess
import sys
from pathlib import Path

from tests.integration.netns import Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
CARRIER = """
import asyncio
from fttcp.network.carrier import CarrierMonitor
async def main():
    changes = asyncio.Queue()
    monitor = CarrierMonitor("svc0", changes.put_nowait)
    print(monitor.start(), flush=True)
    while True:
        print(await changes.get(), flush=True)
asyncio.run(main())
"""


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
