"""The epochs that a node may have used, on disk: after a restart it never acts under an old one again."""

from __future__ import annotations

from pathlib import Path

from fttcp.wire.files import write_durably

_MOST_DIGITS = 19
"""An epoch has 62 bits at most (wire/witness.py)."""


class EpochFile:
    """One number for a group, in a file of its own."""

    def __init__(self, directory: Path, group: str) -> None:
        """``directory``: the node's state_dir."""
        self._path = directory / f"{group}.epoch"

    def load(self) -> int:
        """Return the number, 0 when none is kept. Raises OSError that says what to do."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return 0
        except UnicodeDecodeError:
            text = ""
        if not text.isdecimal() or len(text) > _MOST_DIGITS:
            raise OSError(f"{self._path}: no number in it; remove the file while the other nodes run")
        return int(text)

    def save(self, epoch: int) -> None:
        """Keep a number; durable when this returns. Raises OSError."""
        write_durably(self._path, f"{epoch}\n")
