"""The events of this node on disk: JSON lines in two files of bounded size, which outlive the daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fttcp.report.events import Event, at_least

NAME = "events.jsonl"
_TAIL = 64 * 1024


class FileSink:
    """Appends events; when the file has half of the allowed size it becomes ``events.jsonl.1``."""

    def __init__(self, directory: Path, most_bytes: int, level: str = "info") -> None:
        """``most_bytes``: of both files together; ``level``: the least that is kept."""
        self._path, self._most, self._level = directory / NAME, most_bytes // 2, level
        self._file: BinaryIO | None = None

    def write(self, event: Event) -> None:
        """Append one line. Raises OSError."""
        if not at_least(event, self._level):
            return
        line = json.dumps(event, default=str).encode() + b"\n"
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
        if self._file.tell() and self._file.tell() + len(line) > self._most:
            self.close()
            self._path.replace(older(self._path))
            self._file = self._path.open("ab", buffering=0)
        self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def older(path: Path) -> Path:
    """Return the name of the file before this one."""
    return path.with_name(f"{path.name}.1")


def read(directory: Path) -> Iterator[Event]:
    """Return what is kept, oldest first; a line that a crash cut off is left out. Raises OSError."""
    path = directory / NAME
    for file in (older(path), path):
        if file.exists():
            with file.open("rb") as lines:
                yield from _events(lines)


def last_number(directory: Path) -> int:
    """Return the number of the last event that is kept; 0 without one. Raises OSError."""
    path = directory / NAME
    for file in (path, older(path)):
        if file.exists():
            with file.open("rb") as lines:
                lines.seek(max(0, file.stat().st_size - _TAIL))
                numbers = [event["number"] for event in _events(lines)]
            if numbers:
                return int(numbers[-1])
    return 0


def _events(lines: BinaryIO) -> Iterator[Event]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("number"), int):
            yield event
