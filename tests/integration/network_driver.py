"""Runs steps of `NetworkSetup` in the namespace that it is started in: RUN_DIR STEP...

Prints each step that is done. Options among the steps: `ipv4` (a group without IPv6), `die:FUNCTION`
(SIGKILL when that function has done its work), `guarded` and `flushable` (as on a kernel that can do no
more). `flush` is what a reload of nftables does, by another program; `die` is a SIGKILL.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from fttcp.network import kernel, network, routing
from fttcp.network.owner import Firewall, TakenError
from fttcp.network.rules import GroupNet
from fttcp.network.tables import is_guard, plan

SERVICE4, SERVICE6, CLIENT4, CLIENT6 = map(ip_address, ("10.77.0.100", "fd77::100", "10.77.0.10", "fd77::10"))


def mapped(address: Any) -> bytes:
    """An address as the engine has it."""
    return bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else bytes(address.packed)


async def without_rules(setup: network.NetworkSetup, web: GroupNet) -> None:
    """Only the guard is left."""
    assert setup._owner is not None
    setup._owner.remove([table for table in plan(web) if not is_guard(table)])


async def seen(setup: network.NetworkSetup, *fields: str) -> Any:
    """What of how the rules stand."""
    standing = await setup.standing("web")
    values = [getattr(standing, name) for name in fields]
    return values if len(values) > 1 else values[0]


async def restored(setup: network.NetworkSetup) -> list[str]:
    """What came back by itself; the loop must have had a turn."""
    await asyncio.sleep(0)
    return sorted(setup.restored().get("web", []))


async def ground(setup: network.NetworkSetup, *, mended: bool = False) -> Any:
    """What is missing of what the group stands on, or what was and is there again."""
    found = await setup.ground("web")
    return [*found.mended] if mended else [lack.what for lack in found.missing]


def inject(mark: int) -> None:
    """As the engine does: to this host's stack, in a client's name."""
    for family, option, packet in (
        (socket.AF_INET, (socket.IPPROTO_IP, 3), IP(src=str(CLIENT4), dst=str(SERVICE4))),
        (socket.AF_INET6, (socket.IPPROTO_IPV6, 36), IPv6(src=str(CLIENT6), dst=str(SERVICE6))),
    ):
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            raw.setsockopt(*option, 1)
            with suppress(PermissionError):  # what a rule drops
                raw.sendto(bytes(packet / TCP(sport=40000, dport=80, flags="R")), (packet.dst, 0))


async def changed(setup: network.NetworkSetup, web: GroupNet) -> str:
    """Whether the group could be changed, to itself."""
    try:
        await setup.change([web])
    except kernel.KernelError:
        return "refused"
    return "done"


async def cleaned(run_dir: Path) -> bool:
    """Whether there was anything to undo."""
    undone = await network.cleanup(run_dir)
    return undone != network.Record(undone.place)


async def refused(setup: network.NetworkSetup) -> None:
    """As a daemon ends whose start has failed."""
    try:
        await setup.apply()
    finally:
        await setup.remove()


FIREWALLS = {firewall.value for firewall in Firewall}


def group(name: str, *addresses: Any) -> GroupNet:
    return GroupNet(
        name=name,
        addresses=addresses,
        ports=((80, 80, "tcp"), (69, 69, "udp")),
        service_interface="svc0",
        peer_interface="peer0",
        mirror_gateway4=ip_address("10.78.0.2"),
        mirror_gateway6=ip_address("fd78::2"),
        queue_in=7700,
        queue_out=7716,
        workers=2,
        peers=(ip_address("10.78.0.2"), ip_address("fd78::2")),
    )


async def run(script: str) -> str:
    shell = await asyncio.create_subprocess_shell(script, stdout=asyncio.subprocess.PIPE)
    return (await shell.communicate())[0].decode()


async def use(setup: network.NetworkSetup, left: str, name: str) -> None:
    """Move the service addresses to another adapter."""
    setup.use_adapter(name)
    await setup.follow_adapter(left)


def die_after(name: str) -> None:
    module = next(one for one in (kernel, routing, network) if hasattr(one, name))
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
    if "adapters" in options:
        web = replace(web, standby_interfaces=("svc1",))
    firewall = next((Firewall(option) for option in options if option in FIREWALLS), None)
    setup = network.NetworkSetup([web], run_dir, firewall)
    moved = replace(web, mirror_gateway4=ip_address("10.78.0.3"), mirror_gateway6=ip_address("fd78::3"))
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "apply": setup.apply,
        "remove": setup.remove,
        "cleanup": lambda: cleaned(run_dir),
        "backup": lambda: setup.set_role_metrics("web", backup=True),
        "primary": lambda: setup.set_role_metrics("web", backup=False),
        "warm": lambda: setup.keep_warm("web", map(mapped, [CLIENT4, CLIENT6, ip_address("192.0.2.1")])),
        "neighbours": lambda: setup.known_neighbours("web"),
        "end": lambda: setup.end_connections("web"),
        "mirror": lambda: setup.mirror_to(moved),
        "missing": lambda: seen(setup, "missing"),
        "ground": lambda: ground(setup),
        "mended": lambda: ground(setup, mended=True),
        "stopped": lambda: seen(setup, "stopped"),
        "standing": lambda: seen(setup, "rules", "guard"),
        "before-ours": lambda: run("iptables -t mangle -I OUTPUT -j ACCEPT; ip6tables -t raw -F PREROUTING"),
        "flush": lambda: run("nft flush ruleset"),
        "flush-ip-rule": lambda: run("ip rule flush; ip -6 rule flush; ip addr del 10.77.0.100/32 dev lo"),
        "sysctls-back": lambda: run(
            "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.svc0.arp_announce=0 "
            "net.ipv6.conf.peer0.keep_addr_on_down=0 net.ipv4.ip_early_demux=1"
        ),
        "harden": lambda: run("sysctl -qw net.ipv6.conf.lo.disable_ipv6=1"),
        "change": lambda: changed(setup, web),
        "address-gone": lambda: run(
            "ip addr del 10.77.0.100/32 dev lo; ip addr del fd77::100/128 dev lo; "
            "mac=$(ip neigh show 10.77.0.10 dev svc0 | grep -o 'lladdr [^ ]*'); "
            "for service in 10.77.0.100 fd77::100; do ip neigh replace $service $mac dev svc0; done"
        ),
        "use-svc1": lambda: use(setup, "svc0", "svc1"),
        "use-svc0": lambda: use(setup, "svc1", "svc0"),
        "svc0-gone": lambda: run("ip link del svc0"),
        "table": lambda: run("ip route show table 47700; ip -6 route show table 47700"),
        "inject": lambda: asyncio.to_thread(inject, web.mark),
        "main-empty": lambda: run("ip route flush table main; ip route show table 47700"),
        "restored": lambda: restored(setup),
        "reach": lambda: run("ip route get 10.78.0.2; ip route get fd78::2; ip route get 10.77.0.10"),
        "flush-iptables": lambda: run("iptables -t mangle -F OUTPUT; ip6tables -t mangle -F FTT-web-in"),
        "speak": lambda: run(
            "ping -c 1 -W 1 -I 10.77.0.100 10.77.0.10; ping -c 1 -W 1 -I fd77::100 fd77::10"
        ),
        "saved": lambda: run("iptables-save; ip6tables-save"),
        "without-rules": lambda: without_rules(setup, web),
        "refused": lambda: refused(setup),
        "wait": lambda: asyncio.to_thread(sys.stdin.readline),
        "tables": lambda: run("nft list ruleset"),
        "die": lambda: run(f"kill -9 {os.getpid()}"),
    }
    for step in steps:
        try:
            print(step, await verbs[step.removeprefix("try:")](), flush=True)
        except TakenError as error:
            if not step.startswith("try:"):
                raise
            print(error, flush=True)


if __name__ == "__main__":
    words = sys.argv[2:]
    options = {"ipv4", "adapters", *FIREWALLS}
    chosen = [word for word in words if word in options or word.startswith("die:")]
    for option in chosen:
        if option.startswith("die:"):
            die_after(option.removeprefix("die:"))
    asyncio.run(main(Path(sys.argv[1]), chosen, [word for word in words if word not in chosen]))
