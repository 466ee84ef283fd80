"""What is compared: each system is an address of the lab that the client uses, and what makes it serve there.

All of them lead to the same server processes on the same two hosts, in the same lab and at the same time, so
that the passes of one can stand directly beside those of another.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import get_native_id

from lab import network
from lab.bench import programs
from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Record, System
from lab.bench.stage import Stage
from lab.hosts import Host, await_condition
from lab.keys import TLS_CERTIFICATE, TLS_KEY
from lab.network import NODES, PEER_LINK, PROXY, SERVICE4, Cable, cables

HAPROXY, KEEPALIVED, FLOOR = "haproxy", "keepalived", "nfqueue-floor"
HAPROXY_TLS, CERTIFICATE = "haproxy-tls", "both.pem"
EBPF_FLOOR, EBPF_PAIR = "ebpf-floor", "ebpf-pair"
TWO_FLOORS, CROSSED_FLOORS = "two-floors", "crossed-floors"
STEADY = (NATIVE, FTTCP, HAPROXY, FLOOR)
"""What is compared while nothing fails: keepalived is the native server then."""
UNSHAPED = (*STEADY, EBPF_FLOOR, EBPF_PAIR, TWO_FLOORS)
"""The same where two loads at once do not have to share a cable, and a plane may be faster than NFQUEUE."""
UNSHAPED_BULK = (*UNSHAPED, CROSSED_FLOORS)
"""The same where what a packet costs depends on whose cache has its payload."""
VRRP_ADDRESS = "10.77.0.102"
FLOOR_ADDRESSES = dict(zip(NODES, ("10.77.0.101", "10.77.0.103"), strict=True))
EBPF_ADDRESSES = {EBPF_FLOOR: "10.77.0.104", EBPF_PAIR: "10.77.0.105"}
FLOOR_QUEUES = ("7800", "7816")
APART = 0.1
"""Two loads that end further apart than this part of the time of their case were not at the same time."""
READY_S = 10.0
RT_PRIORITY = 20
"""That of fttcp's own heartbeats."""


class Fttcp(System):
    """The service address of the pair."""

    name = FTTCP

    def address(self, stage: Stage) -> str:
        return SERVICE4


class Haproxy(System):
    """HAProxy in TCP mode on a host of its own; alpha's server is used, beta's stands by."""

    name = HAPROXY
    needs = ("haproxy",)
    mode = "tcp"

    def prepare(self, stage: Stage) -> None:
        home = stage.lab.add_host(PROXY).home
        (home / "haproxy.cfg").write_text(self._config(stage))
        network.sysctl(
            stage.lab.host(PROXY), {"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_tw_reuse": 1}
        )
        stage.daemon(PROXY, ["haproxy", "-db", "-f", str(home / "haproxy.cfg")])
        self.mend(stage)

    def mend(self, stage: Stage) -> None:
        await_condition(lambda: self._serves(stage), READY_S, "haproxy: the server on alpha to be up")

    def address(self, stage: Stage) -> str:
        return stage.address(PROXY)

    def serving(self, stage: Stage) -> str:
        return NODES[0]

    def most_flows(self) -> int:
        return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2

    def _config(self, stage: Stage) -> str:
        """Return the configuration; checks of the servers come at the pace of the pair's heartbeats."""
        beat_ms, misses = stage.setup.beats
        check = f"check inter {beat_ms}ms fall {misses} rise 1 on-marked-down shutdown-sessions"
        lines = [
            "global",
            f"    stats socket {stage.lab.home}/{PROXY}/haproxy.sock",
            "defaults",
            f"    mode {self.mode}",
            "    timeout connect 1s",
            "    timeout client 1h",
            "    timeout server 1h",
            "    option redispatch",
        ]
        for bound, port in self._binds(stage):
            lines += [f"listen port-{port}", f"    bind {bound}"]
            for node, extra in zip(NODES, ("", " backup"), strict=True):
                probed = f" {check}" if stage.setup.probes else ""
                lines.append(f"    server {node} {stage.address(node)}:{port}{probed}{extra}")
        return "\n".join(lines) + "\n"

    def _binds(self, stage: Stage) -> list[tuple[str, str]]:
        """Return where it listens, and the servers' port for that."""
        return [(f":{port}", port) for port in stage.setup.ports]

    def _serves(self, stage: Stage) -> bool:
        """Whether HAProxy listens, and takes alpha's server for a living one."""
        try:
            with socket.socket(socket.AF_UNIX) as channel:
                channel.connect(f"{stage.lab.home}/{PROXY}/haproxy.sock")
                channel.sendall(b"show stat json\n")
                with channel.makefile("rb") as reader:
                    answer = json.loads(reader.read())
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        rows = [{item["field"]["name"]: item["value"]["value"] for item in entry} for entry in answer]
        states = [row["status"] for row in rows if row["svname"] == NODES[0]]
        return bool(states) and all(state in ("UP", "no check") for state in states)


