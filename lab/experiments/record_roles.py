"""An experiment: record packets and records, with this node's role, into a file for Wireshark.

The file is pcapng, FTTCP_RECORDING or `recording.pcapng` where the daemon runs. Its interfaces are named
after the role and what it is: `paired in`, `paired out` (packets of clients, and of this node's own stack,
before the rules), `paired heard`, `paired told` (records of the commit channel, link type USER0), `paired
role` (the role began). `fttcp explain FILE` tells what this node decided about each packet, and why.
"""

import os
from pathlib import Path

from fttcp.planes.experiment import Action, Change, Direction, EngineMode, Packet, Pass, Record
from fttcp.wire.capture import RAW_IP, USER0, CaptureWriter

_PLACE = "FTTCP_RECORDING"


class RecordRoles:
    """Begins its file with the first thing that it sees."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file: CaptureWriter | None = None

    def packet(self, packet: Packet) -> Action:
        """Record a packet."""
        what = "in" if packet.direction is Direction.FROM_CLIENT else "out"
        self._write(packet.mode, what, RAW_IP, packet.time_ns, packet.data)
        return Pass()

    def record(self, record: Record) -> Action:
        """Record a record."""
        self._write(record.mode, "heard" if record.heard else "told", USER0, record.time_ns, record.data)
        return Pass()

    def ownership(self, change: Change) -> None:
        """Record that another role begins."""
        if change.mode is not None:
            self._write(change.mode, "role", USER0, change.time_ns, b"")

    def _write(self, mode: EngineMode, what: str, link: int, time_ns: int, data: bytes) -> None:
        if self._file is None:
            self._file = CaptureWriter(self._path or Path(os.environ.get(_PLACE, "recording.pcapng")))
        self._file.write(f"{mode.name.lower()} {what}", link, time_ns, data)


record_roles = RecordRoles()
