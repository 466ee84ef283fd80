"""What the server of a group is told, as its role wants it, and what its news mean to the group."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from fttcp.group.checkpoints import Checkpoints
from fttcp.group.recording import Recorder
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Cause, Phase, Role
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine
from fttcp.server.server import Caretaker

_LEAVES_S = 2.0
"""How long a node without units waits for its backup to take what it serves, beside ``handover_wait_ms``."""
_NO_FILE = "the file of its history is not open yet: what is the disk of history_dir doing?"


class Served(Protocol):
    """The group, as far as its server's matters go; see ``GroupRuntime``."""

    machine: PairMachine
    engine: Engine
    server: Caretaker | None
    recorder: Recorder | None
    checkpoints: Checkpoints | None

    @property
    def fenced(self) -> bool: ...

    def feed(self, event: ev.Event) -> list[do.Command]: ...

    def note(self, kind: str, level: str = "info", **fields: Any) -> None: ...


class Serving:
    """Between ``GroupRuntime.server`` and the role machine; without a server it does nothing."""

    def __init__(self, group: Served) -> None:
        self._group = group
        self._healthy = False
        """Whether health vouches for the server; the machine may want it to begin anew all the same."""
        self._restarting = False
        """True while the server is told to begin anew: that it is down then is no death."""
        self._restoring: asyncio.Task[None] | None = None
        self._promoted: list[int] | None = None
        """The server whose turn it was to be told what clients have sent."""
        self.shed = ""
        """Why this host has no units for the group; '' while it has."""
        self.leaves_by_s = 0.0
        """When the server of a group that is shed ends at the latest, though nobody has taken the role."""

    @property
    def healthy(self) -> bool:
        """Whether health vouches for the server."""
        return self._healthy

    # ------------------------------------------------------------------ its news

    def changed(self, healthy: bool, cause: Cause, reason: str, serves: bool = False) -> None:
        """The server's health changed; ``serves``: see ``ServerFailed``."""
        group = self._group
        self._healthy = healthy
        if self.shed:  # which people know
            if not healthy:
                group.feed(ev.ServerFailed(Cause.NO_UNITS, serves))
            return
        group.feed(ev.ServerRecovered() if healthy else ev.ServerFailed(cause, serves))
        if healthy and self._awaited and group.server is not None and not group.server.resting:
            self._tell(group.server.pids)
        if healthy:
            group.note("server-healthy", reason=reason)
        elif self._restarting:
            group.note("server-restarting", reason=reason)
        else:
            group.note(cause.value, "warning", reason=reason)

    def doubted(self, for_s: float) -> None:
        """Health begins to doubt, for so long at most, or (0) ceases to. That a server in doubt is silent is
        no reason to let go a connection of which the backup's has said more."""
        self._group.engine.doubt(round(for_s * 1000) * NS_PER_MS)

    def stuck(self, why: str) -> bool:
        """A server that was woken is not up in time; true if this node gives the role up because of that."""
        awaited = self._awaited
        if awaited:
            self._group.note("promotion-failed", "error", why=why)
            self._group.feed(ev.StartFailed())
        return awaited

    def known(self, run: int, ready: bool) -> None:
        """The server was started, or ended; or it is known whether it could follow another node's."""
        self._group.feed(ev.ServerKnown(run, ready))

    @property
    def _awaited(self) -> bool:
        """Whether the group cannot serve before its server is up."""
        return self._group.machine.phase is Phase.PROMOTING and not self._group.fenced

    def _tell(self, pids: list[int]) -> None:
        """This server is up: once for each, for what another one was told is void then."""
        if pids != self._promoted:
            self._promoted = pids
            self._group.engine.promote()

    # ------------------------------------------------------------------ what it is told

    def rest(self, had_no_units: bool = False) -> None:
        """The server is not to run: of a cold group, while this node does not serve; of one that is shed. The
        first is fit when it can keep what clients send, on disk as well if that is wanted."""
        server, recorder = self._group.server, self._group.recorder
        if server is None:
            return
        cold = self._group.machine.settings.cold
        waits = cold and recorder is not None and recorder.server_rests(lambda: server.hold(self.shed))
        if waits or self.shed:
            server.hold(self.shed or _NO_FILE)
        elif had_no_units:
            server.hold("")
        server.rest()

    def promote(self, wanted: do.Promote) -> None:
        """Start the server that rests; when it serves, the engine has it told what clients have sent. A warm
        one begins with what the last checkpoint has, or does not start."""
        self._promoted = None
        if self._restoring is not None:
            self._restoring.cancel()
        if self._group.checkpoints is None:
            self._wake()
        else:
            self._restoring = asyncio.get_running_loop().create_task(
                self._restore(self._group.checkpoints, wanted)
            )

    async def _restore(self, checkpoints: Checkpoints, wanted: do.Promote) -> None:
        why, group = await checkpoints.restore(wanted), self._group
        if group.machine.phase is not Phase.PROMOTING:
            return
        if not why:
            self._wake()
            return
        if group.server is not None:
            group.server.refuse(why)
        self.stuck(why)

    def _wake(self) -> None:
        if self._group.server is not None:
            self._restarting = True
            try:
                self._group.server.wake()
            finally:
                self._restarting = False

    def restart(self, failed: bool = False) -> None:
        """Start the server afresh, or, of a cold group, end it. ``failed``: it was not fit."""
        group = self._group
        if self._restoring is not None:
            self._restoring.cancel()
        if group.server is not None:
            self._restarting = True
            try:
                ends = group.machine.settings.cold or self._ends
                self.rest() if ends else group.server.restart(failed)
            finally:
                self._restarting = False
        if self._healthy and not self.shed:  # it was left as it is
            group.feed(ev.ServerRecovered())

    # ------------------------------------------------------------------ units

    def have_units(self, why_not: str) -> None:
        """Whether this host has units for the group: '', or why not. Then the role goes to the backup that is
        in step, if there is one, and a server that we run ends. It starts when there are units again. Who
        serves a cold group is never told that there are none."""
        group, server = self._group, self._group.server
        if bool(why_not) is not bool(self.shed):
            self.shed = why_not
            if why_not:
                self.leaves_by_s = self._loop_s() + group.machine.settings.handover_wait_ns / 1e9 + _LEAVES_S
                group.note("shed", "warning", why=why_not)
                group.feed(ev.ServerFailed(Cause.NO_UNITS, serves=self._healthy))
            else:
                group.note("units-again")
                self._begin_again()
        if self._ends and server is not None and not (server.resting or self._hands_over):
            group.feed(ev.ServerFailed(Cause.NO_UNITS, serves=False))
            self.rest()

    @property
    def _ends(self) -> bool:
        """Whether the server is to end for want of units."""
        server = self._group.server
        return bool(self.shed) and server is not None and server.ours

    @property
    def _hands_over(self) -> bool:
        """Whether another node is about to take what this one still serves."""
        machine, partner = self._group.machine, self._group.machine.partner
        if machine.role is not Role.PRIMARY or self._loop_s() >= self.leaves_by_s:
            return False
        said = partner.said if partner is not None else None
        return machine.phase is Phase.HANDOVER or (machine.in_step and said is not None and said.able)

    def _begin_again(self) -> None:
        server = self._group.server
        if server is None:
            return
        if server.resting and self._group.machine.settings.cold:
            self.rest(had_no_units=True)
        elif server.resting:
            server.wake()
            server.hold("")
        elif self._healthy:
            self._group.feed(ev.ServerRecovered())

    @staticmethod
    def _loop_s() -> float:
        return asyncio.get_running_loop().time()
