"""What the wires say: captures at the switch, one for each cable, and who spoke for the service, and when.

Frames are taken on the switch's ports, so what a node emits is known by the port at which it came in,
whatever address it bears. Captures hold the first bytes of each frame only.
"""

from __future__ import annotations

import heapq
import select
import signal
import struct
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any

from lab import network, pcap, segments
from lab.errors import LabError
from lab.hosts import at_the_latest, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, PEER_LINK, SERVICE4, SERVICE6, SERVICE_LINK, SWITCH, cables
from lab.state import LabState, ProcessId

SPANS_TOLD = 8
SNAP_BYTES = 160
START_S = 10.0
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
NEIGHBOUR_ADVERTISEMENT = 136
_SERVICE4 = ip_address(SERVICE4).packed
_SERVICE6 = ip_address(SERVICE6).packed


@dataclass(frozen=True)
class Frame:
    """One captured frame: `time_s` is wall-clock time in seconds, `data` its first bytes."""

    time_s: float
    data: bytes


@dataclass(frozen=True)
class Emission:
    """A frame by which `host` spoke for the service address; `kind` is ip, ip6, arp or na."""

    time_s: float
    host: str
    kind: str


@dataclass(frozen=True)
class Span:
    """A time in which one host only spoke for the service."""

    host: str
    first_s: float
    last_s: float
    frames: int


class Capture:
    """Captures of a lab's cables while a `with` block runs: {client,alpha,beta,...,peer}.pcap.

    A node's hold what that node emits on the service side; client.pcap and peer.pcap both directions of the
    cable of `client` and of the first node's peer cable; `only`: those of these names. A host that is down
    when the block begins is left out.
    """

    def __init__(self, lab: Lab, directory: Path, only: Collection[str] = (), client: str = CLIENT) -> None:
        self._lab = lab
        self._nodes = lab.nodes()
        self.directory = directory
        self._only, self._client = only, client
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.dropped = 0

    def __enter__(self) -> Capture:
        self.directory.mkdir(parents=True, exist_ok=True)
        ports = {cable.host: cable.port for cable in cables(link=SERVICE_LINK)}
        try:
            plugged = network.ports(self._lab.host(SWITCH))
            if self._client != CLIENT:
                own = segments.cables(LabState.load(self._lab.name))[self._client]
                self._start(CLIENT, own.port, "inout")
            for host in (host for host in (CLIENT, *self._nodes) if ports[host] in plugged):
                if host != CLIENT or self._client == CLIENT:
                    self._start(host, ports[host], "in" if host in self._nodes else "inout")
            peer_ports = (cables(node, PEER_LINK)[0].port for node in self._nodes)
            self._start("peer", next(port for port in peer_ports if port in plugged), "inout")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _start(self, name: str, port: str, direction: str) -> None:
        if self._only and name not in self._only:
            return
        argv = ["tcpdump", "-i", port, "-Q", direction, "-n", "-s", str(SNAP_BYTES), "-B", "16384"]
        argv += ["--immediate-mode", "-U", "-Z", "root", "-w", "-"]
        with (self.directory / f"{name}.pcap").open("wb") as file:
            process = self._lab.popen(SWITCH, argv, cwd="/", stdout=file, stderr=subprocess.PIPE, bufsize=0)
        _await_line(process, b"listening on", START_S)
        self._running[name] = process

    def stop(self) -> None:
        """End all captures; what was seen until now is in the files. Doing it twice is no error."""
        running, self._running = self._running, {}
        try:
            for name, process in running.items():
                _await_all_read(name, process)
        finally:
            for process in running.values():
                process.send_signal(signal.SIGINT)
        for name, process in running.items():
            with at_the_latest(START_S, process.kill):
                _, said = process.communicate()
            lost = [int(line.split()[0]) for line in said.splitlines() if b"dropped by kernel" in line]
            self.dropped += sum(lost)
            if process.returncode != 0 and b"pcap_loop: The interface" not in said:
                raise LabError(f"capture of {name}: tcpdump failed: {said.decode(errors='replace').strip()}")

    def emissions(self) -> Iterator[Emission]:
        """What the nodes said for the service address on the service side, in order of time."""
        files = {host: self.directory / f"{host}.pcap" for host in self._nodes}
        streams = (_speaking(host, file) for host, file in files.items() if file.exists())
        return heapq.merge(*streams, key=lambda emission: emission.time_s)

    def spans(self) -> list[Span]:
        """Who spoke for the service, one span after the other. Two spans: one takeover."""
        return spans(self.emissions())


