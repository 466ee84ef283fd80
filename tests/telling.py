"""Events and commands of the role machine as lines of text, and back: for playbooks and stories.

A line is the name of the class and what is worth saying: fields that have their default are left out, and of
what a node says of itself all that has not changed since it spoke last. Times are told from now: `+1000ms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import IntEnum, StrEnum
from typing import Any

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import Body, Cause, HistoryFailure, Mode, Role
from fttcp.ownership.ownership import Outcome, Ownership, Record

_MS = 1_000_000
_TIMES = {"limit_ns", "zero_ns", "detected_ns", "lost_ns", "heard_ns", "lapsed_ns", "lease_until_ns"}
_SPANS = {"silent_ns", "wait_ns", "left_ns"}
_DRAWN = {"session", "offer", "refused"}
_UNTOLD = {"decided_ns", "group", "name", "lease_ns", "terms", "priority"}
_NOBODY = "nobody"


class Telling:
    """How one node's events and commands read."""

    def __init__(self, name: str, peers: tuple[str, ...]) -> None:
        self._name, self._peers = name, peers
        self._said: dict[str, dict[str, str]] = {}
        """Speaker -> field -> what it said last."""

    def told(self, what: ev.Event | do.Command, now_ns: int) -> str:
        """Return the line of an event, or of a command."""
        name = type(what).__name__
        match what:
            case do.Publish(body=body, grant_to=grants):
                granted = [peer for i, peer in enumerate(self._peers) if grants >> i & 1]
                more = {"grants": "+".join(granted) or _NOBODY}
                return self._line(name, *self._news(self._name, body, more))
            case ev.PeerStated(body=body, peer=peer):
                return self._line(name, self._peers[peer], *self._news(self._peers[peer], body, {}))
        first = [self._peers[what.peer]] if hasattr(what, "peer") else []
        words = [f for f in fields(what) if f.name not in _UNTOLD | {"peer"}]
        return self._line(name, *first, *(self._word(f, getattr(what, f.name), now_ns) for f in words))

    def _line(self, *words: str) -> str:
        return " ".join(word for word in words if word)

    def _news(self, speaker: str, body: Body, more: dict[str, str]) -> list[str]:
        """What a node says now, and did not say before."""
        before = self._said.get(speaker, {"grants": _NOBODY})
        named = {key: value for key, value in body._asdict().items() if key not in _UNTOLD}
        now = {key: self._value(key, value, 0) for key, value in named.items()} | more
        self._said[speaker] = now
        fresh = {name: self._value(name, default, 0) for name, default in body._field_defaults.items()}
        news = [key for key, value in now.items() if value != before.get(key, fresh.get(key))]
        return [f"{key}={now[key]}" for key in news or more]

    def _word(self, field: Field[Any], value: Any, now_ns: int) -> str:
        if value is None or (field.default is not MISSING and value == field.default):
            return ""
        return f"{field.name.removesuffix('_ns')}={self._value(field.name, value, now_ns)}"

    def _value(self, name: str, value: Any, now_ns: int) -> str:
        if name in _TIMES:
            return f"{(value - now_ns) / _MS:+.4g}ms"
        if name in _SPANS:
            return f"{value / _MS:.4g}ms"
        if name in _DRAWN and value > 0xFFFFFFFF:
            return f"{value >> 32}.{value & 0xFFFFFFFF}"
        if name == "links":
            return self._links(value)
        return _plain(value)

    def _links(self, links: int) -> str:
        """Whom the speaker hears: a letter for each link, p for the peer link, s for the service's."""
        nodes = sorted((self._name, *self._peers))
        heard = [(node, links >> 8 * i & 0xFF) for i, node in enumerate(nodes)]
        told = [f"{node}:{'p' * (bits & 1)}{'s' * (bits >> 1 & 1)}" for node, bits in heard if bits]
        return "+".join(told) or _NOBODY


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case IntEnum():
            return value.name
        case StrEnum():
            return value.value.replace(" ", "-") if len(value) < 24 else value.name
        case Record(epoch=epoch, holder=holder, mode=mode, backup=backup):
            return f"{mode}({holder}{',' if backup else ''}{backup})@{epoch}"
    return str(value) or '""'


