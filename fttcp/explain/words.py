"""What was decided, in words and as JSON."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from fttcp._native import ffi, lib
from fttcp.config.words import of_connections, of_counters, plain
from fttcp.explain.packets import Heard, Packet, RoleBegins, Step, Takeover
from fttcp.explain.pair import Effect, Entry
from fttcp.ownership.model import EngineMode
from fttcp.planes import views
from fttcp.planes.base import EventKind, FlowKey, Protection, Reason
from fttcp.planes.experiment import Direction, Flags, RecordType
from fttcp.planes.nfqueue import key_of
from fttcp.planes.views import parse

_LETTERS = {Flags.FIN: "F", Flags.SYN: "S", Flags.RST: "R", Flags.PSH: "P", Flags.URG: "U", Flags.ACK: "."}
_WAITS = {
    "opened": "the backup has not said that it follows this connection",
    "let_go": "the backup has not said that it has let go",
    "input": "it acknowledges what the backup has not committed",
    "output": "the backup's server has not said it yet",
    "end": "the backup's server has not ended the connection",
    "last_word": "the server is dead; a takeover decides",
    "turn": "it is behind others that are held",
    "lease": "there is no lease",
    "answered": "it answers what this node's server has not said yet",
    "sent": "it acknowledges what the primary is not known to have sent",
    "partner": "the primary's server has not opened this connection",
}
_COUNTERS = {name: plain(text) for table in of_counters().values() for name, text in table.items()}
_PROTECTIONS = {name: plain(text) for name, text in of_connections()["protection"].items()}
_MODULUS = 1 << 32


class Words:
    """Sequence numbers are told from the first one of either end, once its SYN was seen. Those of the service
    are a node's own, as its stack says them, or those that the client and the other node know."""

    def __init__(self) -> None:
        self._first: dict[tuple[FlowKey, Direction, bool], int] = {}
        self._protection: dict[tuple[str, FlowKey], int] = {}

    def lines(self, entry: Entry) -> list[str]:
        """Return an entry for people."""
        cause = entry.cause
        if isinstance(cause, Takeover):
            head = f"#{cause.number}  {cause.station} speaks for the service now: the backup takes over"
        elif isinstance(cause, RoleBegins):
            head = f"#{cause.number}  this node's role is: {_mode(cause.mode)}"
        elif isinstance(cause, Heard):
            head = f"#{cause.number}  the other node tells {self._record(cause.data)}"
        elif cause is None:
            head = "--  time passes"
        else:
            key, _ = flow_of(cause.data, cause.direction)
            head = (
                f"#{cause.number}  {_ends(key, cause.direction)}  {self.segment(cause.data, cause.direction)}"
            )
        about = flow_of(cause.data, cause.direction)[0] if isinstance(cause, Packet) else None
        told = []
        for effect in entry.effects:
            told.append(f"    {effect.node:<8} {self.sentence(effect, cause)}")
            told += self._news(effect, about)
        return [head, *told]

    def _news(self, effect: Effect, about: FlowKey | None) -> list[str]:
        """Tell when a connection's protection changes at a node."""
        if about is None or effect.protection is None:
            return []
        if self._protection.get((effect.node, about)) == effect.protection:
            return []
        self._protection[effect.node, about] = effect.protection
        name = _name(Protection, effect.protection)
        reason = f" ({_name(Reason, effect.reason)})" if effect.reason else ""
        return [f"    {'':<8} = {name}{reason}: {_PROTECTIONS[name].split('. ')[0]}"]

    def json(self, entry: Entry) -> dict[str, Any]:
        """Return an entry for programs."""
        cause, told = entry.cause, dict[str, Any]()
        if isinstance(cause, Packet):
            key, _ = flow_of(cause.data, cause.direction)
            told = {"packet": cause.number, "flow": str(key), "from": _SIDES[cause.direction]}
            told["segment"] = self.segment(cause.data, cause.direction)
        elif isinstance(cause, Takeover):
            told = {"packet": cause.number, "takeover": cause.station}
        elif isinstance(cause, RoleBegins):
            told = {"packet": cause.number, "role": _mode(cause.mode)}
        elif isinstance(cause, Heard):
            told = {"packet": cause.number, "heard": _record_fields(cause.data)}
        return {
            "time_ns": entry.time_ns,
            **told,
            "effects": [self._effect(effect, cause) for effect in entry.effects],
        }

    def _effect(self, effect: Effect, cause: Step | None) -> dict[str, Any]:
        told: dict[str, Any] = {"node": effect.node, "mode": _mode(effect.mode), "what": effect.what}
        if effect.packet is not None:
            told["packet"] = effect.packet
        if effect.to:
            told["to"] = effect.to
        if effect.why:
            told["why"] = effect.why.replace("_", "-") if effect.what == "hold" else effect.why
        if effect.what == "tell" and effect.data is not None:
            told["record"] = _record_fields(effect.data)
        if effect.what == "event":
            told["event"] = _name(EventKind, effect.kind)
        if effect.protection is not None:
            told["protection"] = _name(Protection, effect.protection)
        if effect.reason:
            told["reason"] = _name(Reason, effect.reason)
        return told | {"sentence": self.sentence(effect, cause)}

    def sentence(self, effect: Effect, cause: Step | None) -> str:
        """Return what a node does, and why."""
        it = "it" if isinstance(cause, Packet) and cause.number == effect.packet else f"#{effect.packet}"
        match effect.what:
            case "pass":
                assert effect.was is not None
                inward = effect.was.direction is Direction.FROM_CLIENT
                where = f"gives {it} to its stack" if inward else f"lets {it} go to the client"
                return where + (self._changes(effect.was, effect.data) if effect.data is not None else "")
            case "drop":
                meanings = [
                    f"{_COUNTERS[name]} ({name})" for name in effect.why.split(", ") if name in _COUNTERS
                ]
                return f"drops {it}" + (": " + "; ".join(meanings) if meanings else "")
            case "hold":
                return f"holds {it}: {_WAITS[effect.why]}"
            case "send":
                to = "its stack" if effect.to == "stack" else "the client"
                return f"sends {to}: {self._segment_of(effect.data, own=effect.to == 'stack')}"
            case "tell":
                assert effect.data is not None
                return f"tells {self._record(effect.data)}"
        return f"reports {_name(EventKind, effect.kind)}"

    def segment(self, data: bytes, direction: Direction, own: bool | None = None) -> str:
        """Return a segment, or a datagram, as tcpdump would. The service's numbers in it are the node's
        `own`; None: where the service sends it."""
        kind, pkt, seg = parse(data)
        if kind != lib.FTT_PARSED_TCP:
            return f"UDP {pkt.payload_len} bytes"
        key, _ = flow_of(data, direction)
        flags = Flags(seg.flags)
        own = direction is Direction.FROM_SERVER if own is None else own
        if flags & Flags.SYN:
            self._first[key, direction, own] = seg.seq
        start = self._number(key, direction, seg.seq, own)
        told = f"[{letters(flags)}] seq {start}" + (f"..{start + seg.len}" if seg.len else "")
        if flags & Flags.ACK:
            told += f" ack {self._number(key, _OTHER[direction], seg.ack, own)}"
        return f"{told} win {seg.wnd}"

    def _changes(self, was: Packet, data: bytes) -> str:
        """Tell which numbers of a header are others now."""
        (_, _, old), (_, _, new) = parse(was.data), parse(data)
        changed = [name for name in _HEADER if getattr(old, name) != getattr(new, name)]
        told = ", ".join(
            f"{_HEADER[name]} by {_signed(getattr(new, name) - getattr(old, name))}" for name in changed
        )
        return f", changed: {told}" if told else ""

    def _segment_of(self, data: bytes | None, own: bool) -> str:
        """Of a packet by which nobody knows who said it: the flow that is known decides."""
        assert data is not None
        known = {key for key, _, _ in self._first}
        for direction in Direction:
            if flow_of(data, direction)[0] in known:
                return self.segment(data, direction, own)
        return self.segment(data, Direction.FROM_SERVER, own)

    def _number(self, key: FlowKey, direction: Direction, number: int, own: bool = False) -> int:
        first = self._first.get((key, direction, own), self._first.get((key, direction, not own), 0))
        return (number - first) % _MODULUS

    def _record(self, data: bytes) -> str:
        record = views.record(0, 0, EngineMode.IDLE, False, data)
        told = []
        for name, value in record.numbers.items():
            if name == "service_iss":
                self._first[record.key, Direction.FROM_SERVER, False] = value
            if name in _SPACES:
                value = self._number(record.key, _SPACES[name], value)
            told.append(f"{name} {value}")
        return f"{_record_name(record.kind)} {', '.join(told)}".strip()


