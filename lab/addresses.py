"""``fttcp lab addresses``: addresses whose host crashes move to the other one, by fttcp and by keepalived."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click

from lab.bench import programs
from lab.bench.rows import show, silences_ms
from lab.capture import ETHERTYPE_ARP, ETHERTYPE_IPV4, Capture, read_pcap
from lab.crowd import PORT, WITHIN_S, Crowd, address
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.interrupt import signals_interrupt
from lab.network import CLIENT, NODES, SERVICE_LINK, cables
from lab.nodeconfig import PRIORITIES
from lab.rootless import become_root
from lab.workloads import addresses as client

BEAT_MS, MISSES = 10, 3
"""VRRP counts hundredths of a second, and three missed advertisements are the end of a master."""
RT_PRIORITY = 20
"""That of fttcp's own heartbeats."""
RT_MOST_US = 1_000_000
"""By default keepalived is killed when it works for 10 ms: fifty instances take longer to begin."""
BEFORE_S, AFTER_S = 1.0, 7.0
"""How long the wires are looked at, before the crash and after it; keepalived announces again after 5 s."""
VRRP, UDP, HEARTBEATS = 112, 17, 7710
Report = dict[str, Any]


class Movers(Crowd):
    """Two hosts, and what moves `count` addresses between them; on both runs a server that echoes."""

    says: str
    """What it is, for the table."""

    def __init__(self, name: str, count: int, beat_ms: int = BEAT_MS) -> None:
        super().__init__(name, count, timing={"heartbeat_ms": beat_ms, "heartbeat_misses": MISSES})
        self.beat_ms = beat_ms

    @abstractmethod
    def settle(self, serving: str) -> None:
        """Return when `serving` has all addresses, and the other host can take them."""

    def begin(self) -> None:
        """Start everything; the first host has the addresses, which it gets alone."""
        self.make()
        for node in NODES:
            self.start(node)
            self.settle(NODES[0])

    @property
    def addresses(self) -> list[str]:
        """What moves."""
        return [address(number) for number in range(self.count)]


class Fttcp(Movers):
    """A group for each address, which keeps its connections."""

    says = "fttcp"

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section in a node's file."""
        return super().group(number, node) | {"priority": PRIORITIES[NODES.index(node)]}

    def settle(self, serving: str) -> None:
        self.await_all(serving, lambda group: bool(group["role"] == "primary"), "is served")
        if len(self.daemons) == len(NODES):
            self.await_all(serving, lambda group: bool(group["synced"]), "in step")


class FttcpAddress(Fttcp):
    """A group of `mode = "address"` for each."""

    says = "fttcp, mode address"

    def group(self, number: int, node: str) -> dict[str, Any]:
        """A group's section in a node's file: only the address moves."""
        kept = ("name", "addresses", "queue", "channel_port", "timing", "priority")
        section = {key: value for key, value in super().group(number, node).items() if key in kept}
        resource = {"name": "none"} | dict.fromkeys(("start", "stop", "status"), "true")
        return section | {"mode": "address", "resource": [resource]}


