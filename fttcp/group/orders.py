"""What a group does at once of what its role machine wants: orders to its engine, requests to its arbiter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from fttcp.group.checkpoints import Checkpoints
from fttcp.group.common import Common
from fttcp.group.last_words import LastWords
from fttcp.group.late import Late
from fttcp.group.ownership import Ownership
from fttcp.group.recording import Recorder
from fttcp.group.saying import Saying
from fttcp.group.takeovers import Takeovers
from fttcp.ownership import commands as do
from fttcp.ownership.model import NS_PER_MS
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import Engine
from fttcp.server.server import Caretaker

ANNOUNCE_ROUNDS = 5
ANNOUNCE_INTERVAL_NS = 200 * NS_PER_MS


class Ordered(Protocol):
    """The group, as far as its orders go; see ``GroupRuntime``."""

    machine: PairMachine
    engine: Engine
    common: Common
    server: Caretaker | None
    recorder: Recorder | None
    checkpoints: Checkpoints | None


class Orders:
    """Carries commands out, in the order in which they are given; what may wait is left to ``Late``."""

    def __init__(
        self,
        group: Ordered,
        saying: Saying,
        ownership: Ownership,
        last_words: LastWords,
        takeovers: Takeovers,
        late: Late,
        fail: Callable[[str], None],
    ) -> None:
        """``fail`` closes the group."""
        self._group, self._saying, self._ownership = group, saying, ownership
        self._last_words, self._takeovers, self._late, self._fail = last_words, takeovers, late, fail

    def follow(self, commands: list[do.Command]) -> list[do.Command]:
        """Carry all of a step out, and return them."""
        common = self._group.common
        if commands and common.behind.others_hurry(self._group):
            common.together.hold(self._group.engine)
        for command in commands:
            self.carry_out(command)
        return commands

    def carry_out(self, command: do.Command) -> None:
        """Do it now, or have it done later."""
        group, engine = self._group, self._group.engine
        match command:
            case do.SetLease(policy=policy, limit_ns=limit_ns, decided_ns=decided_ns):
                engine.set_lease(policy, limit_ns, decided_ns)
            case do.SetMode(mode=mode, session=session, peer=peer):
                engine.set_mode(mode, session, peer)
            case do.Announce():
                engine.announce(ANNOUNCE_ROUNDS, ANNOUNCE_INTERVAL_NS)
            case do.Publish(body=body, grant_to=grant_to):
                self._saying.say(body, grant_to)
            case do.Propose() | do.RenewLease() | do.Inquire():
                self._ownership.ask(command)
            case do.Anticipate():
                self._ownership.anticipate()
            case do.StoreEpoch(epoch=epoch) if group.machine.awaits_epoch:
                self._ownership.store(epoch)
            case do.StoreEpoch(epoch=epoch):  # it begins a thread
                group.common.behind.put(partial(self._ownership.store, epoch))
            case do.Vouch(alive=alive):
                engine.vouch(alive)
                if alive and group.server is not None:
                    self._last_words.listen(group.server.pids)
                    if group.recorder is not None:
                        group.recorder.server_known(group.server.pids)
            case do.Unwatch():
                self._last_words.end()
            case do.MakeCheckpoint(checkpoint=name) if group.checkpoints is not None:
                group.checkpoints.make(name)
            case do.EndCheckpoint() if group.checkpoints is not None:
                group.checkpoints.close()
            case do.LetGoOlder():
                engine.checkpoint(True)
            case do.LookAtFlows():
                pass  # behind the other orders
            case do.NoteTakeover():
                self._takeovers.begin(command)
                self._late.put(command)
            case do.Fence(why=why):
                self._fail(f"fenced: {why}")
            case _:
                self._late.put(command)
