"""What is known of each directory and peer, on the disk: what both had, and how the last copy went."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, to_builtins
from msgspec import json as strict_json

from fttcp.sync.versions import Base, Version
from fttcp.wire.files import write_durably


class Report(Struct, frozen=True):
    """How the copies of one directory, between two nodes, go. Times: ISO 8601, UTC."""

    entry: str
    peer: str
    driver: str
    """The node that copies, of the two."""
    directory: str = ""
    tried_at: str | None = None
    good_at: str | None = None
    """Both had the same as at this time."""
    error: str | None = None
    """Of the last one; what to do is in it."""
    interrupted_at: str | None = None
    """The last one did not end: quiet hours began, or the service ended. `error` is of the one before it."""
    took_s: float = 0
    files: int = 0
    """This and what follows counts over all copies."""
    bytes: int = 0
    removed: int = 0
    conflicts: int = 0

    def age_s(self, now: datetime) -> float | None:
        """How old the last good copy is."""
        return None if self.good_at is None else (now - datetime.fromisoformat(self.good_at)).total_seconds()


def now_text() -> str:
    """The time, as reports have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Records:
    """Of one node."""

    def __init__(self, place: Path) -> None:
        """``place``: their folder; made when there is something to keep."""
        self._place = place

    def base(self, entry: str, peer: str, directories: list[str]) -> Base:
        """Return what both had; nothing if that is not known, or of other directories."""
        try:
            stored = json.loads(self._file(entry, peer, "base").read_text(encoding="utf-8"))
            if stored["directories"] != directories:
                return {}
            return {path: (Version(*one), Version(*other)) for path, (one, other) in stored["base"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # then whatever differs is kept, and nothing is deleted

    def base_file(self, entry: str, peer: str) -> Path:
        """Where it is: without it the next copy is as the first one."""
        return self._file(entry, peer, "base")

    def keep_base(self, entry: str, peer: str, directories: list[str], base: Base) -> None:
        """Store it. Raises OSError."""
        text = json.dumps({"directories": directories, "base": base}, separators=(",", ":"))
        self._write(self._file(entry, peer, "base"), text)

    def report(self, entry: str, peer: str) -> Report | None:
        """Return how the last copy went; None if there was none."""
        try:
            return strict_json.decode(self._file(entry, peer, "json").read_bytes(), type=Report)
        except (FileNotFoundError, ValueError):
            return None

    def keep_report(self, report: Report, peer: str) -> None:
        """Store it, under the other node's name. Raises OSError."""
        self._write(self._file(report.entry, peer, "json"), json.dumps(to_builtins(report)))

    def _write(self, file: Path, text: str) -> None:
        """What is in a directory may be nobody else's business, whatever the umask."""
        self._place.mkdir(parents=True, exist_ok=True)
        self._place.chmod(0o700)
        write_durably(file, text)

    def _file(self, entry: str, peer: str, kind: str) -> Path:
        return self._place / f"{entry}@{peer}.{kind}"
