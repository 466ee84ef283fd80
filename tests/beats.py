"""Do heartbeats hold under load? Many pairs of engines beat at 5 ms, three misses, while all cores are busy.

    .venv/bin/python -m tests.beats --beats 720000

Two namespaces joined by one cable; in each a Python process with as many real engines as there are pairs,
and the heartbeats of one node for all of them.
Both processes do nothing but make garbage and collect it; beside them run twice as many burning processes as
there are cores. The engines grant each other leases. What is counted comes from the engines: heartbeats
heard, and events that must not come (peer or link lost, lease lapsed). The exit status is 1 if a peer was
lost.
`stolen_ms` is what a hypervisor took away: against that no priority helps.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes.base import (
    BeatThread,
    EngineSettings,
    EventKind,
    LinkAddress,
    LivenessSettings,
    PeerSettings,
)
from fttcp.planes.liveness import Liveness
from fttcp.planes.nfqueue import NfqueueEngine
from fttcp.wire import clock
from fttcp.wire.keyfile import KeyRing
from lab.hosts import await_condition
from tests.integration.netns import Namespace, Net

INTERVAL_NS = 5_000_000
PORT = 20_000
_GARBAGE = 50_000  # cyclic objects made between two collections
_UNWANTED = {
    EventKind.PEER_LOST: "peer_lost",
    EventKind.LINK_LOST: "link_lost",
    EventKind.LEASE_LAPSED: "lapses",
}


KEYS = KeyRing((b"b" * 32,))


def peers(node: int) -> tuple[PeerSettings, ...]:
    other = 3 - node
    link = LinkAddress("peer0", f"10.78.0.{node}", f"10.78.0.{other}")
    return (PeerSettings(other, (link,)),)


def open_engine(liveness: Liveness, node: int, number: int, misses: int) -> NfqueueEngine:
    return NfqueueEngine(
        EngineSettings(
            keys=KEYS, cluster_id=number + 1, node_id=node, boot_id=node,
            peers=peers(node), service_interface="peer0", peer_interface="peer0",
            service_addresses=("192.0.2.1",), ports=((80, 80, "tcp"),),
            channel_port=PORT + 10 * (number + 1),
            queue_in=32 * number, queue_out=32 * number + 16, workers=1, mark=1, beat_interval_ns=INTERVAL_NS,
            lease_ns=misses * INTERVAL_NS, drift_ppm=1000, rt_priority=20,
            busy_poll_ns=0, detach_after_ns=1, end_grace_ns=1,
            open_timeout_ns=1, opens_wait_ns=1, idle_timeout_ns=1, udp_idle_timeout_ns=1, max_flows=16,
            max_half_open=16,
            max_held=16, max_held_total=16, max_udp_bytes=4096, max_retained=0, queue_maxlen=64,
            compare=False, detach_divergent=False,
        ),
        liveness,
    )  # fmt: skip


class _Tally:
    """What happened to the engines of this process."""

    def __init__(self, engines: list[NfqueueEngine]) -> None:
        self.engines = engines
        self.n = dict.fromkeys(_UNWANTED.values(), 0)

    def drain(self) -> None:
        for engine in self.engines:
            for event in engine.events():
                if event.kind in _UNWANTED:
                    self.n[_UNWANTED[event.kind]] += 1

    def heard(self) -> int:
        return sum(engine.counters()["beats_received"] for engine in self.engines)


def _granted(engine: NfqueueEngine) -> bool:
    body = engine.peer_body(0)
    return body is not None and body[1] == b"granting"


def _node(node: int, pairs: int, beats: int, misses: int) -> None:
    """Be one node: say ``up`` when all peers are heard, count from a line on standard input on."""
    liveness = Liveness(LivenessSettings(KEYS, 1, node, node, peers(node), PORT))
    engines = [open_engine(liveness, node, number, misses) for number in range(pairs)]
    tally = _Tally(engines)
    for engine in engines:
        engine.start()
    await_condition(lambda: all(engine.status().peer_alive for engine in engines), 30, "all peers are heard")
    for engine in engines:
        engine.publish(b"granting", 1)
        engine.set_mode(EngineMode.PAIRED, 1, 0)
    await_condition(lambda: all(_granted(engine) for engine in engines), 30, "all peers grant")
    for engine in engines:
        engine.set_lease(Lease.GRANTED, None, clock.now_ns())
    print("up", flush=True)
    sys.stdin.readline()
    tally.drain()
    tally.n = dict.fromkeys(tally.n, 0)
    first, late, began = tally.heard(), _late(engines), time.monotonic()
    collections = pause_ns = 0
    while tally.heard() - first < beats:
        garbage: list[Any] = []
        for _ in range(_GARBAGE):
            garbage.append([garbage])
        before_ns = time.monotonic_ns()
        gc.collect()
        pause_ns = max(pause_ns, time.monotonic_ns() - before_ns)
        collections += 1
        tally.drain()
    tally.drain()
    result = {
        "beats": tally.heard() - first,
        **tally.n,
        "late": _late(engines) - late,
        "seconds": round(time.monotonic() - began, 1),
        "collections": collections,
        "longest_collection_ms": round(pause_ns / 1e6, 1),
        "allowed": str(BeatThread(engines[0].status().beat_thread)),
    }
    print(json.dumps(result), flush=True)
    sys.stdin.readline()  # the other node may still count
    for engine in engines:
        engine.close()
    liveness.close()


def _late(engines: list[NfqueueEngine]) -> int:
    return sum(engine.counters()["beats_late"] for engine in engines)


def measure(beats: int, pairs: int, burners: int, misses: int = 3) -> dict[str, Any]:
    """Return what both nodes counted while so many heartbeats came in, and the sums of it. Needs root."""
    with ExitStack() as stack:
        places = [Namespace(), Namespace()]
        for place in places:
            stack.callback(place.close)
        Net.join(places[0], "peer0", places[1], "peer0", "78")
        nodes = []
        for number, place in enumerate(places, 1):
            arguments = ["--node", str(number), "--pairs", str(pairs), "--beats", str(beats // 2)]
            arguments += ["--misses", str(misses)]
            command = place.command(sys.executable, "-m", "tests.beats", *arguments)
            node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(_end, node)
            nodes.append(node)
        if [_line(node) for node in nodes] != ["up", "up"]:
            raise RuntimeError("the nodes did not come up; what they said stands above")
        for _ in range(burners):
            stack.callback(_end, subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        stolen = _stolen_ms()
        for node in nodes:
            _say(node)
        counted = [json.loads(_line(node)) for node in nodes]
        for node in nodes:
            _say(node)
        for node in nodes:
            node.wait(30)
    names = ("beats", "peer_lost", "link_lost", "lapses", "late")
    return {name: sum(one[name] for one in counted) for name in names} | {
        "stolen_ms": _stolen_ms() - stolen,
        "nodes": counted,
    }


def _stolen_ms() -> int:
    """Return for how long the machine's hypervisor has not let its processors run, all together."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return int(fields[8]) * 1000 // os.sysconf("SC_CLK_TCK")


def _line(node: subprocess.Popen[str]) -> str:
    assert node.stdout is not None
    return node.stdout.readline().strip()


def _say(node: subprocess.Popen[str]) -> None:
    assert node.stdin is not None
    node.stdin.write("\n")
    node.stdin.flush()


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


def _main() -> int:
    parser = argparse.ArgumentParser(description="Heartbeats under full load.")
    parser.add_argument("--beats", type=int, default=720_000, help="heartbeats to hear, over all")
    parser.add_argument("--pairs", type=int, default=12, help="pairs of engines that beat at the same time")
    parser.add_argument("--burners", type=int, default=2 * (os.cpu_count() or 1), help="busy processes")
    parser.add_argument("--misses", type=int, default=3, help="heartbeats that may be missed before a loss")
    parser.add_argument("--node", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node is not None:
        _node(options.node, options.pairs, options.beats, options.misses)
        return 0
    result = measure(options.beats, options.pairs, options.burners, options.misses)
    print(json.dumps(result, indent=1))
    return 1 if result["peer_lost"] else 0


if __name__ == "__main__":
    sys.exit(_main())
