"""What a link of the lab is like: delay, jitter, reordering, duplicates, loss, a rate.

A program of ours, ``fttcp-link``, stands in the switch between a host's port and the bridge; where nothing is
asked for, there is none. It is the same on every kernel, and what it decides depends only on the seed and a
frame's number. On the client's link one wire does both directions. On the peer link each node has one, for
what that node sends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

from lab import network
from lab.control import NoAnswerError
from lab.errors import LabError
from lab.hosts import Host, await_condition
from lab.network import CLIENT, PEER_LINK, SERVICE_LINK, SWITCH, Cable
from lab.state import LabState, locked

SERVICE = "service"
"""The other end of the client's link, as a sender."""
LINKS = (SERVICE_LINK, PEER_LINK)
DROPS = ("queue_full", "overflow", "failed", "missed")
"""Why a wire has dropped frames that it was not asked to lose: its rate's queue was full; too much was on its
way; the other end was down; the program came too late for the kernel's own queue."""
MOST_MS = 60_000.0
_START_S = 5.0
_DRAIN_S = 1.0


@dataclass(frozen=True)
class Terms:
    """What becomes of the frames of one sender. Jitter is even, from delay - jitter to delay + jitter."""

    delay_ms: float = 0
    jitter_ms: float = 0
    reorder_percent: float = 0
    duplicate_percent: float = 0
    loss_percent: float = 0
    rate_mbit: float | None = None

    def trouble(self) -> str:
        """What is wrong with them; nothing: ""."""
        if not 0 <= self.delay_ms <= MOST_MS:
            return f"delay_ms {self.delay_ms:g}: allowed are 0 to {MOST_MS:g}"
        if not 0 <= self.jitter_ms <= self.delay_ms:
            return f"jitter_ms {self.jitter_ms:g}: allowed are 0 to the delay, {self.delay_ms:g}"
        for name in ("reorder_percent", "duplicate_percent", "loss_percent"):
            if not 0 <= getattr(self, name) <= 100:
                return f"{name} {getattr(self, name):g}: allowed are 0 to 100"
        if self.reorder_percent and not self.delay_ms:
            return "reorder_percent: frames overtake those that are on their way, so it needs delay_ms"
        if self.rate_mbit is not None and not 0.1 <= self.rate_mbit <= 10_000:
            return f"rate_mbit {self.rate_mbit:g}: allowed are 0.1 to 10000"
        return ""

    def words(self, seed: int) -> str:
        """As ``fttcp-link`` reads them."""
        times = (round(value * 1e6) for value in (self.delay_ms, self.jitter_ms))
        chances = (
            round(value * 1e4) for value in (self.loss_percent, self.duplicate_percent, self.reorder_percent)
        )
        return " ".join(map(str, (seed, *times, round((self.rate_mbit or 0) * 1e6), *chances)))


PLAIN = Terms()


class Hosts(Protocol):
    """What links need of a lab; see ``lab.lifecycle.Lab``."""

    name: str
    home: Path

    def host(self, name: str) -> Host: ...

    def keep_child(self, process: subprocess.Popen[Any]) -> None: ...


def senders(link: str, nodes: Iterable[str]) -> tuple[str, ...]:
    """Who sends on a link."""
    return (CLIENT, SERVICE) if link == SERVICE_LINK else tuple(nodes)


def apply(lab: Hosts, link: str, terms: Terms, sender: str | None = None, seed: int = 1) -> None:
    """Make a link so, for what `sender` sends (None: everybody). Raises LabError."""
    if link not in LINKS:
        raise LabError(f"link {link!r}: there is no such link; links are {', '.join(LINKS)}")
    if trouble := terms.trouble():
        raise LabError(f"link {link}: {trouble}")
    with locked(lab.name):
        state = LabState.load(lab.name)
        known = senders(link, state.nodes)
        if sender not in (None, *known):
            raise LabError(f"link {link}: nobody sends there who is called {sender!r}; {', '.join(known)} do")
        now = state.links.setdefault(link, {})
        for one in known if sender is None else (sender,):
            now[one] = {"terms": asdict(terms), "seed": seed + crc32(f"{link} {one}".encode())}
        state.save()
        for name in (CLIENT,) if link == SERVICE_LINK else state.nodes:
            restore(lab, name, state)


def restore(lab: Hosts, name: str, state: LabState) -> None:
    """Make the links of a host that lives as they are to be; to be called under the lab's lock."""
    if name not in state.hosts or not lab.host(name).alive():
        return
    for cable in network.cables(name):
        if cable.link in state.links and (cable.link == PEER_LINK or name == CLIENT):
            told = state.links[cable.link]
            ways = (told.get(name), told.get(SERVICE) if name == CLIENT else None)
            _put(lab, cable, [(Terms(**way["terms"]), way["seed"]) if way else (PLAIN, 0) for way in ways])
            hosts = [host for host in map(lab.host, (CLIENT, *state.nodes)) if host.alive()]
            network.settle_offload(lab.host(SWITCH), hosts, cable.link)


