"""Writes histories, for tests of what reads them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from fttcp._native import ffi, lib
from fttcp.history.head import Head
from fttcp.history.reader import Flow, How, Kind, crc32c
from fttcp.wire.addresses import address_bytes

HEAD = Head(bytes(range(16)), 1_700_000_000_000_000_000, "web", "alpha", "1.0", "b" * 64, "server --port 80")
SYN = (
    bytes.fromhex("450000280001000040060000")
    + socket.inet_aton("10.77.0.10")
    + socket.inet_aton("10.77.0.100")
)


class HistoryWriter:
    """The bytes of a history, frame by frame."""

    def __init__(self, head: Head = HEAD) -> None:
        start = ffi.new("uint8_t[]", lib.FTT_HISTORY_START)
        lib.ftt_core_history_start(start)
        self._room = ffi.new("uint8_t[]", lib.FTT_HISTORY_FRAME_MAX)
        self._sum = ffi.new("uint32_t *")
        self.frames = [bytes(ffi.buffer(start))]
        data = head.encode()
        self._put(Kind.HEAD, data=ffi.from_buffer(data), data_len=len(data))

    def _put(self, kind: Kind, flow: Flow | None = None, flags: int = 0, **values: Any) -> None:
        event = ffi.new("struct ftt_history_event *", {"kind": kind, "flags": flags, **values})
        if flow is not None:
            _fill(event.key, flow)
            event.irs = flow.irs
            _fill(event.open.key, flow)
            event.open.irs = flow.irs
        length = lib.ftt_core_history_put(self._room, len(self._room), event, self._sum)
        assert length
        self.frames.append(bytes(ffi.buffer(self._room, length)))

    def open(self, flow: Flow) -> None:
        """A client's SYN."""
        self._syn = ffi.from_buffer(SYN)
        self._put(Kind.OPEN, flow, open={"type": lib.FTT_REC_OPEN, "data": self._syn, "data_len": len(SYN)})

    def input(self, flow: Flow, offset: int, data: bytes, fin: bool = False, after: int = 0) -> None:
        """A piece of its stream."""
        flags = lib.FTT_PIECE_FIN if fin else 0
        piece = {
            "offset": offset,
            "len": len(data),
            "after": after,
            "flags": flags,
            "bytes": ffi.from_buffer(data),
        }
        self._put(Kind.INPUT, flow, piece=piece)

    def output(self, flow: Flow, said: bytes | int) -> None:
        """All that its server had said; a number of bytes: of which the sum is not known."""
        if isinstance(said, int):
            self._put(Kind.OUTPUT, flow, place=said)
        else:
            self._put(Kind.OUTPUT, flow, lib.FTT_HISTORY_SUM, place=len(said), crc=crc32c(said))

    def end(self, flow: Flow, how: How = How.CLOSED) -> None:
        """It ended."""
        self._put(Kind.END, flow, how=how)

    def done(self) -> None:
        """In good order."""
        self._put(Kind.DONE)

    def to(self, path: Path) -> Path:
        """Write the file."""
        path.write_bytes(b"".join(self.frames))
        return path


def _fill(key: Any, flow: Flow) -> None:
    key.proto = 6 if flow.proto == "tcp" else 17
    ffi.memmove(key.remote, address_bytes(flow.client), 16)
    ffi.memmove(key.local, address_bytes(flow.service), 16)
    key.remote_port, key.local_port = flow.client_port, flow.service_port
