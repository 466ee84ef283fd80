"""The same recorded steps given to both engines' TCP, the C one and the programmable one, to compare them.

A step is a line of text, see native/tests/replay_tcp.c. What an engine did in a step is a list of
lines: verdicts, packets of its own, records for the other node, events.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import EngineSettings, EventKind, LinkAddress, PeerSettings
from fttcp.planes.flow import Arrival
from fttcp.planes.follow import PairFlows
from fttcp.wire.keyfile import KeyRing

ROOT = Path(__file__).parents[1]
_ENGINE = (
    *(
        f"flows/{name}"
        for name in ("tcp", "hold", "act", "retain", "follow", "compare", "table", "life", "lockstep")
    ),
    "channel/crc32c",
)
_NATIVE = (
    *("tests/replay_tcp.c", "tests/engine_stubs.c", "tests/plane_model.c"),
    *(f"engine/{name}.c" for name in _ENGINE),
)
CONFIG = {
    "detach_after_ns": 2_000_000_000, "end_grace_ns": 200_000_000, "open_timeout_ns": 500_000_000,
    "idle_timeout_ns": 120_000_000_000, "max_flows": 4096, "max_half_open": 4096, "max_held": 1024,
    "max_held_total": 16384, "max_retained": 1 << 24, "compare": 1, "detach_divergent": 0,
    "order_service": 0,
}  # fmt: skip


def peer(node_id: int, local: str = "127.0.0.1", remote: str = "127.0.0.2") -> PeerSettings:
    """Return the other node, behind one link."""
    return PeerSettings(node_id, (LinkAddress("peer0", local, remote),))


def settings(**changes: Any) -> EngineSettings:
    """Return settings of an engine that never meets a kernel."""
    values: dict[str, Any] = {
        "keys": KeyRing((b"k" * 32,)), "cluster_id": 1, "node_id": 2, "boot_id": 4,
        "peers": (peer(3),), "service_interface": "lo", "peer_interface": "lo",
        "service_addresses": ("10.77.0.100",), "ports": ((80, 80, "tcp"), (69, 69, "udp")),
        "channel_port": 7710, "queue_in": 7700, "queue_out": 7716, "workers": 1, "mark": 0x4654,
        "beat_interval_ns": 20_000_000, "lease_ns": 100_000_000, "drift_ppm": 1000, "rt_priority": 0,
        "busy_poll_ns": 0,
        "udp_idle_timeout_ns": 60_000_000_000, "max_udp_bytes": 1 << 20, "queue_maxlen": 1024,
    }  # fmt: skip
    return EngineSettings(**(values | CONFIG | changes))


class Recorder:
    """Surroundings that write down what is asked of them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.lease = True
        self.is_vouched = True
        self.flows: PairFlows | None = None

    def may_emit(self, now_ns: int) -> bool:
        """The lease, as a step set it."""
        return self.lease and self.flows is not None and self.flows.emits

    def vouched(self) -> bool:
        """Health, as a step set it."""
        return self.is_vouched

    def server_gone(self, now_ns: int) -> bool:
        """Recordings have no server that dies."""
        return False

    def watches(self) -> bool:
        """... and none that is watched."""
        return False

    def put_record(self, record: Any) -> None:
        """Note a record."""
        room = ffi.new("uint8_t[]", 1024)
        length = lib.ftt_core_record_put(room, 1024, record)
        self.log.append("record " + bytes(ffi.buffer(room, length)).hex())

    def emit(self, packet: bytes, to_client: bool) -> None:
        """Note a packet of the engine's own."""
        self.log.append(f"emit {'client' if to_client else 'stack'} {packet.hex()}")

    def post(self, kind: EventKind, key: Any, reason: int, value: int) -> None:
        """Note an event."""
        self.log.append(f"event {int(kind)} {int(reason)} {value}")


class Verdict:
    """A packet that waits for its verdict."""

    def __init__(self, number: int, log: list[str]) -> None:
        self._number, self._log = number, log

    def accept(self, data: bytes | None) -> None:
        """Note that it goes."""
        self._log.append(f"verdict {self._number} accept {(data or b'').hex()}")

    def drop(self) -> None:
        """Note that it does not."""
        self._log.append(f"verdict {self._number} drop ")


def check_counts(flows: PairFlows) -> None:
    """Check that what the engine counts of its flows is what counting them anew gives."""
    known = list(flows.flows.values())
    assert flows.half_open == sum(not flow.state.bits & lib.FTT_F_ESTABLISHED for flow in known)
    assert flows.held_now == sum(len(flow.held) for flow in known)
    waiting = [
        flow
        for flow in known
        if flow.held
        or (not flow.closed and lib.ftt_core_flow_waits(flow.state))
        or (flow.retained.state.window and flow.retained.state.n)
    ]
    assert set(flows.waiting) == set(waiting)
    for flow in known:
        assert flow.state.held_since_ns == (flow.held[0].since_ns if flow.held else 0)


