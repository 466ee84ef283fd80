"""A pair, or one node, that is given the packets of a capture; what it decides about each.

What a client sends reaches both nodes. What the service says counts as the words of the primary's own stack,
and of the backup's, which says the same right behind it: a capture does not show the backup's. Records reach
the other node at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fttcp._native import ffi, lib
from fttcp.explain.packets import Heard, Packet, RoleBegins, Step, Takeover
from fttcp.explain.replay import Look, Replay
from fttcp.ownership.model import EngineMode
from fttcp.planes.experiment import Direction
from fttcp.planes.views import parse

PRIMARY, BACKUP, NODE = "primary", "backup", "node"
_TICK_NS, _SLOW_TICK_NS, _SOON_NS = 2_000_000, 50_000_000, 100_000_000
"""A worker looks what time has done so often; where nothing comes for a while, seldom is enough."""
_ROUNDS = 32
"""Of records that answer each other."""


@dataclass(frozen=True)
class Effect:
    """Something that a node does. ``what``: pass, drop, hold (of the packet ``packet`` of the capture,
    ``was``), send (a packet of its own, ``to`` its stack or the client), tell (a record), event (``kind``).
    ``data``: the packet as it is now, or the record; None: as it was. ``why``: counters of drops, or a Wait,
    in small letters.
    ``protection`` and ``reason`` are of its connection, at the end of the step."""

    node: str
    mode: EngineMode
    what: str
    packet: int | None = None
    to: str = ""
    data: bytes | None = None
    was: Packet | None = None
    why: str = ""
    kind: int = 0
    protection: int | None = None
    reason: int = 0


@dataclass
class Entry:
    """A packet of the capture, a takeover, or a moment at which time did something, and what came of it."""

    time_ns: int
    cause: Step | None
    effects: list[Effect] = field(default_factory=list)


class Node:
    """One node."""

    def __init__(self, name: str, replay: Replay, mode: EngineMode) -> None:
        self.name, self.replay, self.mode = name, replay, mode
        self.told: list[bytes] = []
        """Records that the other node has not heard yet."""
        self._packets: list[Packet | None] = []
        """What it was given, by the replay's number; None once it was decided."""
        self._counters: dict[str, int] = {}
        self._held: dict[int, str] = {}
        self._ticked = self._heard = 0
        self._session = 0

    def take_role(self, now_ns: int, mode: EngineMode) -> list[Effect]:
        """It has another role from now on."""
        self.mode, self._session = mode, self._session + 1
        self._ticked = self._heard = now_ns
        return self._effects(self.replay.role(now_ns, mode, self._session))

    def packet(self, packet: Packet) -> list[Effect]:
        """It is given a packet."""
        self._packets.append(packet)
        number, done = self.replay.packet(packet.time_ns, packet.direction, packet.data)
        look = self.replay.look(packet.time_ns, _key(packet))
        self._heard = packet.time_ns
        dropped = [
            name
            for name, count in look.counters.items()
            if count > self._counters.get(name, 0) and _drops(name)
        ]
        self._counters = look.counters
        effects = self._effects(done, look, dropped)
        if number in look.held:
            effects.insert(
                0, self._effect("hold", look, packet=packet.number, why=look.held[number].name.lower())
            )
        return effects

    def hear(self, now_ns: int, record: bytes) -> list[Effect]:
        """It is given a record of the other node."""
        return self._effects(self.replay.record(now_ns, record.hex()))

    def pass_time(self, now_ns: int) -> Iterator[tuple[int, list[Effect]]]:
        """Time passes up to now; yield when it did something."""
        while self._ticked:
            busy = self._ticked - self._heard < _SOON_NS
            at_ns = self._ticked + (_TICK_NS if busy else _SLOW_TICK_NS)
            if at_ns >= now_ns:
                return
            self._ticked = at_ns
            effects = self._effects(self.replay.tick(at_ns))
            if effects:
                yield at_ns, effects

    def _effects(
        self, done: Sequence[str], look: Look | None = None, dropped: Sequence[str] = ()
    ) -> list[Effect]:
        effects = []
        for line in done:
            what, *words = line.split()
            if what == "verdict":
                was, self._packets[int(words[0])] = self._packets[int(words[0])], None
                assert was is not None
                data = bytes.fromhex(words[2]) if len(words) > 2 else None
                accepted = words[1] == "accept"
                why = "" if accepted else ", ".join(dropped)
                verdict = "pass" if accepted else "drop"
                effects.append(self._effect(verdict, look, packet=was.number, was=was, data=data, why=why))
            elif what == "emit":
                effects.append(self._effect("send", look, to=words[0], data=bytes.fromhex(words[1])))
            elif what == "record":
                self.told.append(bytes.fromhex(words[0]))
                effects.append(self._effect("tell", look, data=self.told[-1]))
            elif what == "event":
                effects.append(self._effect("event", look, kind=int(words[0]), reason=int(words[1])))
        return effects

    def _effect(self, what: str, look: Look | None, **details: Any) -> Effect:
        flow = look.flow if look is not None else None
        if flow is not None:
            details = {"protection": flow.protection, "reason": flow.reason} | details
        return Effect(self.name, self.mode, what, **details)


