"""Plays a history to a server, each event when the server has said as much as it had said then."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fttcp.history.playing import Difference, Playing, Point
from fttcp.history.reader import Ending, Event, Flow, Kind, Reader

_PROGRESS_S = 0.2
_START_PAUSE_S = 0.02
_LOOK_S = 0.25
"""How often it is looked whether the server lives, while nothing comes of it."""


class PlayError(Exception):
    """The history cannot be played to the end; the sentence says why."""


@dataclass(slots=True)
class Contents:
    """What is in a history, looked through once before anything is played."""

    ending: Ending
    events: int = 0
    bytes_in: int = 0
    sessions: int = 0
    """Of UDP: these are not played."""
    clients: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=set)
    points: dict[Flow, deque[Point]] = field(default_factory=dict)
    """Of each connection."""


@dataclass(slots=True)
class Played:
    """How it went."""

    events: int = 0
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    compared: int = 0
    """Places at which the server's output was compared."""
    beyond: int = 0
    """Bytes that the server said behind what the history knows of: nothing is wrong with them."""
    differences: list[Difference] = field(default_factory=list)


def look_through(reader: Reader) -> Contents:
    """Read all of a history. Raises HistoryError if it is damaged: then nothing of it is played."""
    found = Contents(Ending.CUT)
    for event in reader.events():
        found.events += 1
        found.bytes_in += len(event.data)
        if event.flow.proto != "tcp":
            found.sessions += event.kind is Kind.OPEN
            continue
        if event.kind is Kind.OPEN:
            found.clients.add(event.flow.client)
            found.services.add(event.flow.service)
            found.points[event.flow] = deque()
        elif event.flow not in found.points:
            raise PlayError(f"{event.flow} is not there from its beginning on")
        elif event.kind is Kind.OUTPUT:
            found.points[event.flow].append(Point(event.place, event.crc))
    assert reader.ending is not None
    found.ending = reader.ending
    return found


class Player:
    """Plays the connections of one history."""

    def __init__(
        self,
        contents: Contents,
        alive: Callable[[], str],
        patience_s: float,
        progress: Callable[[Played, int], None],
    ) -> None:
        """``alive`` says why the server does not live, or nothing. ``patience_s``: for a server that says
        nothing. ``progress`` is told now and then, with the bytes of the history that were read."""
        self._contents, self._alive, self._patience_s = contents, alive, patience_s
        self._progress = progress
        self._flows: dict[Flow, Playing] = {}
        self._selector = selectors.DefaultSelector()
        self._told_s = 0.0
        self.played = Played()

    def play(self, reader: Reader, start_s: float) -> Played:
        """Play all of it; ``start_s``: how long the server may take until it listens. Raises PlayError."""
        try:
            for event in _of_connections(reader.events()):
                self._one(event, start_s)
                self.played.events += 1
                self._tell(reader.at)
            self._await_rest()
        finally:
            for flow in list(self._flows.values()):
                self._drop(flow)
            self._selector.close()
        self._progress(self.played, reader.at)
        return self.played

    def _one(self, event: Event, start_s: float) -> None:
        if event.kind is Kind.OPEN:
            self._open(event.flow, start_s)
            return
        flow = self._flows.get(event.flow)
        if flow is None:
            return  # it ended in another way than in the history, which was told
        if event.kind is Kind.OUTPUT:
            self._await(flow, event.place)
        elif event.kind is Kind.INPUT:
            flow.give(event)
            self._turn(0)
        elif event.kind is Kind.END:
            self._await_sent(flow)
            flow.end(event.how)
            self._drop(flow)

    def _open(self, key: Flow, start_s: float) -> None:
        flow = Playing(key, self._contents.points[key])
        deadline = time.monotonic() + (self._patience_s if self.played.connections else start_s)
        while True:
            try:
                flow.connect(max(0.1, deadline - time.monotonic()))
                break
            except OSError as error:
                flow.sock.close()
                why = self._alive()
                if why or time.monotonic() >= deadline:
                    raise PlayError(f"{key}: no connection: {why or error.strerror or error}") from error
            time.sleep(_START_PAUSE_S)
            flow = Playing(key, self._contents.points[key])
        self.played.connections += 1
        self._flows[key] = flow

    def _turn(self, wait_s: float) -> bool:
        """Move what can be moved; False: nothing could."""
        for flow in self._flows.values():
            wants = 0 if flow.said_all else selectors.EVENT_READ
            self._watch(flow, wants | (selectors.EVENT_WRITE if flow.wants_to_write else 0))
        ready = self._selector.select(wait_s)
        for key, events in ready:
            flow = key.data
            if events & selectors.EVENT_WRITE:
                flow.write()
            if events & selectors.EVENT_READ and not flow.said_all:
                flow.read()
        return bool(ready)

    def _watch(self, flow: Playing, wants: int) -> None:
        """Wait for this on its socket, or, with nothing, not any more."""
        known = self._selector.get_map().get(flow.sock)
        if known is None and wants:
            self._selector.register(flow.sock, wants, flow)
        elif known is not None and not wants:
            self._selector.unregister(flow.sock)
        elif known is not None and known.events != wants:
            self._selector.modify(flow.sock, wants, flow)

    def _await(self, flow: Playing, place: int) -> None:
        """Until the server has said as much, or will not."""
        quiet_s = 0.0
        while flow.output.said < place and not flow.said_all:
            began_s = time.monotonic()
            if self._turn(_LOOK_S):
                quiet_s = 0.0
                continue
            quiet_s += time.monotonic() - began_s
            if why := self._alive():
                raise PlayError(f"{flow.flow}: {why}, after {flow.output.said} of {place} bytes")
            if quiet_s >= self._patience_s:
                raise PlayError(
                    f"{flow.flow}: the server says nothing for {self._patience_s:g} s, "
                    f"after {flow.output.said} of {place} bytes"
                )

    def _await_sent(self, flow: Playing) -> None:
        """What its client said is not cut off by its end."""
        while flow.wants_to_write and self._turn(_LOOK_S):
            pass

    def _await_rest(self) -> None:
        for flow in list(self._flows.values()):
            if flow.output.points:
                self._await(flow, flow.output.points[-1].place)

    def _drop(self, flow: Playing) -> None:
        del self._flows[flow.flow]
        self._watch(flow, 0)
        flow.close()
        output = flow.output
        self.played.bytes_in += flow.sent
        self.played.bytes_out += output.said
        self.played.compared += output.compared
        self.played.beyond += output.beyond
        self.played.differences += output.differences

    def _tell(self, at: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _PROGRESS_S:
            self._told_s = now_s
            self._progress(self.played, at)


def _of_connections(events: Iterator[Event]) -> Iterator[Event]:
    return (event for event in events if event.flow.proto == "tcp")