def spans(emissions: Iterable[Emission]) -> list[Span]:
    """Join emissions, which are in order of time, into spans of one host each."""
    found: list[Span] = []
    for emission in emissions:
        if found and found[-1].host == emission.host:
            last = found.pop()
            found.append(Span(last.host, last.first_s, emission.time_s, last.frames + 1))
        else:
            found.append(Span(emission.host, emission.time_s, emission.time_s, 1))
    return found


def out_of_turn(found: Iterable[Span], expected: list[str]) -> str:
    """Say what is wrong when the spans are not those of the `expected` hosts in their order; else return "".

    `expected` hosts that had nothing to say may be missing; that one speaks out of its turn may not be.
    """
    found = list(found)
    turns = iter(expected)
    if all(span.host in turns for span in found):
        return ""
    start = found[0].first_s
    told = ", ".join(
        f"{span.host} {span.first_s - start:.4f}..{span.last_s - start:.4f} s ({span.frames} frames)"
        for span in found[:SPANS_TOLD]
    )
    more = f" and {len(found) - SPANS_TOLD} more times" if len(found) > SPANS_TOLD else ""
    return f"spoke for the service: {told}{more}; expected: {' then '.join(expected)}"


def read_pcap(path: Path) -> Iterator[Frame]:
    """Yield the frames of a pcap file of Ethernet frames; an empty file has none.

    Raises LabError when it is no such file.
    """
    if path.stat().st_size:
        for record in pcap.records(path):
            yield Frame(record.time_s, record.data)


def speaks_for_service(frame: bytes) -> str:
    """How this Ethernet frame speaks for the service address (ip, ip6, arp, na), or "" when it does not."""
    if len(frame) < 34:
        return ""
    ethertype = struct.unpack("!H", frame[12:14])[0]
    if ethertype == ETHERTYPE_IPV4:
        return "ip" if frame[26:30] == _SERVICE4 else ""
    if ethertype == ETHERTYPE_ARP:
        return "arp" if frame[28:32] == _SERVICE4 else ""
    if ethertype == ETHERTYPE_IPV6:
        is_advertisement = frame[20] == 58 and len(frame) >= 78 and frame[54] == NEIGHBOUR_ADVERTISEMENT
        if is_advertisement and frame[62:78] == _SERVICE6:
            return "na"
        return "ip6" if frame[22:38] == _SERVICE6 else ""
    return ""


def _speaking(host: str, path: Path) -> Iterator[Emission]:
    for frame in read_pcap(path):
        kind = speaks_for_service(frame.data)
        if kind:
            yield Emission(frame.time_s, host, kind)


def _await_all_read(name: str, process: subprocess.Popen[bytes]) -> None:
    """Return when tcpdump has nothing left to read, or is gone: an interrupted one leaves that in the kernel.

    It sleeps only while no frame waits for it.
    """

    def rests() -> bool:
        found = ProcessId.find(process.pid)
        return found is None or found.state() not in ("R", "D", "T")

    await_condition(rests, START_S, f"capture of {name}: all that was seen is read")


def _await_line(process: subprocess.Popen[Any], wanted: bytes, timeout_s: float) -> None:
    """Return when the process has written `wanted` on its stderr; raises LabError when it does not."""
    stderr: IO[bytes] | None = process.stderr
    assert stderr is not None
    deadline, said = time.monotonic() + timeout_s, b""
    while wanted not in said:
        left = deadline - time.monotonic()
        ready = select.select([stderr], [], [], max(0.0, left))[0]
        piece = stderr.read(4096) if ready else b""
        if not piece:
            process.kill()
            process.wait()
            raise LabError(f"{process.args!r} did not start: {said.decode(errors='replace').strip()}")
        said += piece
