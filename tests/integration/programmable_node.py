"""A node daemon with the programmable engine, opened by hand: with an experiment, or taking notes.

`python -m tests.integration.programmable_node CONFIG [--callback MODULE:FUNCTION] [--record FILE]`:
FILE then holds what came to the engine, as steps for tests.replay.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TextIO

from fttcp._native import ffi, lib
from fttcp.config import load
from fttcp.node.node import run
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import EngineSettings
from fttcp.planes.experiment import load_callback
from fttcp.planes.flow import Arrival
from fttcp.planes.follow import PairFlows
from fttcp.planes.liveness import Liveness
from fttcp.planes.programmable import ProgrammableEngine
from tests.replay import CONFIG


class RecordingFlows(PairFlows):
    """Flows that write down each step before it is done."""

    steps: TextIO
    _lease: bool | None = None

    def _step(self, *words: object) -> None:
        lease = self._world.may_emit(lib.ftt_now_ns())
        if lease is not self._lease:
            self._lease = lease
            print("lease", int(lease), file=self.steps)
        print(*words, file=self.steps, flush=True)

    def from_client(self, arrival: Arrival, now_ns: int) -> None:
        self._step("in", now_ns, arrival.data.hex())
        super().from_client(arrival, now_ns)

    def from_server(self, arrival: Arrival, now_ns: int) -> None:
        self._step("out", now_ns, arrival.data.hex())
        super().from_server(arrival, now_ns)

    def record(self, record: Any, now_ns: int) -> None:
        room = ffi.new("uint8_t[]", 65536)
        length = lib.ftt_core_record_put(room, 65536, record)
        self._step("record", now_ns, bytes(ffi.buffer(room, length)).hex())
        super().record(record, now_ns)

    def tick(self, now_ns: int) -> None:
        if self.waiting:
            self._step("tick", now_ns, int(self._world.vouched()))
        super().tick(now_ns)

    def sweep(self, now_ns: int) -> None:
        if self.flows:
            self._step("sweep", now_ns)
        super().sweep(now_ns)

    def role(self, mode: EngineMode, session: int, now_ns: int) -> int:
        self._step("role", now_ns, int(mode), session)
        return super().role(mode, session, now_ns)


def record(engine: ProgrammableEngine, settings: EngineSettings, path: Path) -> None:
    """Have the engine write down its steps."""
    flows = engine.intake.flows = RecordingFlows(settings, engine, engine.n)
    flows.steps = path.open("w")
    options = {name: int(getattr(settings, name)) for name in CONFIG}
    if settings.shifts_spaces:
        options |= {"force_iss": settings.service_iss or 0, "force_ts": settings.service_ts or 0}
        options |= {"shift_spaces": 1, "space_seed": settings.space_seed}
    print("config", *(f"{name}={value}" for name, value in options.items()), file=flows.steps)


def main() -> None:
    """Run the daemon."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--callback")
    parser.add_argument("--record", type=Path)
    chosen = parser.parse_args()

    def engine(settings: EngineSettings, liveness: Liveness) -> ProgrammableEngine:
        callback = load_callback(chosen.callback) if chosen.callback else None
        made = ProgrammableEngine(settings, liveness, callback)
        if chosen.record:
            record(made, settings, chosen.record)
        return made

    run(load(chosen.config), chosen.config, engine)


if __name__ == "__main__":
    main()
