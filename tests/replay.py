"""The same recorded steps given to one worker on two data planes, that of C tests and Python's, to compare.

A step is a line of text, see native/replay/replay.c. What was done in a step is a list of lines:
verdicts, packets of the engine's own, records for the other node, events.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import cache
from heapq import merge
from operator import itemgetter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cffi import FFI

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import EngineSettings, LinkAddress, PeerSettings
from fttcp.planes.experiment import Callback, Direction, Flags, hooks_of
from fttcp.planes.intake import Intake
from fttcp.planes.programmable import set_hooks
from fttcp.planes.views import parse
from fttcp.wire.keyfile import KeyRing

ROOT = Path(__file__).parents[1]
_SOURCES = (
    *("replay/replay.c", "engine/planes/model/plane_model.c", "engine/life.c"),
    *(
        "engine/channel/crc32c.c",
        "engine/planes/python/python.c",
        "engine/api/observe.c",
        "engine/worker_packets.c",
    ),
)
_TICK_NS, _SWEEP_NS = 2_000_000, 100_000_000
CONFIG = {
    "detach_after_ns": 2_000_000_000, "end_grace_ns": 200_000_000, "open_timeout_ns": 500_000_000,
    "opens_wait_ns": 2_000_000_000,
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


class QueuedPacket:
    """A packet that waits for its verdict, and writes down what it is."""

    def __init__(self, number: int, data: bytes, log: list[str]) -> None:
        self._number, self._data, self._log = number, data, log
        self._changed = b""

    def get_payload(self) -> bytes:
        """Return the packet."""
        return self._data

    def set_payload(self, payload: bytes) -> None:
        """Change it."""
        self._changed = payload

    def accept(self) -> None:
        """Note that it goes."""
        self._log.append(f"verdict {self._number} accept {self._changed.hex()}")

    def drop(self) -> None:
        """Note that it does not."""
        self._log.append(f"verdict {self._number} drop ")


class PythonPlane:
    """A worker whose packets come through Python. As an owner of hooks it is what ProgrammableEngine is."""

    def __init__(
        self, config: str, callback: Callback | None = None, settings_: EngineSettings | None = None
    ) -> None:
        self.log: list[str] = []
        self.n: Counter[str] = Counter()
        self.intake = Intake(settings_ or settings(), hooks_of(callback), self.n, self._flow_info)
        self.mode = EngineMode.IDLE
        self.now_ns = 0
        self.has_lease = True
        self._packets = 0
        self._arriving: deque[tuple[Direction, QueuedPacket]] = deque()
        self._library = replay_library()
        self._self = ffi.new_handle(self)
        self._hooks = ffi.new("struct ftt_hooks *")
        self._fds = [os.eventfd(0, os.EFD_CLOEXEC) for _ in range(4)]
        for i, fd in enumerate(self._fds):
            self._hooks.fd[i // 2][i % 2] = fd
        set_hooks(self._hooks, self._self)
        self._library.open(config, self._hooks)

    def close(self) -> None:
        """Give everything back."""
        self._library.open("config max_flows=1", None)
        for fd in self._fds:
            os.close(fd)

    def take(self, _lane: int, mode: EngineMode, basket: Any) -> int:
        """Hand over what arrives; see ProgrammableEngine."""
        with self.intake.handing_over(mode, basket, self.now_ns):
            while self._arriving:
                self.intake.arrived(*self._arriving.popleft())
        return self.intake.next_due_ns

    def give(self, fates: Any, count: int) -> None:
        """Carry out verdicts; see ProgrammableEngine."""
        self.intake.give(fates, count, lambda: self.has_lease)

    def hear(self, worker: int, record: bytes) -> bool:
        """Show a record; see ProgrammableEngine."""
        return self.intake.hears(worker, record, self.mode, self.now_ns)

    def tell(self, record: bytes) -> bool:
        """Show a record; see ProgrammableEngine."""
        return self.intake.tells(record, self.mode, self.now_ns)

    def step(self, line: str) -> list[str]:
        """Do one step; return what was done."""
        what, first, *words = line.split()
        self.log.clear()
        if what != "lease":
            self.now_ns = int(first)
        if what == "role":
            self.mode = EngineMode(int(words[0]))
            self.intake.role_begins()
        if words and what in ("in", "out"):
            direction = Direction.FROM_CLIENT if what == "in" else Direction.FROM_SERVER
            packet = QueuedPacket(self._packets, bytes.fromhex(words[0]), self.log)
            self._arriving.append((direction, packet))
            self._packets += 1
            line = f"{what} {first}"
        return self._library.step(line) + self.log

    def counter(self, name: str) -> int:
        """Return a counter of the worker's, or of ours."""
        return self._library.counter(name) + self.n[name]

    def flows(self) -> int:
        """How many TCP connections were seen to begin."""
        return self.counter("flows_opened")

    def _flow_info(self, key: Any) -> Any | None:
        return self._library.flow(key)