def explain_pair(
    steps: Iterable[Packet | Takeover], replays: Callable[[], Replay] = Replay
) -> Iterator[Entry]:
    """Yield what a pair does with a capture of its service network."""
    nodes = [Node(PRIMARY, replays(), EngineMode.PAIRED), Node(BACKUP, replays(), EngineMode.BACKUP)]
    started = False
    try:
        for step in steps:
            if not started:
                for node in nodes:
                    node.take_role(step.time_ns, node.mode)
                started = True
            yield from _meanwhile(nodes, step.time_ns)
            entry = Entry(step.time_ns, step)
            if isinstance(step, Takeover):
                if len(nodes) == 1:
                    return  # which node it is now, and what that knows, a capture does not show
                nodes.pop(0).replay.close()
                entry.effects += nodes[0].take_role(step.time_ns, EngineMode.SOLO)
            else:
                for node in nodes:
                    entry.effects += node.packet(step)
                    entry.effects += _converse(nodes, step.time_ns)
            yield entry
    finally:
        for node in nodes:
            node.replay.close()


def explain_node(steps: Iterable[Step], replays: Callable[[], Replay] = Replay) -> Iterator[Entry]:
    """Yield what one node does with what it was given, which is told with its roles."""
    node = Node(NODE, replays(), EngineMode.IDLE)
    try:
        for step in steps:
            yield from _meanwhile([node], step.time_ns)
            entry = Entry(step.time_ns, step)
            match step:
                case RoleBegins():
                    entry.effects += node.take_role(step.time_ns, step.mode)
                case Heard():
                    entry.effects += node.hear(step.time_ns, step.data)
                case Packet():
                    entry.effects += node.packet(step)
            node.told = []  # what the other one answered is in the recording
            yield entry
    finally:
        node.replay.close()


def _meanwhile(nodes: list[Node], now_ns: int) -> Iterator[Entry]:
    moments = [(at_ns, effects) for node in nodes for at_ns, effects in node.pass_time(now_ns)]
    for at_ns, effects in sorted(moments, key=lambda moment: moment[0]):
        yield Entry(at_ns, None, effects)
    effects = _converse(nodes, now_ns)
    if effects:
        yield Entry(now_ns, None, effects)


def _converse(nodes: list[Node], now_ns: int) -> list[Effect]:
    """Let the nodes hear each other until neither says anything new."""
    effects: list[Effect] = []
    for _ in range(_ROUNDS):
        said = [(node, record) for node in nodes for record in node.told]
        for node in nodes:
            node.told = []
        if not said:
            break
        for speaker, record in said:
            for node in nodes:
                if node is not speaker:
                    effects += node.hear(now_ns, record)
    return effects


def _drops(counter: str) -> bool:
    return counter.startswith("drop_") or counter == "hold_overflow"


def _key(packet: Packet) -> Any:
    _, pkt, _ = parse(packet.data)
    key = ffi.new("struct ftt_key *")
    lib.ftt_core_key(pkt, packet.direction is Direction.FROM_CLIENT, key)
    return key
