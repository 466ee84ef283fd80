"""Which groups are paused: kept on disk, so that a restart of the daemon does not end a maintenance."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from fttcp.wire.files import write_durably

_NAME = "maintenance.json"


class MaintenanceFile:
    """Group -> count of its pauses and resumes (odd: it is paused)."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the node's state_dir."""
        self._path = directory / _NAME
        self._lock = threading.Lock()

    def load(self, group: str) -> int:
        """Return a group's count, 0 when nothing is kept. Raises OSError that says what to do."""
        count = self._read().get(group, 0)
        if type(count) is not int or count < 0:
            raise OSError(f"{self._path}: {group}: {count!r} is no count; remove the file, then pause again")
        return count

    def save(self, group: str, count: int) -> None:
        """Keep a group's count; durable when this returns. Threads of several groups may. Raises OSError."""
        with self._lock:
            write_durably(self._path, json.dumps(self._read() | {group: count}))

    def _read(self) -> dict[str, object]:
        if not self._path.exists():
            return {}
        try:
            counts = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OSError(f"{self._path}: not JSON ({error}); remove it, then pause again") from error
        if not isinstance(counts, dict):
            raise OSError(f"{self._path}: not a JSON object; remove it, then pause again")
        return counts
