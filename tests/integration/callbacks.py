"""Experiments that the integration tests run inside the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from fttcp.ownership.model import EngineMode
from fttcp.planes.experiment import Action, Delay, Direction, Drop, Modify, Packet, Pass


def drop_every_50th(packet: Packet) -> Action:
    """Lose 2 % of all packets, evenly."""
    return Pass() if packet.number % 50 else Drop()


def slow_replies(packet: Packet) -> Action:
    """Hold back every packet of the server's by 20 ms."""
    return Delay(0.02) if packet.direction is Direction.FROM_SERVER else Pass()


def secret(packet: Packet) -> Action:
    """Replace a word in what the server says."""
    if packet.direction is Direction.FROM_SERVER and b"secret" in packet.payload:
        return Modify(packet.with_payload(packet.payload.replace(b"secret", b"public")))
    return Pass()


def broken(packet: Packet) -> Action:
    """Fail at each packet."""
    raise RuntimeError("this experiment does not work")


class _Notes:
    """Write down what comes as steps of tests/replay.py, in the directory RECORD, file NODE."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._mode: EngineMode | None = None

    def __call__(self, packet: Packet) -> Action:
        if self._file is None:
            self._file = (Path(os.environ["RECORD"]) / Path.cwd().parent.name).open("w")
        if packet.mode is not self._mode:
            self._mode = packet.mode
            print("role", packet.time_ns, int(packet.mode), 1, file=self._file)
        what = "in" if packet.direction is Direction.FROM_CLIENT else "out"
        print(what, packet.time_ns, packet.data.hex(), file=self._file, flush=True)
        return Pass()


take_notes = _Notes()
