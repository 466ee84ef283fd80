"""Which processes the engine looks at: what their children say after their death waits for a takeover."""

from __future__ import annotations

from collections.abc import Sequence

from fttcp.ownership.model import Phase
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine
from fttcp.server.verdict import Note


class LastWords:
    """Looks while health vouches for the server, and until its death has led to a takeover or to none."""

    def __init__(self, engine: Engine, note: Note) -> None:
        self._engine, self._note = engine, note
        self._looks = False

    def listen(self, pids: Sequence[int]) -> None:
        """Health vouches for the server, and these are its main processes."""
        self._looks = True
        try:
            self._engine.watch_server(pids)
        except OSError as error:
            self._note("server-unwatched", "warning", why=str(error))

    def settle(self, machine: PairMachine) -> None:
        """If nobody is about to take over, the server's children speak for themselves: they may serve on."""
        if self._looks and not machine.view.healthy and machine.phase is not Phase.HANDOVER:
            self._looks = False
            self._engine.watch_server(())
