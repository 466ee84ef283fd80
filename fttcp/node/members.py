"""Keeps the arbiter's record of the nodes and this node's file in agreement: told, looked at, kept on disk.

What two alone may do for each other while the arbiter is away (``ownership/members.py``) rests on the order
here: the machines cease to do it, what they granted is over, what the disk says is void, and only then is the
arbiter told so, and of another node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from fttcp.arbiter.base import ArbiterClient
from fttcp.config import Config
from fttcp.group.group import GroupRuntime
from fttcp.group.readiness import Hinders, Reason
from fttcp.ownership import events as ev
from fttcp.ownership.members import Members
from fttcp.report.events import History
from fttcp.wire.files import sync_directory, write_durably

_NAME = "members.json"
_LOOK_S = 2.0
_HURRY_S = 0.2
"""Time between two looks; and while this node may own nothing, or is not heard."""


class MembersFile:
    """What this node knows of the record, as long as it has told the arbiter nothing else."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the node's state_dir."""
        self._path = directory / _NAME

    def load(self) -> Members:
        """Return what is kept, nobody if nothing is. Raises OSError that says what to do."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Members)
        except FileNotFoundError:
            return Members()
        except msgspec.MsgspecError as error:
            raise OSError(f"{self._path}: no record of nodes in it ({error}); remove it") from error

    def save(self, members: Members) -> None:
        """Keep it; durable when this returns. Raises OSError."""
        write_durably(self._path, msgspec.json.encode(members).decode())

    def remove(self) -> None:
        """Keep nothing; durable when this returns. Raises OSError."""
        if self._path.exists():
            self._path.unlink()
            sync_directory(self._path.parent)


class MembersKeeper:
    """Of one node, for all its groups; without a record (arbiter `none`) it does nothing."""

    def __init__(self, config: Config, groups: Mapping[str, GroupRuntime], history: History) -> None:
        self._node, self._groups, self._history = config.node.name, groups, history
        self._file = MembersFile(Path(config.node.state_dir))
        self._recorded = config.arbiter.kind != "none"
        self._peers = tuple(peer.name for peer in config.peer)
        self._kept = self.known = Members()
        self._changed = asyncio.Event()
        self._why = ""

    @property
    def record(self) -> Members | None:
        """The record, as far as it is known; None: there is none."""
        return self.known if self._recorded else None

    def load(self) -> None:
        """Read what is on disk. Raises OSError."""
        if self._recorded:
            self._kept = self.known = self._file.load()

    def name(self, config: Config) -> None:
        """The file names others, perhaps, and the machines know it."""
        self._peers = tuple(peer.name for peer in config.peer)
        self._changed.set()

    async def keep(self, arbiter: ArbiterClient) -> None:
        """Look at the record again and again, if there is one."""
        while self._recorded:
            self._changed.clear()
            peers = self._peers
            self._settle(await self._told(arbiter, peers))
            hurry = bool(self._why) or self.known.ends(self._node)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _HURRY_S if hurry else _LOOK_S)

    @property
    def news(self) -> list[ev.MembersKnown]:
        """The record, if there is one: what each group has to know from its start."""
        return [ev.MembersKnown(self.known)] if self._recorded else []

    def greet(self, group: GroupRuntime) -> None:
        """A group has begun: tell it why this node may own nothing, if that is so."""
        group.readiness.hold("members", self._reasons(), told=False)

    async def _told(self, arbiter: ArbiterClient, peers: tuple[str, ...]) -> str:
        """Tell the arbiter whom the file names, and take in what it says; return why this node may own
        nothing, or ''."""
        try:
            apart = self._kept.named_by(self._node) != set(peers) or self.known.ends(self._node)
            if apart:
                patience_ns = [group.machine.settings.patience_ns for group in self._groups.values()]
                await asyncio.sleep(max(patience_ns, default=0) / 1e9)  # nothing else ends what was granted
                await asyncio.to_thread(self._file.remove)
                self._kept = Members()
            roll = await arbiter.tell(peers, apart)
            if roll.members is None:
                return "" if self.known.version else "the arbiter has not told who the members are yet"
            self._learn(roll.members)
            if roll.members != self._kept and roll.members.named_by(self._node) == set(peers):
                await asyncio.to_thread(self._file.save, roll.members)
                self._kept = roll.members
        except OSError as error:
            return f"the record of the nodes cannot be kept on disk: {error}"
        return roll.why or roll.members.refusal(self._node)

    def _learn(self, members: Members) -> None:
        if members == self.known:
            return
        before, self.known = self.known, members
        for group in self._groups.values():
            group.feed(ev.MembersKnown(members))
        names = [name for name in members.names if name]
        if names != [name for name in before.names if name]:
            self._history.add("members", members=names, version=members.version)

    def _settle(self, why: str) -> None:
        if why != self._why:
            self._why = why
            for group in self._groups.values():
                group.readiness.hold("members", self._reasons())

    def _reasons(self) -> list[Reason]:
        if not self._why:
            return []
        todo = "`fttcp members --config FILE` shows the record; see its page, More than two nodes"
        may_own = self.known.version > 0 and not self.known.refusal(self._node)  # what it serves goes on
        return [Reason("members", self._why, todo, Hinders.BACKUP if may_own else Hinders.SERVICE)]