_HEADER = {"seq": "seq", "ack": "ack", "wnd": "win", "tsval": "TSval", "tsecr": "TSecr"}
"""Fields of struct ftt_seg, and what they are called."""
_SPACES = {
    "rcv_nxt": Direction.FROM_CLIENT,
    "edge": Direction.FROM_CLIENT,
    "snd_nxt": Direction.FROM_SERVER,
    "client_acked": Direction.FROM_SERVER,
    "service_iss": Direction.FROM_SERVER,
}
"""Numbers of records, and whose bytes they count."""
_SIDES = {Direction.FROM_CLIENT: "client", Direction.FROM_SERVER: "service"}
_OTHER = {Direction.FROM_CLIENT: Direction.FROM_SERVER, Direction.FROM_SERVER: Direction.FROM_CLIENT}


def letters(flags: Flags) -> str:
    """Return flags as tcpdump writes them."""
    return "".join(letter for flag, letter in _LETTERS.items() if flags & flag)


def flow_of(data: bytes, direction: Direction) -> tuple[FlowKey, Any]:
    """Return the flow of a packet, and its struct ftt_key."""
    _, pkt, _ = parse(data)
    key = ffi.new("struct ftt_key *")
    lib.ftt_core_key(pkt, direction is Direction.FROM_CLIENT, key)
    return key_of(key), key


def _ends(key: FlowKey, direction: Direction) -> str:
    client, service = (f"{a}:{p}" for a, p in ((key.remote, key.remote_port), (key.local, key.local_port)))
    return f"{client} > {service}" if direction is Direction.FROM_CLIENT else f"{service} > {client}"


def _signed(difference: int) -> str:
    return f"{(difference + _MODULUS // 2) % _MODULUS - _MODULUS // 2:+}"


def _record_fields(data: bytes) -> dict[str, Any]:
    record = views.record(0, 0, EngineMode.IDLE, False, data)
    return {"type": _record_name(record.kind), "flow": str(record.key), **record.numbers}


def _record_name(kind: int) -> str:
    return _name(RecordType, kind).upper()


def _mode(mode: EngineMode) -> str:
    return mode.name.lower()


def _name(kind: type[IntEnum], value: int) -> str:
    try:
        return kind(value).name.lower().replace("_", "-")
    except ValueError:
        return str(value)
