"""A history on stable storage, as the engine writes it: native/engine/history/file.h."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fttcp import _numbers
from fttcp._native import ffi, lib
from fttcp.planes.error import EngineError

_ERROR_BYTES = 512

Fsync = _numbers.Fsync
"""When what was written is synced."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a history is kept."""

    fsync: Fsync
    every_ns: int
    most: int
    """Bytes of the file."""


class HistoryFile:
    """One file, open for writing."""

    def __init__(self, path: Path, head: bytes, keeping: Keeping) -> None:
        """Make it, with its head. Waits for the disk. Raises EngineError."""
        self.path = path
        settings, error = ffi.new("struct ftt_history_settings *"), ffi.new("char[]", _ERROR_BYTES)
        name, data = ffi.new("char[]", str(path).encode()), ffi.from_buffer(head)
        settings.path, settings.head, settings.head_len = name, data, len(head)
        settings.fsync, settings.every_ns, settings.most = keeping.fsync, keeping.every_ns, keeping.most
        self.handle: Any = lib.ftt_history_file_open(settings, error, _ERROR_BYTES)
        if self.handle == ffi.NULL:
            raise EngineError(str(ffi.string(error), errors="replace"))

    @property
    def there(self) -> int:
        """Bytes that count as kept."""
        return int(lib.ftt_history_file_there(self.handle))

    @property
    def why(self) -> int:
        """Why it has ended, as an errno; 0: it has not."""
        return int(lib.ftt_history_file_why(self.handle))

    def close(self, done: bool) -> None:
        """Write what waits; ``done``: and that it ends here in good order. Waits for the disk. The engine
        must not have it any more."""
        lib.ftt_history_file_close(self.handle, done)
        self.handle = ffi.NULL
