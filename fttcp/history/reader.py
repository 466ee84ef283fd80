"""Reads a history's file: its head, then its events, up to where it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from fttcp import _numbers
from fttcp._native import ffi, lib
from fttcp.history.head import Head, decode
from fttcp.wire.addresses import address_text
from fttcp.wire.errors import WireError


class HistoryError(Exception):
    """This is no history, or not one that can be read; the sentence says why."""


Kind = _numbers.HistoryKind

How = _numbers.HistoryEnd
"""How a connection ended."""


class Ending(Enum):
    """How a file ends."""

    DONE = "done"
    """In good order."""
    OPEN = "open"
    """Behind a whole frame: who wrote it still does, or ended before its time."""
    CUT = "cut"
    """Within a frame."""


class Flow(NamedTuple):
    """One connection or session: who talks to whom, and the client's first sequence number."""

    proto: str
    client: str
    client_port: int
    service: str
    service_port: int
    irs: int

    def __str__(self) -> str:
        return f"{self.proto} {_end(self.client, self.client_port)} > {_end(self.service, self.service_port)}"


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a flow. ``data``: what its client sent, from ``offset`` on."""

    kind: Kind
    flow: Flow
    when_ns: int
    offset: int = 0
    data: bytes = b""
    fin: bool = False
    """Its stream ends behind ``data``."""
    place: int = 0
    """OUTPUT: bytes that its server had said."""
    crc: int | None = None
    """OUTPUT: the sum of these; None: it is not known."""
    how: How | None = None


class Reader:
    """A history from its first frame on, as it is when this is made: somebody may write it, or cut it short.
    It is in memory as a whole. ``ending`` is known when all events were read."""

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        """``data``: what is in the file, if that is known. Raises HistoryError."""
        try:
            self._data = path.read_bytes() if data is None else data
        except OSError as error:
            raise HistoryError(f"{path}: {error.strerror}") from error
        except MemoryError as error:
            raise HistoryError(f"{path}: larger than this machine's free memory") from error
        self._path = path
        self._raw = ffi.from_buffer(self._data)
        self._event = ffi.new("struct ftt_history_event *")
        self._sum, self._len = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        self.at = lib.FTT_HISTORY_START
        """How far it was read, in bytes."""
        self.ending: Ending | None = None
        self.head = self._read_head()

    def again(self) -> Reader:
        """Return another one of the same content, at its first frame."""
        return Reader(self._path, self._data)

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return len(self._data)

    def _read_head(self) -> Head:
        if len(self._data) < lib.FTT_HISTORY_START:
            raise HistoryError(f"{self._path}: no history: it is too short")
        version = lib.ftt_core_history_version(self._raw)
        if version == 0:
            raise HistoryError(f"{self._path}: no history: it begins with something else")
        if version != lib.FTT_HISTORY_VERSION:
            raise HistoryError(
                f"{self._path}: a history of version {version}; this release reads {lib.FTT_HISTORY_VERSION}"
            )
        if self._next() is not lib.FTT_HISTORY_EVENT or self._event.kind != Kind.HEAD:
            raise HistoryError(f"{self._path}: its head is damaged: nothing in it can be believed")
        try:
            return decode(bytes(ffi.buffer(self._event.data, self._event.data_len)))
        except WireError as error:
            raise HistoryError(f"{self._path}: {error}") from error

    def _next(self) -> int:
        found = int(
            lib.ftt_core_history_get(
                self._raw + self.at, len(self._data) - self.at, self._sum, self._event, self._len
            )
        )
        if found in (lib.FTT_HISTORY_EVENT, lib.FTT_HISTORY_SKIPPED):
            self.at += self._len[0]
        return found

    def events(self) -> Iterator[Event]:
        """Yield all events. Raises HistoryError at the first frame that cannot be believed: what came before
        is good."""
        while self.at < len(self._data):
            begins = self.at
            found = self._next()
            if found == lib.FTT_HISTORY_SKIPPED:
                continue
            if found == lib.FTT_HISTORY_SHORT:
                self.ending = Ending.CUT
                return
            if found == lib.FTT_HISTORY_BROKEN:
                raise HistoryError(f"{self._path}: damaged at byte {begins}: a sum is wrong")
            if found == lib.FTT_HISTORY_STRANGE or self._event.kind == Kind.HEAD:
                raise HistoryError(f"{self._path}: at byte {begins} is what this release does not understand")
            if self._event.kind == Kind.DONE:
                self.ending = Ending.DONE
                if self.at < len(self._data):
                    raise HistoryError(f"{self._path}: it goes on at byte {self.at}, behind its end")
                return
            yield self._shown(self._event)
        self.ending = Ending.OPEN

    @staticmethod
    def _shown(raw: Any) -> Event:
        key, kind = raw.key, Kind(raw.kind)
        flow = Flow(
            "tcp" if key.proto == 6 else "udp",
            address_text(bytes(key.remote)),
            key.remote_port,
            address_text(bytes(key.local)),
            key.local_port,
            raw.irs,
        )
        if kind is Kind.OUTPUT:
            crc = raw.crc if raw.flags & lib.FTT_HISTORY_SUM else None
            return Event(kind, flow, raw.when_ns, place=raw.place, crc=crc)
        if kind is Kind.END:
            return Event(kind, flow, raw.when_ns, how=How(raw.how))
        if kind is Kind.INPUT and key.proto == 6:
            piece = raw.piece
            data = bytes(ffi.buffer(piece.bytes, piece.len))
            fin = bool(piece.flags & lib.FTT_PIECE_FIN)
            return Event(kind, flow, raw.when_ns, piece.offset, data, fin)
        if kind is Kind.INPUT:
            data = bytes(ffi.buffer(raw.data, raw.data_len))
            return Event(kind, flow, raw.when_ns, data=data, place=raw.place)
        return Event(kind, flow, raw.when_ns)


def crc32c(data: bytes, before: int = 0) -> int:
    """Return the sum of all output up to the end of ``data``; ``before``: of what came before it."""
    return int(lib.ftt_core_crc32c(before, data, len(data)))
