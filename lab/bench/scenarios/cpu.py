"""What a byte and a packet cost in processor time, on each host and on the machine as a whole."""

from __future__ import annotations

import os
import resource
from functools import partial
from pathlib import Path

from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.stage import Setup, Stage
from lab.bench.systems import HAPROXY, STEADY
from lab.hosts import Host
from lab.network import CLIENT, NODES, PROXY

SECONDS = 2.0
SMALL_FLOWS, SMALL_WINDOW = 100, 32
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MACHINE = "machine"
"""All that the machine was busy with: the hosts, and interrupts, soft interrupts and kernel threads, of which
no host can be told."""


def host_cpu_s(host: Host) -> float:
    """Return the processor time of the processes of `host`, dead children included, in seconds so far."""
    ticks = 0
    for pid in host.processes():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended, so its parent has its time
        ticks += sum(map(int, stat[stat.rindex(")") + 2 :].split()[11:15]))
    return ticks * TICK_S


def ended_cpu_s() -> float:
    """Return the processor time of our own children that have ended, the client's programs: what they
    have used is not lost when they leave their host."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_cpu_s() -> tuple[float, float]:
    """Return (busy, of which in interrupts and soft interrupts) of all processors, in seconds so far."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, words[:7])
    return (user + nice + system + irq + softirq) * TICK_S, (irq + softirq) * TICK_S


def packets(host: Host, interface: str) -> int:
    """Return the packets that `interface` has sent and received, as the kernel counts them: a segment of
    64 KiB that no wire has cut is one."""
    place = host.path(f"/sys/class/net/{interface}/statistics")
    return sum(int((place / f"{way}_packets").read_text()) for way in ("rx", "tx"))


class Meter:
    """Processor time by host and packets at the node that serves, over the time between start and stop."""

    def __init__(self, stage: Stage, system: System) -> None:
        names = [CLIENT, *NODES, *([PROXY] if system.name == HAPROXY else [])]
        self._hosts = {name: stage.lab.host(name) for name in names}
        serving = system.serving(stage)
        self._at = (stage.lab.host(serving), stage.interface(serving))
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        busy, soft = machine_cpu_s()
        found = {name: host_cpu_s(host) for name, host in self._hosts.items()}
        found[CLIENT] += ended_cpu_s()
        return found | {MACHINE: busy, "softirq": soft, "packets": packets(*self._at)}

    def stop(self) -> dict[str, float]:
        """Return what has come to it since the start, by host; and "packets"."""
        after = self._read()
        return {name: after[name] - before for name, before in self._before.items()}


def per_gigabyte(stage: Stage, system: System, record: Record, *, mode: str) -> None:
    """Processor seconds for each GB (1e9 bytes) of a transfer as fast as it goes."""
    with stage.client(mode, system.address(stage), SECONDS) as client:
        meter = Meter(stage, system)
        report = stage.report(client, SECONDS)
        used = meter.stop()
    if report["error"]:
        record.note("s/GB", f"lost: {report['error']}")
        return
    used.pop("packets")
    for name, seconds in used.items():
        record.add("s/GB", seconds / (report["bytes"] / 1e9), name)


def per_packet(stage: Stage, system: System, record: Record) -> None:
    """Processor seconds for each million packets at the serving node, and for each million echoes."""
    meter = Meter(stage, system)
    report = stage.load(
        "echo", system.address(stage), flows=SMALL_FLOWS, window=SMALL_WINDOW, seconds=SECONDS
    )
    used = meter.stop()
    count = used.pop("packets")
    for name, seconds in used.items():
        record.add("s/Mpacket", seconds / (count / 1e6), name)
    record.add("s/Mecho", used[MACHINE] / (report["trips"] / 1e6), MACHINE)


SCENARIO = Scenario(
    "cpu",
    "Processor time: per GB of an unshaped transfer, per million packets of 64-byte echoes",
    (
        (
            *(
                Case(
                    f"cpu.{mode}",
                    Setup(),
                    STEADY,
                    partial(per_gigabyte, mode=mode),
                    "s/GB",
                    seconds=SECONDS + 0.5,
                    short=True,
                )
                for mode in ("download", "upload")
            ),
            Case("cpu.echo", Setup(), STEADY, per_packet, "s/Mpacket", seconds=SECONDS + 0.5, short=True),
        ),
    ),
)