class _Library:
    """native/replay/replay.c, loaded. There is one worker in it."""

    def __init__(self, path: Path) -> None:
        self._ffi = FFI()
        self._ffi.cdef(
            "void replay_open(const char *, void *); char *replay_step(const char *); void free(void *);"
            "bool replay_flow(void *, void *); void replay_counters(void *);"
        )
        self._lib = self._ffi.dlopen(str(path), self._ffi.RTLD_LAZY)

    def _pointer(self, of: Any) -> Any:
        return self._ffi.cast("void *", int(ffi.cast("uintptr_t", of)))

    def open(self, config: str, hooks: Any) -> None:
        self._lib.replay_open(config.encode(), self._ffi.NULL if hooks is None else self._pointer(hooks))

    def step(self, line: str) -> list[str]:
        text = self._lib.replay_step(line.encode())
        done = self._ffi.string(text).decode().splitlines()
        self._lib.free(text)
        return list(done)

    def flow(self, key: Any) -> Any | None:
        info = ffi.new("struct ftt_flow_info *")
        return info if self._lib.replay_flow(self._pointer(key), self._pointer(info)) else None

    def counter(self, name: str) -> int:
        counters = ffi.new("struct ftt_counters *")
        self._lib.replay_counters(self._pointer(counters))
        return int(getattr(counters, name, 0))


def config_of(steps: Sequence[str]) -> dict[str, int]:
    """Return the numbers of the first line, `config`."""
    return {name: int(value) for name, _, value in (word.partition("=") for word in steps[0].split()[1:])}


def run_python(steps: Sequence[str], callback: Callback | None = None) -> list[list[str]]:
    """Return what is done on Python's plane in each step after the first."""
    plane = PythonPlane(steps[0], callback)
    try:
        return [plane.step(line) for line in steps[1:]]
    finally:
        plane.close()


def _build(target: Path, *options: str) -> Path:
    sources = [ROOT / "native" / name for name in _SOURCES]
    sources += sorted((ROOT / "native/engine/flows").glob("*.c"))
    subprocess.run(
        ["cc", "-std=gnu11", "-fms-extensions", "-g", *options, f"-I{ROOT}/native", "-o", str(target),
         *map(str, sources), "-lsodium", "-lpthread",
         "-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,lazy"],
        check=True,
    )  # fmt: skip
    return target


@cache
def build_native() -> Path:
    """Compile the program, with sanitizers; return its place."""
    sanitizers = ("-O1", "-no-pie", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return _build(Path(mkdtemp()) / "replay_tcp", *sanitizers)


@cache
def replay_library() -> _Library:
    """Compile and load the library."""
    return _Library(
        _build(Path(mkdtemp()) / "replay_tcp.so", "-O1", "-shared", "-fPIC", "-fvisibility=hidden")
    )


def run_native(steps: Sequence[str]) -> list[list[str]]:
    """Return what is done on the plane of C tests in each step after the first."""
    done = subprocess.run(
        [str(build_native())], input="\n".join(steps) + "\n", stdout=subprocess.PIPE, text=True, check=True
    )
    parts: list[list[str]] = [[]]
    for line in done.stdout.splitlines():
        if line == ".":
            parts.append([])
        else:
            parts[-1].append(line)
    assert not parts[-1], "the program ended within a step"
    return parts[1:-1]


class _Program:
    """The program, a step at a time."""

    def __init__(self, config: str) -> None:
        self._of = subprocess.Popen(
            [str(build_native())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.step(config)

    def step(self, line: str) -> list[str]:
        """Do one step; return what was done."""
        assert self._of.stdin is not None and self._of.stdout is not None
        print(line, file=self._of.stdin, flush=True)
        return list(iter(lambda: self._read(), "."))

    def _read(self) -> str:
        line = self._of.stdout.readline() if self._of.stdout is not None else ""
        assert line, "the program ended within a step"
        return line.rstrip("\n")

    def close(self) -> None:
        """Let it end."""
        self._of.communicate()
        assert self._of.returncode == 0


def _shakes_hands(line: str) -> bool:
    """True for a packet with a SYN: a worker takes these before records, and records before other packets."""
    what, _, *words = line.split()
    if what not in ("in", "out"):
        return what != "role"
    return bool(parse(bytes.fromhex(words[0]))[2].flags & Flags.SYN)


class _Node:
    """One of a pair, replayed."""

    def __init__(self, recording: Sequence[str]) -> None:
        self.steps = [recording[0]]
        self.heard: list[str] = []
        """Records that it has not read yet."""
        self._program = _Program(recording[0])
        self._ticked = self._swept = 0

    def step(self, line: str) -> list[str]:
        """Do a step, after what a worker does of itself; return the records that it says."""
        now_ns, before = int(line.split()[1]), []
        if not _shakes_hands(line):
            before, self.heard = [f"record {now_ns} {record}" for record in self.heard], []
        if now_ns - self._ticked >= _TICK_NS:
            self._ticked = now_ns
            before.append(f"tick {now_ns} 1")
        if now_ns - self._swept >= _SWEEP_NS:
            self._swept = now_ns
            before.append(f"sweep {now_ns}")
        self.steps += [*before, line]
        done = [word for each in (*before, line) for word in self._program.step(each)]
        return [word.removeprefix("record ") for word in done if word.startswith("record ")]

    def close(self) -> list[str]:
        """End it; return its steps."""
        self._program.close()
        return self.steps


def paired(recordings: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the steps of a pair's nodes, with the records that they send each other in the format of now."""
    nodes = [_Node(recording) for recording in recordings]
    for node, recording in zip(nodes, recordings, strict=True):
        node.step(recording[1])  # its role, noted when the first packet came
    lines = [
        [(int(line.split()[1]), i, line) for line in recording[2:]] for i, recording in enumerate(recordings)
    ]
    for _, i, line in merge(*lines, key=itemgetter(0)):
        nodes[1 - i].heard += nodes[i].step(line)
    return [node.close() for node in nodes]


def differences(steps: Sequence[str], native: list[list[str]], python: list[list[str]]) -> Iterable[str]:
    """Yield a sentence for each step in which the planes differ. The verdicts on a flow's packets have an
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
