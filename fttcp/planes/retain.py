"""A backup's output retained for a takeover: the bytes; the reckoning is the C core's (retain.h)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fttcp._native import ffi, lib


@dataclass(slots=True)
class Retained:
    """The bytes of one flow that the client has not acknowledged, from ``state.seq`` on."""

    state: Any = field(default_factory=lambda: ffi.new("struct ftt_retained *"))
    data: bytearray = field(default_factory=bytearray)

    def add(self, acked: int, seq: int, payload: bytes) -> int:
        """Append what is new of ``payload`` at ``seq``; return how many bytes that was."""
        take: int = lib.ftt_core_retained_add(self.state, acked, seq, len(payload))
        if take:
            self.data += payload[-take:]
        return take

    def ack(self, acked: int) -> int:
        """Forget what lies before ``acked``; return how many bytes that was."""
        gone: int = lib.ftt_core_retained_ack(self.state, acked)
        del self.data[:gone]
        return gone

    def stop(self) -> None:
        """No byte is needed any more; the window goes on."""
        lib.ftt_core_retained_stop(self.state)
        self.data.clear()

    def take(self, count: int) -> tuple[int, bytes]:
        """Return the number and the bytes of the next ``count`` to be sent, and go on behind them."""
        seq = self.state.next
        start = (seq - self.state.seq) & 0xFFFFFFFF
        self.state.next = (seq + count) & 0xFFFFFFFF
        return seq, bytes(self.data[start : start + count])