class HaproxyTls(Haproxy):
    """The same, in HTTP mode: it ends TLS, and asks the servers in clear text."""

    name = HAPROXY_TLS
    mode = "http"

    def _binds(self, stage: Stage) -> list[tuple[str, str]]:
        own = stage.lab.host(PROXY).home / CERTIFICATE
        own.write_text(TLS_KEY + TLS_CERTIFICATE)
        return [(f":443 ssl crt {own}", "80")]


class Keepalived(System):
    """keepalived moves an address by VRRP from alpha to beta; connections do not live through that."""

    name = KEEPALIVED
    needs = ("keepalived",)

    def prepare(self, stage: Stage) -> None:
        for node in NODES:
            (stage.lab.home / node / "keepalived.conf").write_text(self._config(stage, node))
            self._start(stage, node)
        self._await(stage)

    def mend(self, stage: Stage) -> None:
        for node in stage.reborn:
            self._start(stage, node)
        self._await(stage)

    def address(self, stage: Stage) -> str:
        return VRRP_ADDRESS

    def serving(self, stage: Stage) -> str:
        return NODES[0]

    def _start(self, stage: Stage, node: str) -> None:
        file = str(stage.lab.home / node / "keepalived.conf")
        stage.daemon(node, ["keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", file])

    def _await(self, stage: Stage) -> None:
        def settled() -> bool:
            return [self._has_address(stage.lab.host(node)) for node in NODES] == [True, False]

        await_condition(settled, READY_S, f"keepalived: {VRRP_ADDRESS} to be on {NODES[0]} only")

    @staticmethod
    def _has_address(host: Host) -> bool:
        return VRRP_ADDRESS in host.run(["ip", "-4", "address", "show"])

    def _config(self, stage: Stage, node: str) -> str:
        """Return the configuration: VRRP version 3, advertisements at the pace of the pair's heartbeats (VRRP
        counts hundredths of a second; three missed ones and the skew are the end of a master)."""
        interval_s = max(stage.setup.beats[0] / 1000, 0.01)
        return f"""\
global_defs {{
    router_id {node}
    vrrp_version 3
    vrrp_rt_priority {RT_PRIORITY}
}}
vrrp_instance bench {{
    state BACKUP
    interface {stage.interface(node)}
    virtual_router_id 77
    priority {200 if node == NODES[0] else 100}
    advert_int {interval_s:.2f}
    virtual_ipaddress {{
        {VRRP_ADDRESS}/24
    }}
}}
"""


class Floor(System):
    """An address on one node whose packets cross user space like fttcp's, mirror included, in a loop that
    accepts everything unseen: what no firewall program by NFQUEUE can be faster than."""

    name = FLOOR
    needs = ("iptables",)

    def __init__(self, node: str, other: str) -> None:
        self.node, self._other = node, other

    def prepare(self, stage: Stage) -> None:
        host, other = (stage.lab.host(node) for node in (self.node, self._other))
        interface, address = stage.interface(self.node), self.address(stage)
        host.run(["ip", "address", "add", f"{address}/24", "dev", interface])
        log = stage.daemon(self.node, [programs.FLOOR, *FLOOR_QUEUES])
        await_condition(lambda: "ready" in log.read_text(), READY_S, "nfqueue-floor: its queues to be bound")
        (gateway,) = (str(cable.address4.ip) for cable in cables(self._other, PEER_LINK))
        tcp = f"-p tcp -m multiport --dports {','.join(stage.setup.ports)}"
        restore(host, [
            "*raw",
            f"-I PREROUTING -d {address} -j CT --notrack",
            f"-I OUTPUT -s {address} -j CT --notrack",
            "COMMIT",
            "*mangle",
            f"-I PREROUTING -i {interface} -d {address} {tcp} -j TEE --gateway {gateway}",
            f"-I INPUT -i {interface} -d {address} {tcp} -j NFQUEUE --queue-num {FLOOR_QUEUES[0]}",
            f"-I OUTPUT ! -o lo -s {address} -j NFQUEUE --queue-num {FLOOR_QUEUES[1]}",
            "COMMIT",
        ])  # fmt: skip
        restore(other, ["*raw", f"-I PREROUTING -d {address} -j DROP", "COMMIT"])

    def serving(self, stage: Stage) -> str:
        return self.node

    def address(self, stage: Stage) -> str:
        return FLOOR_ADDRESSES[self.node]


