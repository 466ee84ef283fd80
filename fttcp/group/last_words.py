"""Which processes the engine looks at: what their children say after their death waits for a takeover."""

from __future__ import annotations

from collections.abc import Sequence

from fttcp.planes.base import Engine
from fttcp.server.verdict import Note


class LastWords:
    """Looks from ``Vouch`` to ``Unwatch``."""

    def __init__(self, engine: Engine, note: Note) -> None:
        self._engine, self._note = engine, note

    def listen(self, pids: Sequence[int]) -> None:
        """Health vouches for the server, and these are its main processes."""
        try:
            self._engine.watch_server(pids)
        except OSError as error:
            self._note("server-unwatched", "warning", why=str(error))

    def end(self) -> None:
        """Nobody is about to take over."""
        self._engine.watch_server(())
