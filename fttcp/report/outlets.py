"""Where events go: a log, a file, hooks. Each outlet is a thread with a bounded queue, so that a full
disk, a slow log or a hook that hangs never delays the node; what does not fit is counted and told."""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TextIO

from fttcp.report.events import Event, at_least

JOURNAL = Path("/run/systemd/journal/socket")
_LIMIT = 1000
_CLOSE_S = 2.0
_SYSLOG = {"debug": 7, "info": 6, "warning": 4, "error": 3}


class Sink(Protocol):
    """Takes events, in a thread of its own; may wait."""

    def write(self, event: Event) -> None:
        """Pass an event on. Raises OSError."""

    def close(self) -> None:
        """Nothing comes any more."""


class Outlet:
    """One thread that passes events on to its sinks."""

    def __init__(self, name: str, sinks: Sequence[Sink], limit: int = _LIMIT) -> None:
        """``limit``: how many events may wait; further ones are lost, and counted in ``lost``."""
        self.lost = 0
        self.trouble = ""
        """What a sink failed with last; '' while all work."""
        self._name, self._sinks = name, list(sinks)
        self._queue: queue.Queue[Event | None] = queue.Queue(limit)
        self._thread = threading.Thread(target=self._run, name=f"outlet-{name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Pass an event on, soon."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, for two seconds at most, and end."""
        try:
            self._queue.put(None, timeout=_CLOSE_S)
        except queue.Full:
            return  # its sink hangs; the thread is a daemon thread and ends with the process
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        told = 0
        while (event := self._queue.get()) is not None:
            for sink in self._sinks:
                self._write(sink, event)
            if self.lost > told:
                lost, told = self.lost - told, self.lost
                gap = {
                    **event,
                    "level": "warning",
                    "event": "events-lost",
                    "count": lost,
                    "outlet": self._name,
                }
                for sink in self._sinks:
                    self._write(sink, gap)
        for sink in self._sinks:
            sink.close()

    def _write(self, sink: Sink, event: Event) -> None:
        try:
            sink.write(event)
        except Exception as error:  # whatever it is, the next event may be written
            trouble = f"{type(sink).__name__}: {error}"
            if trouble != self.trouble:
                print(f"fttcp: events cannot be written: {trouble}", file=sys.stderr, flush=True)
            self.trouble = trouble
        else:
            if self.trouble.startswith(type(sink).__name__):
                self.trouble = ""


class StreamSink:
    """One JSON object a line, to standard error."""

    def __init__(self, level: str, stream: TextIO | None = None) -> None:
        """``level``: the least that is written."""
        self._level, self._stream = level, stream or sys.stderr

    def write(self, event: Event) -> None:
        """Write a line. Raises OSError."""
        if at_least(event, self._level):
            print(json.dumps(event, default=str), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to do: the stream is not ours."""


class JournalSink:
    """systemd's journal by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): every field of an
    event becomes a journal field FTTCP_..., so that ``journalctl FTTCP_EVENT=takeover`` finds it."""

    def __init__(self, level: str, path: Path = JOURNAL) -> None:
        """``level``: the least that is written."""
        self._level, self._path = level, str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def write(self, event: Event) -> None:
        """Send one entry. Raises OSError."""
        if at_least(event, self._level):
            self._socket.sendto(journal_entry(event), self._path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def journal_entry(event: Event) -> bytes:
    """Return the datagram for the journal: one line a field; with a length where the value has lines."""
    fields = {
        "MESSAGE": sentence(event),
        "PRIORITY": str(_SYSLOG[event["level"]]),
        "SYSLOG_IDENTIFIER": "fttcp",
    }
    fields |= {f"FTTCP_{name.upper().replace('-', '_')}": text_of(value) for name, value in event.items()}
    entry = b""
    for name, text in fields.items():
        data = text.encode()
        if b"\n" in data:
            entry += name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
        else:
            entry += name.encode() + b"=" + data + b"\n"
    return entry


def sentence(event: Event) -> str:
    """Return an event as people read it, without number, time and node."""
    frame = {"number", "time", "level", "node", "group", "event"}
    rest = ", ".join(f"{key} {text_of(value)}" for key, value in event.items() if key not in frame)
    group = f"{event['group']}: " if "group" in event else ""
    return f"{group}{event['event']}{' ' if rest else ''}{rest}"


def text_of(value: object) -> str:
    """Return a value of an event as plain text: a word as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def log_sink(level: str) -> Sink:
    """Return the journal's sink if systemd has connected standard error to it, else standard error's."""
    stat = os.fstat(2)
    if os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}" and JOURNAL.exists():
        return JournalSink(level)
    return StreamSink(level)
