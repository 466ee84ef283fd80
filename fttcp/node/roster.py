"""The other nodes as engines and machines number them, while the file names others from time to time.

A number is a node's own until the daemon ends. Who is named no more keeps it, and is neither spoken to nor
heard; a new one has the next.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fttcp.arbiter.base import ArbiterClient
from fttcp.config import Config, PeerSection
from fttcp.config.schema import MAX_PEERS
from fttcp.group.group import GroupRuntime
from fttcp.node.assembly import clock_ids, peer_settings
from fttcp.ownership import events as ev
from fttcp.planes.clocks import Clocks
from fttcp.planes.error import EngineError
from fttcp.planes.liveness import Liveness


class Roster:
    """Of one node."""

    def __init__(self, config: Config, groups: Mapping[str, GroupRuntime]) -> None:
        self._slots = list(config.peer)
        self._gone: frozenset[int] = frozenset()
        self._groups = groups
        self._stuck = False
        """Parts have ceased to agree on the next number."""

    def __getitem__(self, number: int) -> PeerSection:
        """Return the peer of this number."""
        return self._slots[number]

    @property
    def named(self) -> ev.PeersNamed:
        """Who has a number, and who of them is gone: what each group has to know from its start."""
        return ev.PeersNamed(tuple(slot.name for slot in self._slots), self._gone)

    def numbered(self, config: Config) -> Config:
        """Return the configuration with all peers that have a number, in their order."""
        named = {peer.name: peer for peer in config.peer}
        slots = [
            slot if number in self._gone else named.get(slot.name, slot)
            for number, slot in enumerate(self._slots)
        ]
        return msgspec.structs.replace(config, peer=slots)

    def objection(self, config: Config, arbiter: ArbiterClient | None) -> str:
        """Return why the peers of this configuration cannot be followed now, or ''."""
        slots, _ = self._wanted(config)
        if config.arbiter.kind == "none":
            return "without an arbiter the other node is exchanged with the daemons stopped: restart this one"
        if len(slots) > MAX_PEERS or (self._stuck and len(slots) > len(self._slots)):
            return f"this daemon can have {MAX_PEERS} other nodes in its life: restart it to name another one"
        unlike = arbiter.describe().get("mismatch") if arbiter is not None else ""
        if unlike and len(config.peer) > 1:
            return f"{unlike}: with more than two nodes a shorter one is not safe"
        names = {peer.name for peer in config.peer}
        for name, group in self._groups.items():
            view, partner = group.machine.view, group.machine.partner
            bound = [partner.name] if partner is not None and group.machine.session else []
            if (owner := view.owner()) is not None and owner.said is not None:
                bound += [owner.name, owner.said.partner]
            for other in bound:
                if other not in ("", group.machine.settings.name, *names):
                    return (
                        f"{other} serves group {name}, or is its backup: let others do that "
                        f"(`fttcp switchover {name}`), and stop the daemon there, before no file names it"
                    )
        return ""

    def adopt(self, config: Config, liveness: Liveness, clocks: Clocks | None) -> None:
        """Follow a configuration against which there is no ``objection``. Who is new is heard when engines
        and machines know it. Raises EngineError: then those that are new are gone again, and one whose links
        cannot be opened has had no number."""
        before, (slots, gone) = len(self._slots), self._wanted(config)
        try:
            for slot in slots[before:]:
                liveness.add_peer(peer_settings(slot))
                self._slots.append(slot)
                self._introduce(slot)
            self._gone = gone
        except EngineError:
            self._gone |= set(range(before, len(self._slots)))
            raise
        finally:
            self._name()
            if clocks is not None:
                clocks.peers = clock_ids(self.numbered(config))
            for number in range(len(self._slots)):
                liveness.part_with(number, number in self._gone)

    def _introduce(self, slot: PeerSection) -> None:
        """Tell engines of a new peer."""
        peer = peer_settings(slot)
        for group in self._groups.values():
            try:
                group.engine.add_peer(peer)
            except EngineError:
                self._stuck = True
                raise
            if group.detectors is not None:
                group.detectors.add_peer()
            if group.mirror is not None:
                group.mirror.probe.peers += (peer,)

    def _name(self) -> None:
        for group in self._groups.values():
            group.feed(self.named)

    def _wanted(self, config: Config) -> tuple[list[PeerSection], frozenset[int]]:
        """Return all slots with these peers named, and the numbers of those that are not."""
        slots, used = list(self._slots), set[int]()
        for peer in config.peer:
            same = (n for n, slot in enumerate(slots) if (slot.name, slot.link) == (peer.name, peer.link))
            number = next(same, len(slots))
            if number == len(slots):
                slots.append(peer)
            used.add(number)
        return slots, frozenset(range(len(slots))) - used
