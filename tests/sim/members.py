"""A simulated machine whose file names other nodes from time to time, as the daemon goes about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fttcp.arbiter.register import NOBODY
from fttcp.ownership import events as ev
from fttcp.ownership.members import Members
from fttcp.ownership.model import Settings
from tests.sim.engine import HeardPeer
from tests.sim.host import Host, World

MS = 1_000_000
LOOK = 200 * MS
"""Time between two looks at the record of the nodes."""


class Member(Host):
    """A host of a cluster whose nodes come and go. ``file``: whom its file names; ``kept``: what is on its
    disk of the record."""

    waits_before_telling = True

    def __init__(self, world: World, settings: Settings) -> None:
        self.file = settings.peers
        self.kept = self.known = NOBODY
        self.gone: frozenset[int] = frozenset()
        self._asked = self._turn = 0
        super().__init__(world, settings)

    def boot(self) -> None:
        self.gone, self.known = frozenset(), self.kept
        self.settings = replace(self.settings, peers=self.file, members=self.kept)
        super().boot()
        self.prepare_to_tell()

    def lose_disk(self) -> None:
        super().lose_disk()
        self.kept = NOBODY

    def rename(self, names: tuple[str, ...]) -> None:
        """Somebody edits the file and reloads it, if the daemon runs and lets him."""
        machine = self.machine
        if not self.running:
            self.file = names
            return
        owners = [machine.partner] if machine.in_step else []
        owners.append(machine.view.owner())
        if any(owner is not None and owner.name not in names for owner in owners):
            return  # refused: it has the group, or is its backup
        self.file = names
        slots = (*self.settings.peers, *(name for name in names if name not in self.settings.peers))
        self.soon(lambda: self.name_peers(slots))

    def name_peers(self, slots: tuple[str, ...]) -> None:
        """The machine is told first: nothing of a peer may reach it that it does not know."""
        gone = frozenset(i for i, name in enumerate(slots) if name not in self.file)
        self.feed(ev.PeersNamed(slots, gone))
        if self.machine.settings.peers != slots or not self.awake:
            self.soon(lambda: self.name_peers(slots))  # it stood still
            return
        self.hear(slots, gone)
        self.prepare_to_tell()

    def hear(self, slots: tuple[str, ...], gone: frozenset[int]) -> None:
        new = len(slots) - len(self.native.peers)
        self.native.peers += [HeardPeer() for _ in range(new)]
        self.native.lease.granted += [0] * new
        self.settings, self.gone = replace(self.settings, peers=slots), gone

    def prepare_to_tell(self) -> None:
        """What the disk says is void before this node tells that it is apart, and what it granted is over."""
        native = self.native
        self._turn += 1
        turn = self._turn
        apart = self.kept.named_by(self.name) != set(self.file) or self.known.ends(self.name)
        wait = int(self.settings.patience_ns / self.rate) + 1 if apart and self.waits_before_telling else 0

        def tell() -> None:
            if turn == self._turn:
                self.kept = NOBODY if apart else self.kept
                self.tell(apart)

        self.world.later(wait, lambda: self.soon(tell, native))

    def tell(self, apart: bool) -> None:
        """Tell the arbiter, and look again later."""
        native, named, turn = self.native, self.file, self._turn
        assert self.world.arbiter is not None
        self._asked += 1

        def answered(members: Members) -> None:
            if self.native is native and turn == self._turn:
                self.soon(lambda: self.learn(members), native)

        self.world.arbiter.tell(self.name, (self.boots, self._asked), named, apart, answered)

        def again() -> None:
            if turn == self._turn:
                self.prepare_to_tell()

        self.world.later(LOOK, lambda: self.soon(again, native))

    def learn(self, members: Members) -> None:
        self.known = members
        if members.named_by(self.name) == set(self.file):
            self.kept = members
        self.feed(ev.MembersKnown(members))

    def speaks_to(self) -> Iterable[tuple[int, str]]:
        return ((i, name) for i, name in enumerate(self.settings.peers) if i not in self.gone)
