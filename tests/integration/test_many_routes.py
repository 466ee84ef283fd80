"""A host with many routes: what is asked of the kernel, and what the loop reads, does not grow with them."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.integration.netns import Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
ROUTES = 10_000
BOUND = 100
"""Messages of the kernel: a look at all, and a round of the neighbours."""

LOOK = """
import sys
from pathlib import Path
from fttcp.network import kernel, network
from tests.integration.network_driver import CLIENT4, CLIENT6, SERVICE4, SERVICE6, group, mapped

setup = network.NetworkSetup([group("web", SERVICE4, SERVICE6)], Path(sys.argv[1]))
with kernel.netlink() as socket:
    found = setup._look(socket, setup._groups["web"])
    network.routing.sync_routes = None  # a round asks once what routes there are
    setup._keep_warm(socket, setup._groups["web"], [mapped(CLIENT4), mapped(CLIENT6)])
    assert not found.missing, found.missing
    print(socket.received)
"""
LISTEN = """
import asyncio, socket, subprocess, sys
from fttcp.network import notices
from fttcp.network import ground

heard = 0
drain = notices._drain

class Counting:
    def __init__(self, real):
        self._real = real
    def recv(self, size):
        global heard
        data = self._real.recv(size)
        heard += 1
        return data

notices._drain = lambda real: drain(Counting(real))

async def main():
    news = notices.News((socket.NETLINK_ROUTE, ground.NEWS))
    done = await asyncio.create_subprocess_exec("ip", "-batch", sys.argv[1])
    assert await done.wait() == 0
    assert await news.wait(5.0)
    assert not await news.wait(0.0)
    news.close()
    print(heard)

asyncio.run(main())
"""


def routes(net: Net, tmp_path: Path) -> Path:
    """Commands that give the node routes over another interface."""
    net.node.run("ip", "link", "add", "far", "type", "veth", "peer", "name", "far-end")
    net.node.run("ip", "link", "set", "far", "up")
    net.node.run("ip", "link", "set", "far-end", "up")
    net.node.run("ip", "addr", "add", "10.80.0.1/24", "dev", "far")
    file = tmp_path / "routes"
    base = int(ip_address("100.64.0.0"))
    file.write_text("".join(f"route add {ip_address(base + n)}/32 dev far\n" for n in range(ROUTES)))
    return file


def run(net: Net, program: str, *words: str) -> str:
    done = subprocess.run(
        net.node.command(sys.executable, "-c", program, *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("many", [False, True])
def test_a_look_asks_for_its_own_routes_only(net: Net, tmp_path: Path, many: bool) -> None:
    if many:
        net.node.run("ip", "-batch", str(routes(net, tmp_path)))
    assert int(run(net, LOOK, str(tmp_path / "run"))) <= BOUND


def test_the_loop_reads_a_few_of_ten_thousand_notices(net: Net, tmp_path: Path) -> None:
    assert 0 < int(run(net, LISTEN, str(routes(net, tmp_path)))) <= BOUND
