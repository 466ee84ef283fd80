"""A worker of the engine that is given steps, without kernel and clock: the program fttcp-replay.

It is the engine's own worker and flows (native/replay), so whatever it says is what the engine does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fttcp
from fttcp import _numbers
from fttcp._native import ffi
from fttcp.ownership.model import EngineMode
from fttcp.planes.experiment import Direction

PROGRAM = "fttcp-replay"
DEFAULTS = {
    "detach_after_ns": 2_000_000_000, "end_grace_ns": 200_000_000, "open_timeout_ns": 500_000_000,
    "opens_wait_ns": 2_000_000_000,
    "idle_timeout_ns": 120_000_000_000, "max_flows": 65536, "max_half_open": 4096, "max_held": 1024,
    "max_held_total": 16384, "max_retained": 1 << 26, "compare": 1,
}  # fmt: skip
"""Policy of the worker: fields of struct ftt_policy, as groups have them by default."""


class ReplayError(RuntimeError):
    """The program is not there, or has ended."""


Wait = _numbers.Wait
"""Why a segment is held."""


@dataclass(frozen=True)
class Look:
    """What a worker shows: a flow (struct ftt_flow_info) or None, why packets are held, by their number, and
    its counters."""

    flow: Any | None
    held: dict[int, Wait]
    counters: dict[str, int]


class Replay:
    """One worker of one node."""

    def __init__(self, command: Sequence[str] | None = None, **policy: int) -> None:
        """Start it; ``command`` names another program. Raises ReplayError."""
        argv = list(command or [str(_program())])
        self._of = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._packets = 0
        self.do("config " + " ".join(f"{key}={value}" for key, value in (DEFAULTS | policy).items()))

    def close(self) -> None:
        """End it."""
        self._of.communicate()

    def do(self, line: str) -> list[str]:
        """Do a step; return the lines of what was done. Raises ReplayError."""
        assert self._of.stdin is not None and self._of.stdout is not None
        with suppress(BrokenPipeError):  # it has ended: there is nothing to read either
            print(line, file=self._of.stdin, flush=True)
        done: list[str] = []
        while (text := self._of.stdout.readline().rstrip("\n")) != ".":
            if not text:
                raise ReplayError(f"{PROGRAM} ended (status {self._of.wait()}) at: {line[:80]}")
            done.append(text)
        return done

    def role(self, now_ns: int, mode: EngineMode, session: int) -> list[str]:
        """Give it a role."""
        return self.do(f"role {now_ns} {int(mode)} {session}")

    def packet(self, now_ns: int, direction: Direction, data: bytes) -> tuple[int, list[str]]:
        """Give it a packet; return that one's number, and what was done."""
        number, self._packets = self._packets, self._packets + 1
        what = "in" if direction is Direction.FROM_CLIENT else "out"
        return number, self.do(f"{what} {now_ns} {data.hex()}")

    def record(self, now_ns: int, record: str) -> list[str]:
        """Give it a record of the other node, in hex."""
        return self.do(f"record {now_ns} {record}")

    def tick(self, now_ns: int) -> list[str]:
        """Let it look what time has done; its server lives."""
        return self.do(f"tick {now_ns} 1")

    def look(self, now_ns: int, key: Any) -> Look:
        """Look at the flow of a struct ftt_key pointer."""
        flow, held, counters = None, dict[int, Wait](), dict[str, int]()
        for line in self.do(f"look {now_ns} {bytes(ffi.buffer(key)).hex()}"):
            what, *words = line.split()
            if what == "flow":
                flow = _struct("struct ftt_flow_info *", words[0])
            elif what == "held":
                held[int(words[0])] = Wait(int(words[1]))
            else:
                found = _struct("struct ftt_counters *", words[0])
                counters = {name: getattr(found, name) for name in dir(found)}
        return Look(flow, held, counters)


def _struct(kind: str, text: str) -> Any:
    found = ffi.new(kind)
    ffi.memmove(found, bytes.fromhex(text), ffi.sizeof(found[0]))
    return found


def _program() -> Path:
    path = Path(fttcp.__file__).parent / PROGRAM
    if not path.exists():
        raise ReplayError(f"{path} is missing: this installation is not whole; build it with `make build`")
    return path
