"""Runs steps of `NetworkSetup` in the namespace that it is started in: RUN_DIR STEP...

Prints each step that is done. Options among the steps: `ipv4` (a group without IPv6), `die:FUNCTION`
(SIGKILL when that function has done its work).
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from fttcp.datapath import kernel, network
from fttcp.datapath.rules import GroupNet

SERVICE4, SERVICE6, CLIENT4, CLIENT6 = map(ip_address, ("10.77.0.100", "fd77::100", "10.77.0.10", "fd77::10"))


def group(name: str, *addresses: Any) -> GroupNet:
    return GroupNet(
        name=name,
        addresses=addresses,
        ports=((80, "tcp"), (69, "udp")),
        service_interface="svc0",
        peer_interface="peer0",
        mirror_gateway4=ip_address("10.78.0.2"),
        mirror_gateway6=ip_address("fd78::2"),
        queue_in=7700,
        queue_out=7716,
        workers=2,
    )


def die_after(name: str) -> None:
    module = kernel if hasattr(kernel, name) else network
    original = getattr(module, name)

    async def killed(*args: Any) -> None:
        await original(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    def killed_at_once(*args: Any) -> None:
        original(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, killed if asyncio.iscoroutinefunction(original) else killed_at_once)


async def main(run_dir: Path, options: list[str], steps: list[str]) -> None:
    web = group("web", SERVICE4) if "ipv4" in options else group("web", SERVICE4, SERVICE6)
    setup = network.NetworkSetup([web], run_dir)
    moved = replace(web, mirror_gateway4=ip_address("10.78.0.3"), mirror_gateway6=ip_address("fd78::3"))
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "apply": setup.apply,
        "remove": setup.remove,
        "cleanup": lambda: network.cleanup(run_dir),
        "backup": lambda: setup.set_role_metrics("web", backup=True),
        "primary": lambda: setup.set_role_metrics("web", backup=False),
        "warm": lambda: setup.keep_warm("web", [CLIENT4, CLIENT6, ip_address("192.0.2.1")]),
        "neighbours": lambda: setup.known_neighbours("web"),
        "end": lambda: setup.end_connections("web"),
        "mirror": lambda: setup.mirror_to(moved),
        "missing": lambda: setup.missing_rules("web"),
    }
    for step in steps:
        print(step, await verbs[step](), flush=True)


if __name__ == "__main__":
    words = sys.argv[2:]
    chosen = [word for word in words if word == "ipv4" or word.startswith("die:")]
    for option in chosen:
        if option.startswith("die:"):
            die_after(option.removeprefix("die:"))
    asyncio.run(main(Path(sys.argv[1]), chosen, [word for word in words if word not in chosen]))