def show(lab: Hosts) -> list[dict[str, Any]]:
    """What the wires that are in have done, for each sender: frames, bytes, and what was dropped by cause."""
    found = []
    state = LabState.load(lab.name)
    for link, told in state.links.items():
        for name in (CLIENT,) if link == SERVICE_LINK else state.nodes:
            for cable in network.cables(name, link):
                for sender, way in zip((name, SERVICE), counts(lab, cable), strict=False):
                    if sender in told:
                        found.append({"link": link, "from": sender, **told[sender], **way})
    return found


def counts(lab: Hosts, cable: Cable) -> list[dict[str, Any]]:
    """What the wire of a cable has done with frames of its host, and with those for it; no wire: nothing."""
    if cable.wire_port not in network.ports(lab.host(SWITCH)):
        return []
    return list(tell(_control(lab, cable), "show")["wires"])


def program() -> str:
    """Return the path of ``fttcp-link``. Raises LabError when it was not built."""
    import fttcp

    path = Path(fttcp.__file__).parent / "fttcp-link"
    if not path.exists():
        raise LabError(f"{path}: the lab's link is missing: run make build")
    return str(path)


def _control(lab: Hosts, cable: Cable) -> Path:
    return lab.home / SWITCH / f"link-{cable.port}.sock"


def _put(lab: Hosts, cable: Cable, ways: list[tuple[Terms, int]]) -> None:
    switch, control = lab.host(SWITCH), _control(lab, cable)
    there = cable.wire_port in network.ports(switch)
    words = "set " + " ".join(terms.words(seed) for terms, seed in ways)
    if all(terms == PLAIN for terms, _ in ways):
        if there:
            _drain(control, words)
            _take_out(switch, cable)
    elif there:
        _set(control, words)
    else:
        put_in(lab, switch, cable)
        _set(control, words)


def put_in(lab: Hosts, switch: Host, cable: Cable) -> None:
    """Put a wire between a cable and its bridge; it is a plain one at first. Frames of some 0.1 ms are
    lost, as when a plug is moved."""
    ends = f"{cable.wire_end} type veth peer name {cable.wire_port}"
    network.ip(
        switch, [f"link add {ends}", *(f"link set {end} up" for end in (cable.wire_end, cable.wire_port))]
    )
    try:
        begin(lab, switch, _control(lab, cable), (cable.port, cable.wire_end), f"link of {cable.host}")
    except LabError:
        switch.run(["ip", "link", "delete", cable.wire_end])
        raise
    network.ip(
        switch, [f"link set {cable.port} nomaster", f"link set {cable.wire_port} master {cable.bridge}"]
    )


def begin(lab: Hosts, switch: Host, control: Path, ends: tuple[str, str], what: str) -> None:
    """Start the program between two interfaces of the switch; it has its socket at ``control``. Raises
    LabError, which names ``what`` it is, when it does not answer."""
    control.unlink(missing_ok=True)
    log = control.with_suffix(".log")
    with log.open("wb") as said:
        wire = switch.popen(
            [program(), str(control), *ends],
            cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    lab.keep_child(wire)

    def ready() -> bool:
        if wire.poll() is not None:
            raise LabError(f"{what}: {log.read_text(errors='replace').strip() or 'it ended'}")
        return answers(control)

    await_condition(ready, _START_S, f"{what}: its program answers")


def _take_out(switch: Host, cable: Cable) -> None:
    """The program ends with its interfaces."""
    network.ip(switch, [f"link delete {cable.wire_end}", f"link set {cable.port} master {cable.bridge}"])


def _drain(control: Path, words: str) -> None:
    """Let what is on its way arrive: later frames do not overtake it, so the last one is soon in."""
    _set(control, words)
    deadline = time.monotonic() + _DRAIN_S
    while any(wire["waiting"] for wire in tell(control, "show")["wires"]) and time.monotonic() < deadline:
        time.sleep(0.002)


def _set(control: Path, words: str) -> None:
    answer = tell(control, words)
    if "error" in answer:
        raise LabError(f"{control}: {words}: {answer['error']}")


def answers(control: Path) -> bool:
    """Whether the program whose socket is ``control`` is there."""
    try:
        return bool(tell(control, "show"))
    except NoAnswerError:
        return False


def tell(control: Path, line: str) -> dict[str, Any]:
    """Put a line to the program whose socket is ``control``. Raises NoAnswerError when it is not there, or
    says nothing."""
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_START_S)
            asked.connect(str(control))
            asked.sendall(f"{line}\n".encode())
            with asked.makefile() as answers:
                said = answers.readline()
    except OSError as error:
        raise NoAnswerError(f"{control}: the link does not answer: {error.strerror or error}") from error
    if not said.endswith("\n"):
        raise NoAnswerError(f"{control}: the link has ended before it answered")
    return dict(json.loads(said))