class Keepalived(Movers):
    """A VRRP instance for each address."""

    says = "keepalived"

    def make(self) -> None:
        """Make the hosts, and a file for each."""
        self.up(bare=True)
        for node in NODES:
            (self.home / node / "keepalived.conf").write_text(self.config(node))

    def start(self, node: str) -> None:
        """Start a host's server and keepalived."""
        self.serve(node)
        file = str(self.home / node / "keepalived.conf")
        argv = ["keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", file]
        with self.log(node).open("ab") as log:
            self.keep_child(self.popen(node, argv, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def settle(self, serving: str) -> None:
        def settled() -> bool:
            return all(self._has(node) == (self.count if node == serving else 0) for node in NODES)

        await_condition(settled, WITHIN_S, f"lab {self.name}: keepalived has all addresses on {serving} only")

    def _has(self, node: str) -> int:
        shown = self.host(node).run(["ip", "-4", "-o", "address", "show"])
        return sum(f" {one}/" in shown for one in self.addresses)

    def instances(self) -> Iterator[Sequence[str]]:
        """Yield the addresses of each instance."""
        yield from ([one] for one in self.addresses)

    def config(self, node: str) -> str:
        """Return the configuration of a host; like a pair it does not fail back."""
        (cable,) = cables(node, SERVICE_LINK)
        parts = [
            f"""\
global_defs {{
    router_id {node}
    vrrp_version 3
    vrrp_rt_priority {RT_PRIORITY}
    vrrp_rlimit_rttime {RT_MOST_US}
}}"""
        ]
        for number, moved in enumerate(self.instances(), 1):
            virtual = "\n".join(f"        {one}/24" for one in moved)
            parts.append(
                f"""\
vrrp_instance i{number} {{
    state BACKUP
    nopreempt
    interface {cable.interface}
    virtual_router_id {number}
    priority {PRIORITIES[NODES.index(node)]}
    advert_int {self.beat_ms / 1000:.2f}
    virtual_ipaddress {{
{virtual}
    }}
}}"""
            )
        return "\n".join(parts) + "\n"


class KeepalivedTogether(Keepalived):
    """One VRRP instance for all."""

    says = "keepalived, one instance"

    def instances(self) -> Iterator[Sequence[str]]:
        yield self.addresses


SYSTEMS: dict[str, type[Movers]] = {
    "keepalived": Keepalived,
    "keepalived-together": KeepalivedTogether,
    "fttcp-address": FttcpAddress,
    "fttcp": Fttcp,
}


def crash(lab: Movers, old: str, new: str, directory: Path) -> Report:
    """Crash the host that has the addresses; return what the client and the wires say. All is mended then.

    ``first_ms``, ``median_ms``, ``last_ms``: an address's longest silence, of all addresses. ``kept``: how
    many connections went on. ``announced``: frames of ARP that told of the addresses within AFTER_S,
    ``beats_s``: frames by which both hosts told each other that they live, in a second before the crash.
    """
    argv = [sys.executable, "-I", str(client.__file__), str(PORT), *lab.addresses]
    piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with Capture(lab, directory, (*NODES, "peer")) as capture:
        with lab.popen(CLIENT, argv, cwd="/", text=True, **piped) as process:
            assert process.stderr
            if (line := process.stderr.readline()) != "started\n":
                raise LabError(f"the client did not start: {line}{process.stderr.read().strip()}")
            time.sleep(BEFORE_S)
            at_s = make_fault(lab, "crash-host", old)["at_s"]
            time.sleep(AFTER_S)
            out, said = process.communicate(timeout=60)
        wall_s = at_s + time.time() - time.monotonic()
    if process.returncode:
        raise LabError(f"the client failed: {said.strip()}")
    if capture.dropped:
        raise LabError(f"{capture.dropped} frames were not captured")
    report: Report = silences(json.loads(out), at_s) | frames(directory, lab.addresses, wall_s)
    lab.restart_host(old)
    lab.start(old)
    lab.settle(new)
    return {"of": old} | report


def silences(told: Report, at_s: float) -> Report:
    """What the client noticed. Raises LabError when an address does not answer again."""
    longest = []
    for one, arrivals in told["arrivals_s"].items():
        _, after = silences_ms(arrivals, at_s)
        if after is None or arrivals[-1] < at_s + AFTER_S - 1:
            raise LabError(f"{one}: nobody answers after the crash")
        longest.append(after)
    names = {"first_ms": min(longest), "median_ms": median(longest), "last_ms": max(longest)}
    return {name: round(value, 1) for name, value in names.items()} | {"kept": len(told["kept"])}


def frames(directory: Path, addresses: Sequence[str], at_s: float) -> Report:
    """Count the frames of captures; `at_s`: when the host crashed, in wall-clock time."""
    own = {ip_address(one).packed for one in addresses}
    announced, beats = 0, 0
    for name in (*NODES, "peer"):
        for frame in read_pcap(directory / f"{name}.pcap"):
            if at_s - BEFORE_S <= frame.time_s < at_s:
                beats += is_beat(frame.data)
            elif at_s <= frame.time_s < at_s + AFTER_S:
                announced += name != "peer" and is_announcement(frame.data, own)
    return {"announced": announced, "beats_s": round(beats / BEFORE_S)}


def is_announcement(frame: bytes, addresses: set[bytes]) -> bool:
    """Whether an Ethernet frame is ARP of whoever has one of the addresses."""
    return int.from_bytes(frame[12:14], "big") == ETHERTYPE_ARP and frame[28:32] in addresses


def is_beat(frame: bytes) -> bool:
    """Whether an Ethernet frame says that a host lives: a VRRP advertisement, or a heartbeat of fttcp."""
    if int.from_bytes(frame[12:14], "big") != ETHERTYPE_IPV4:
        return False
    at = 14 + 4 * (frame[14] & 15)
    port = int.from_bytes(frame[at + 2 : at + 4], "big")
    return frame[23] == VRRP or (frame[23] == UDP and port == HEARTBEATS)


def measure(lab: Movers, passes: int) -> list[Report]:
    """Crash the hosts in turn. Raises LabError."""
    lab.begin()
    crashes = []
    with TemporaryDirectory(prefix="fttcp-lab-") as home:
        for number in range(passes):
            old, new = NODES if number % 2 == 0 else NODES[::-1]
            crashes.append(crash(lab, old, new, Path(home) / str(number)))
            click.echo(f"{lab.says}, {lab.count}: {json.dumps(crashes[-1])}", err=True)
    return crashes


COLUMNS = ("first_ms", "median_ms", "last_ms", "kept", "announced", "beats_s")
_HEAD = (
    "| addresses | system | first answers, ms | median | last | connections kept | announced | beats/s | n |"
)


def table(rows: Sequence[Report]) -> str:
    """Return it as a table of Markdown: medians, and in brackets the least and the most."""
    lines = [_HEAD, "|--:|---" + "|--:" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        cells = [spread([one[name] for one in row["crashes"]]) for name in COLUMNS]
        words = (str(row["addresses"]), row["system"], *cells, str(len(row["crashes"])))
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Write values as their median, and in brackets the least and the most, unless all are one."""
    least, most = min(values), max(values)
    if least == most:
        return f"{least:,g}"
    return f"{show(median(values))} ({show(least)} to {show(most)})"


_COUNT = click.IntRange(1, 50)


@click.command()
@click.option(
    "--count", "counts", multiple=True, default=(1, 50), show_default=True, type=click.IntRange(1, 50)
)
@click.option("--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)), help="[default: all]")
@click.option("--beat-ms", default=BEAT_MS, show_default=True, type=click.IntRange(10, 1000))
@click.option("--passes", default=5, show_default=True, type=click.IntRange(1, 100), help="Crashes of each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--name", default="addresses", show_default=True, help="Name of the labs that are made for it.")
@signals_interrupt()
def addresses(
    counts: tuple[int, ...], systems: tuple[str, ...], beat_ms: int, passes: int, as_json: bool, name: str
) -> None:
    """Addresses whose host crashes: when each answers again, whether its connection goes on, and what frames
    that takes, with fttcp and with keepalived, one address and many. Both miss three beats first."""
    rows = []
    try:
        become_root(name=name)
        if absent := programs.missing(("keepalived",)):
            raise LabError(absent)
        for count in counts:
            for system in systems or SYSTEMS:
                lab = SYSTEMS[system](name, count, beat_ms)
                try:
                    rows.append({"addresses": count, "system": lab.says, "crashes": measure(lab, passes)})
                finally:
                    lab.down()
    except LabError as error:
        raise click.ClickException(str(error)) from error
    versions = {"keepalived": programs.version("keepalived")}
    click.echo(json.dumps({"versions": versions, "rows": rows}) if as_json else table(rows))