class Reading:
    """Events from their lines, as people write them."""

    def __init__(self, name: str, peers: tuple[str, ...], lease_ns: int) -> None:
        self._name, self._peers = name, peers
        self._bodies = {
            peer: Body("web", peer, Role.STARTING, Mode.IDLE, 0, 0, True, True, 100, 0, lease_ns=lease_ns)
            for peer in peers
        }
        self.asked = 0
        """The number of the last request to the arbiter."""

    def event(self, line: str, now_ns: int) -> ev.Event:
        """Return the event of a line. Raises ValueError, KeyError for one that is none."""
        name, *words = line.split()
        peer = self._peers.index(words.pop(0)) if words and "=" not in words[0] else 0
        given = dict(word.split("=", 1) for word in words)
        kind = getattr(ev, name, None)
        if kind is None:
            raise ValueError(f"there is no event {name!r}")
        if kind is ev.PeerStated:
            return ev.PeerStated(self._body(self._peers[peer], given), peer)
        values: dict[str, Any] = {key: _READERS[key](text) for key, text in given.items()}
        if kind is ev.PeerLost:
            silent = values.pop("silent")
            return ev.PeerLost(silent, now_ns, now_ns - silent, peer)
        if kind is ev.LeaseLapsed:
            values["lapsed_ns"] = now_ns
        if kind is ev.LeaseSeen:
            values["left_ns"] = values.pop("left")
        if kind is ev.ArbiterAnswered:
            lease = values.pop("lease", None)
            values |= {"request": self.asked, "wait_ns": values.pop("wait", 0)}
            values["lease_until_ns"] = None if lease is None else now_ns + lease
        if peer or "peer" in {f.name for f in fields(kind)}:
            values["peer"] = peer
        made: ev.Event = kind(**values)
        return made

    def _body(self, speaker: str, given: Mapping[str, str]) -> Body:
        """What a peer says: as it did before, but for this."""
        news = {
            key: self._heard(text) if key == "links" else _READERS[key](text) for key, text in given.items()
        }
        self._bodies[speaker] = self._bodies[speaker]._replace(**news)
        return self._bodies[speaker]

    def _heard(self, text: str) -> int:
        nodes, links = sorted((self._name, *self._peers)), 0
        for part in text.split("+") if text != _NOBODY else ():
            node, _, letters = part.partition(":")
            links |= (("p" in letters) | ("s" in letters) << 1) << 8 * nodes.index(node)
        return links


def span_ns(text: str) -> int:
    """`100.1ms` -> nanoseconds."""
    match = re.fullmatch(r"\+?([\d.]+)(ms|s)", text)
    if match is None:
        raise ValueError(f"{text!r} is no time such as 100.1ms")
    return round(float(match[1]) * (_MS if match[2] == "ms" else 1000 * _MS))


def _number(text: str) -> int:
    """`2.1`: the first number that was drawn in epoch 2."""
    epoch, dot, number = text.partition(".")
    return int(epoch) << 32 | int(number) if dot else int(epoch)


def _flag(text: str) -> bool:
    return {"yes": True, "no": False}[text]


def _record(text: str) -> Record | None:
    if text == "none":
        return None
    match = re.fullmatch(r"(solo|paired)\((\w+)(?:,(\w+))?\)@(\d+)", text)
    if match is None:
        raise ValueError(f"{text!r} is no record such as solo(alpha)@3")
    return Record(int(match[4]), match[2], Ownership(match[1]), match[3] or "")


_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("session", "offer", "refused"), _number),
    **dict.fromkeys(
        ("epoch", "boot_id", "link", "nonce", "count", "run", "priority", "used", "offered_to", "request",
         "maintenance", "catching", "progress", "unverified", "failed", "ends_held", "number", "target",
         "targets"), int),
    **dict.fromkeys(
        ("up", "reachable", "arrives", "ready", "healthy", "carrier", "reference", "yields", "seeking",
         "barred", "mirror", "force", "now", "made", "bears", "serves"), _flag),
    **dict.fromkeys(("silent", "lease", "wait", "left"), span_ns),
    "role": Role, "mode": Mode, "reason": Cause, "cause": Cause, "partner": str, "outcome": Outcome,
    "record": _record, "how": HistoryFailure.__members__.__getitem__, "checkpoint": str,
}  # fmt: skip
