"""``fttcp lab calibrate``: how exact the lab's links are on this machine, by echoes through one."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from lab import links, network, wire
from lab.errors import LabError
from lab.hosts import await_condition
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE_LINK, SWITCH
from lab.study.program import PORT, program
from lab.wire import Terms

_SERVER = "alpha"
_END_S = 60.0


@dataclass(frozen=True)
class Reading:
    """Round trips in microseconds, and what of them was asked for."""

    case: str
    asked_us: float
    echoes: int
    mean_us: float
    p10_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    late_us: float
    """Of a frame, in the mean: how much later than due the wire gave it away."""


@signals_interrupt()
def calibrate(lab: Lab, seconds: float, delay_ms: float) -> list[Reading]:
    """Measure in a lab of that name, which is made for it: without a wire, through one, and with a delay."""
    lab.up(bare=True)
    try:
        address = str(network.cables(_SERVER, SERVICE_LINK)[0].address4.ip)
        server = lab.popen(_SERVER, [program(), "--listen", str(PORT)], stdin=subprocess.DEVNULL)
        lab.keep_child(server)
        await_condition(
            lambda: not lab.exec(CLIENT, _echo(address, 0.05)).returncode, 10, "the calibration's server"
        )
        readings = [_read(lab, address, "no wire", 0, seconds)]
        wire.put_in(lab, lab.host(SWITCH), network.cables(CLIENT)[0])
        network.settle_offload(lab.host(SWITCH), [lab.host(CLIENT), lab.host(_SERVER)], SERVICE_LINK)
        readings.append(_read(lab, address, "a wire, delay 0", 0, seconds))
        links.apply(lab, SERVICE_LINK, Terms(delay_ms=delay_ms))
        case = f"a wire, delay {delay_ms:g} ms"
        return [*readings, _read(lab, address, case, 2000 * delay_ms, seconds)]
    finally:
        lab.down()


def _echo(address: str, seconds: float) -> list[str]:
    return [program(), "--mode=echo", f"--seconds={seconds:g}", address, str(PORT)]


def _read(lab: Lab, address: str, case: str, asked_us: float, seconds: float) -> Reading:
    before = _lateness(lab)
    done = lab.exec(CLIENT, _echo(address, seconds), timeout=seconds + _END_S)
    sent, late_ns = (after - old for after, old in zip(_lateness(lab), before, strict=True))
    said: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    end = next((line for line in said if line["type"] == "end"), None)
    if done.returncode or end is None or not end.get("answers"):
        raise LabError(f"calibration, {case}: {done.stderr.strip() or 'no answer came'}")
    wait = end["wait_us"]
    return Reading(
        case, asked_us, end["answers"], round(end["us"] / end["answers"], 1),
        wait["p10"], wait["p50"], wait["p90"], wait["p99"],
        round(late_ns / sent / 1000, 1) if sent else 0.0,
    )  # fmt: skip


def _lateness(lab: Lab) -> tuple[int, int]:
    """Frames that went through a wire, and the sum of their lateness."""
    wires = wire.counts(lab, network.cables(CLIENT)[0])
    return sum(wire["sent"] for wire in wires), sum(wire["late_ns"] for wire in wires)