class PythonReplay:
    """The programmable engine's flows, moved by steps."""

    def __init__(self, options: dict[str, int]) -> None:
        self.world = Recorder()
        shift = options.pop("shift_spaces", 0)
        spaces = {"service_iss": options.pop("force_iss", 0), "service_ts": options.pop("force_ts", 0)}
        spaces["space_seed"] = options.pop("space_seed", 0)
        names = ("compare", "detach_divergent", "order_service")
        flags = {name: bool(options.pop(name, 0)) for name in names}
        changes = options | flags | (spaces if shift else {})
        self.flows = PairFlows(settings(**changes), self.world, Counter())
        self.world.flows = self.flows
        self._packets = 0

    def step(self, line: str) -> list[str]:
        """Do one step; return what was done."""
        what, *words = line.split()
        self.world.log.clear()
        match what:
            case "lease":
                self.world.lease = words[0] == "1"
            case "in" | "out":
                self._packet(what == "in", int(words[0]), bytes.fromhex(words[1]))
            case "record":
                self._record(int(words[0]), bytes.fromhex(words[1]))
            case "tick":
                self.world.is_vouched = words[1] == "1"
                self.flows.tick(int(words[0]))
            case "sweep":
                self.flows.sweep(int(words[0]))
            case "role":
                self.flows.role(EngineMode(int(words[1])), int(words[2]), int(words[0]))
        self.flows.flush()
        check_counts(self.flows)
        return list(self.world.log)

    def _packet(self, inward: bool, now_ns: int, data: bytes) -> None:
        pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
        raw = ffi.from_buffer("uint8_t[]", data)
        assert lib.ftt_core_parse(raw, len(data), len(data), pkt, seg) == lib.FTT_PARSED_TCP
        seg.dir = int(not inward)
        arrival = Arrival(Verdict(self._packets, self.world.log), data, len(data), pkt, seg)
        self._packets += 1
        (self.flows.from_client if inward else self.flows.from_server)(arrival, now_ns)

    def _record(self, now_ns: int, data: bytes) -> None:
        record = ffi.new("struct ftt_record *")
        raw = ffi.from_buffer("uint8_t[]", data)
        if lib.ftt_core_record_get(raw, len(data), record):
            self.flows.record(record, now_ns)


def config_of(steps: Sequence[str]) -> dict[str, int]:
    """Return the numbers of the first line, `config`."""
    return {name: int(value) for name, _, value in (word.partition("=") for word in steps[0].split()[1:])}


def run_python(steps: Sequence[str]) -> list[list[str]]:
    """Return what the programmable engine does in each step after the first."""
    replay = PythonReplay(config_of(steps))
    return [replay.step(line) for line in steps[1:]]


def build_native(directory: Path) -> Path:
    """Compile the C side, with sanitizers; return the program."""
    program = directory / "replay_tcp"
    sources = [str(ROOT / "native" / name) for name in _NATIVE]
    subprocess.run(
        ["cc", "-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         f"-I{ROOT}/native", "-o", str(program), *sources, "-lsodium"],
        check=True,
    )  # fmt: skip
    return program


def run_native(program: Path, steps: Sequence[str]) -> list[list[str]]:
    """Return what the C engine does in each step after the first."""
    done = subprocess.run(
        [str(program)], input="\n".join(steps) + "\n", stdout=subprocess.PIPE, text=True, check=True
    )
    parts: list[list[str]] = [[]]
    for line in done.stdout.splitlines():
        if line == ".":
            parts.append([])
        else:
            parts[-1].append(line)
    assert not parts[-1], "the program ended within a step"
    return parts[1:-1]


def differences(steps: Sequence[str], native: list[list[str]], python: list[list[str]]) -> Iterable[str]:
    """Yield a sentence for each step in which the engines differ. The verdicts on a flow's packets have an
    order; what is done for several flows in one step has none."""
    assert len(native) == len(python) == len(steps) - 1
    flow_of = [_flow(line) for line in steps if line.split()[0] in ("in", "out")]
    for number, (step, c, py) in enumerate(zip(steps[1:], native, python, strict=True), 2):
        if _by_flow(c, flow_of) != _by_flow(py, flow_of):
            yield f"step {number}: {step[:200]}\n  C:      {c}\n  Python: {py}"


def _flow(step: str) -> bytes:
    """Name the flow of a packet."""
    what, _, text = step.split()
    data, pkt, seg = bytes.fromhex(text), ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    lib.ftt_core_parse(ffi.from_buffer("uint8_t[]", data), len(data), len(data), pkt, seg)
    key = ffi.new("struct ftt_key *")
    lib.ftt_core_key(pkt, what == "in", key)
    return bytes(ffi.buffer(key))


def _by_flow(done: list[str], flow_of: list[bytes]) -> dict[bytes, list[str]]:
    """Sort what was done in a step: verdicts under their flow, in order; all else under b"", ordered."""
    parts: dict[bytes, list[str]] = {b"": sorted(line for line in done if not line.startswith("verdict"))}
    for line in done:
        if line.startswith("verdict"):
            parts.setdefault(flow_of[int(line.split()[1])], []).append(line)
    return parts
