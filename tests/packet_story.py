"""A story of packets: what a pair decides about each, by the engine's own code, as a text that people read.

    # free text
    pair                               in step; nobody has called yet
    -- client S 0:0(0) win 64240       a client's packet comes to both nodes (packetdrill's notation)
    -- backup S. 0:0(0) ack 1 win 100  a node's stack says so, in numbers of its own
    -- backup hears                    it is given what the other node has told it
    -- backup takes over               the primary is no more
     #2 backup   drops it: why         what a node does about the second packet of the story

Acts are played, and the lines that are indented are written anew; a test compares that with the text. The
nodes are those of `fttcp explain`. Numbers count from the SYN of the one whose bytes they count; those in
records are the client's.
"""

from __future__ import annotations

import re
import struct
from contextlib import ExitStack
from ipaddress import ip_address

from fttcp.explain.packets import Packet, complete
from fttcp.explain.pair import BACKUP, PRIMARY, Effect, Node
from fttcp.explain.replay import Replay
from fttcp.explain.words import Words
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Protection
from fttcp.planes.experiment import Direction, Flags

_CLIENT, _SERVICE = (ip_address(text).packed for text in ("10.77.0.10", "10.77.0.100"))
_PORTS = (40000, 80)
_FIRST = {"client": 1_000_000, PRIMARY: 2_000_000, BACKUP: 7_000_000}
"""Initial sequence numbers."""
_SEGMENT = re.compile(r"([SFPR.]+) (\d+):(\d+)\((\d+)\)(?: ack (\d+))? win (\d+)")
_LETTERS = {"S": Flags.SYN, "F": Flags.FIN, "P": Flags.PSH, "R": Flags.RST, ".": Flags.ACK}
INDENT = " " * 6
_ACT_NS = 100_000
"""From act to act: time does nothing of its own meanwhile."""


class Stage:
    """Both nodes of a pair."""

    def __init__(self, ends: ExitStack) -> None:
        """``ends``: ends the nodes' programs."""
        self._now_ns, self._packets = 1_000_000_000, 0
        self._words, self._protection = Words(), dict[str, int]()
        self._nodes = dict[str, Node]()
        for name, mode in ((PRIMARY, EngineMode.PAIRED), (BACKUP, EngineMode.BACKUP)):
            replay = Replay()
            ends.callback(replay.close)
            self._nodes[name] = Node(name, replay, mode)
            self._nodes[name].take_role(self._now_ns, mode)

    def act(self, who: str, what: str) -> list[str]:
        """Do what a line says; return what followed from it. Raises ValueError, KeyError."""
        self._now_ns += _ACT_NS
        if what == "hears":
            return self._hear(who)
        if what == "takes over":
            return self._take_over(who)
        packet = self._packet(who, what)
        if who != BACKUP:  # its numbers are not those of the connection
            self._words.segment(packet.data, packet.direction)
        hearers = list(self._nodes.values()) if who == "client" else [self._nodes[who]]
        lines = [line for node in hearers for line in self._lines(node.packet(packet), packet)]
        return [
            f"{f'#{packet.number}':>{len(INDENT) - 1}} {line[len(INDENT) :]}" for line in lines[:1]
        ] + lines[1:]

    def _hear(self, who: str) -> list[str]:
        hearer = self._nodes[who]
        speaker = self._nodes[BACKUP if who == PRIMARY else PRIMARY]
        told, speaker.told = speaker.told, []
        if not told:
            raise ValueError(f"{speaker.name} has told nothing since")
        return [line for record in told for line in self._lines(hearer.hear(self._now_ns, record), None)]

    def _take_over(self, who: str) -> list[str]:
        if who != BACKUP:
            raise ValueError(f"{who} is no backup")
        self._nodes.pop(PRIMARY)
        return self._lines(self._nodes[who].take_role(self._now_ns, EngineMode.SOLO), None)

    def _lines(self, effects: list[Effect], cause: Packet | None) -> list[str]:
        lines = []
        for effect in effects:
            lines.append(f"{INDENT}{effect.node:<8} {self._words.sentence(effect, cause)}")
            if effect.protection not in (None, self._protection.get(effect.node)):
                self._protection[effect.node] = effect.protection
                lines.append(f"{INDENT}{'':<8} = {Protection(effect.protection).name.lower()}")
        return lines

    def _packet(self, who: str, text: str) -> Packet:
        found = _SEGMENT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no segment such as P. 1:77(76) ack 1 win 100")
        flags, start, end, length, ack, window = found.groups()
        if int(end) - int(start) != int(length):
            raise ValueError(f"from {start} to {end} are not {length} bytes")
        other = PRIMARY if who == "client" else "client"
        numbers = _FIRST[who] + int(start), _FIRST[other] + int(ack) if ack else 0
        bits = sum(_LETTERS[letter] for letter in flags)
        inward = who == "client"
        ends, ports = (_CLIENT + _SERVICE, _PORTS) if inward else (_SERVICE + _CLIENT, _PORTS[::-1])
        tcp = struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, bits, int(window), 0, 0)
        tcp += bytes(int(length))
        whole = complete(struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + ends + tcp)
        assert whole is not None
        self._packets += 1
        direction = Direction.FROM_CLIENT if inward else Direction.FROM_SERVER
        return Packet(self._packets, self._now_ns, direction, whole)


def played(text: str) -> str:
    """Return the story with what is decided in it now. Raises ValueError for a line that cannot be."""
    stage: Stage | None = None
    out: list[str] = []
    with ExitStack() as ends:
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith(" "):
                continue
            out.append(line)
            mark, *words = line.split() or [""]
            try:
                if mark == "pair":
                    stage = Stage(ends)
                elif mark == "--":
                    if stage is None:
                        raise ValueError("the line `pair` comes first")
                    out += stage.act(words[0], " ".join(words[1:]))
                elif mark not in ("", "#"):
                    raise ValueError("a line begins with #, pair, -- or blanks")
            except (ValueError, KeyError) as error:
                raise ValueError(f"line {number}: {error}") from error
    return "\n".join(out) + "\n"
