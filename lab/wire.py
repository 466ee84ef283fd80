"""A wire: ``fttcp-link``, a program of ours between a host's port in the lab's switch and the bridge.

It is the same on every kernel, and what it decides depends only on the seed and a frame's number. Where
nothing is asked for, there is none.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from lab import network
from lab.control import NoAnswerError
from lab.errors import LabError
from lab.hosts import Host, await_condition
from lab.network import SWITCH, Cable

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

    def on_top_of(self, other: Terms) -> Terms:
        """Both one after the other: delays and chances add up, the lower rate counts."""
        mine, others = asdict(self), asdict(other)
        added = {name: mine[name] + others[name] for name in mine if name != "rate_mbit"}
        rates = [rate for rate in (self.rate_mbit, other.rate_mbit) if rate is not None]
        return Terms(**added, rate_mbit=min(rates, default=None))

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


def counts(lab: Hosts, cable: Cable) -> list[dict[str, Any]]:
    """What the wire of a cable has done with frames of its host, and with those for it; no wire: nothing."""
    if cable.wire_port not in network.ports(lab.host(SWITCH)):
        return []
    return list(tell(_control(lab, cable), "show")["wires"])


def put(lab: Hosts, cable: Cable, ways: list[tuple[Terms, int]]) -> None:
    """Have a wire in a cable with these terms and seeds: of its host, and of the other end. Where all are
    plain there is none."""
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


def program() -> str:
    """Return the path of ``fttcp-link``. Raises LabError when it was not built."""
    import fttcp

    path = Path(fttcp.__file__).parent / "fttcp-link"
    if not path.exists():
        raise LabError(f"{path}: the lab's link is missing: run make build")
    return str(path)


def _control(lab: Hosts, cable: Cable) -> Path:
    return lab.home / SWITCH / f"link-{cable.port}.sock"


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