class EbpfFloor(System):
    """An address whose packets never leave the kernel: programs pass them, clone those of clients to the
    other node's stack, and take away what that one answers. Nothing is kept in step: what no plane in the
    kernel can be faster than."""

    name = EBPF_FLOOR

    def prepare(self, stage: Stage) -> None:
        node, other = NODES
        (wire,), (far,) = cables(node, PEER_LINK), cables(other, PEER_LINK)
        self._start(stage, wire, far)
        for host, interface in ((other, "lo"), (node, stage.interface(node))):
            stage.lab.host(host).run(["ip", "address", "add", f"{self.address(stage)}/32", "dev", interface])

    def serving(self, stage: Stage) -> str:
        return NODES[0]

    def address(self, stage: Stage) -> str:
        return EBPF_ADDRESSES[self.name]

    def _start(self, stage: Stage, wire: Cable, far: Cable) -> None:
        node, other = NODES
        self._run(stage, other, "silence", self.address(stage), stage.interface(other))
        self._run(stage, node, "forward", self.address(stage), stage.interface(node), wire.interface, far.mac)

    def _run(self, stage: Stage, node: str, *words: str) -> None:
        log = stage.daemon(node, [programs.bpf(), *words])
        await_condition(lambda: "ready" in log.read_text(), READY_S, f"{self.name}: its programs on {node}")


class EbpfPair(EbpfFloor):
    """The same kept in step by the core's decisions in these programs: nothing is acknowledged that the other
    node's stack has not. A takeover is by hand; outputs are not compared."""

    name = EBPF_PAIR

    def _start(self, stage: Stage, wire: Cable, far: Cable) -> None:
        node, other = NODES
        for who, role, own, peer in ((other, "follow", far, wire), (node, "lead", wire, far)):
            self._run(stage, who, role, self.address(stage), stage.interface(who), own.interface, peer.mac)


class TwoFloors(Floor):
    """The floor on both nodes, and the same load on both at the same time, as a pair does everything twice;
    the mean of what both halves reach is recorded."""

    name = TWO_FLOORS

    def __init__(self, node: str, other: str) -> None:
        super().__init__(node, other)
        self._beside = Floor(other, node)

    def prepare(self, stage: Stage) -> None:
        stage.require(SYSTEMS[FLOOR])
        self._beside.prepare(stage)

    def measured(self, case: Case, stage: Stage, record: Record) -> None:
        def end_s(system: Floor, found: Record) -> float:
            with self._client_of(system):
                case.measure(stage, system, found)
            return time.monotonic()

        own, others = record.aside(), record.aside()
        with ThreadPoolExecutor(max_workers=1) as pool:
            beside = pool.submit(end_s, self._beside, others)
            apart_s = abs(end_s(self, own) - beside.result())
        if trouble := own.samples.notes() + others.samples.notes():
            record.note(case.unit, "; ".join(trouble))
        elif apart_s > APART * case.seconds:
            record.note(case.unit, "the two halves were not at the same time")
        else:
            record.add_mean(own, others)

    def _client_of(self, floor: Floor) -> AbstractContextManager[None]:
        """What the calling thread does while it measures `floor`."""
        return nullcontext()


class CrossedFloors(TwoFloors):
    """Two floors of which none has its data in the caches of one core: a node's client has half of the cores,
    the node the other half. The one client of a pair cannot stay with both of its nodes either."""

    name = CROSSED_FLOORS

    def prepare(self, stage: Stage) -> None:
        stage.require(SYSTEMS[TWO_FLOORS])

    def measured(self, case: Case, stage: Stage, record: Record) -> None:
        halves = halves_of_cores()
        self._clients = dict(zip(reversed(NODES), halves, strict=True))
        with ExitStack() as bound:
            for node, own in zip(NODES, halves, strict=True):
                for pid in stage.lab.host(node).processes():
                    bound.enter_context(on_cores(pid, own))
            super().measured(case, stage, record)

    def _client_of(self, floor: Floor) -> AbstractContextManager[None]:
        return on_cores(None, self._clients[floor.node])


def halves_of_cores() -> tuple[set[int], set[int]]:
    """Return the first and the last half of the cores that this process may use; of one, it twice."""
    usable = sorted(os.sched_getaffinity(os.getpid()))
    half = max(1, len(usable) // 2)
    return set(usable[:half]), set(usable[-half:])


@contextmanager
def on_cores(pid: int | None, wanted: set[int]) -> Iterator[None]:
    """Keep the threads of process `pid`, or the calling thread and the processes that it starts, on the cores
    `wanted` during the block, and then on those of the calling thread; who has ended is on none."""
    usable = os.sched_getaffinity(0)
    _bind(pid, wanted)
    try:
        yield
    finally:
        _bind(pid, usable)


def _bind(pid: int | None, cores: set[int]) -> None:
    tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").glob("*")] if pid else [get_native_id()]
    for task in tasks:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(task, cores)


def restore(host: Host, lines: list[str]) -> None:
    """Add rules of iptables-restore to those of `host`."""
    host.run(["iptables-restore", "--noflush", "--wait", "5"], text_input="\n".join(lines) + "\n")


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(),
        Fttcp(),
        Haproxy(),
        Keepalived(),
        Floor(*NODES),
        EbpfFloor(),
        EbpfPair(),
        TwoFloors(*NODES),
        CrossedFloors(*NODES),
        HaproxyTls(),
    )
}
