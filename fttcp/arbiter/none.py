"""No arbiter: the service network decides, as well as it can.

There is no register that both nodes see: each node keeps what it last knew. So of the promises in
``base.py`` only these are left: a node owns the group anew only

- with a carrier on its service interface,
- if the reference address answers, when there is one (else a node that is cut off cannot know that it is),
- if nobody answers for a service address: a living owner does, as long as its lease runs.

A pairing needs nothing of that. What remains: both nodes serve if they cannot hear each
other on any link *and* not over the service network either, while each reaches a reference address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from fttcp.arbiter.base import Roll
from fttcp.arbiter.reach import OnChange, Reach
from fttcp.arbiter.settings import Address, NoneSettings
from fttcp.ownership.ownership import Answer, Outcome, Ownership, Record

RISK = (
    "Without an arbiter both nodes may serve at once: when they hear each other on no link and not over the "
    "service network either, and "
)
_RISK_REFERENCE = "each of them still reaches a reference address."
_RISK_ALONE = "each has a carrier; no reference address is configured that would tell which one is cut off."


LONGEST_WATCH = 64
"""A watch that was begun and not asked for ends after so many probe windows."""


class Watching(Protocol):
    """What a Watch does."""

    async def claimed(self, window_s: float) -> str | None:
        """Return who answered up to now, once it lasted for ``window_s``; None: it cannot tell."""

    def close(self) -> None:
        """End it."""


class Network(Protocol):
    """What a Prober does."""

    def watch(self, addresses: Sequence[Address], longest_s: float) -> Watching:
        """Begin to ask who answers for one of the addresses, for ``longest_s`` at most."""

    async def claimed(self, addresses: Sequence[Address], window_s: float) -> str:
        """Return who answers for one of the addresses, or ''."""

    async def reachable(self, addresses: Sequence[Address], timeout_s: float) -> bool:
        """Return True once one of the addresses answers."""

    def close(self) -> None:
        """Close it."""


class NetworkArbiter:
    """Grants the group to a node that the service network speaks for; see ``ArbiterClient``."""

    def __init__(self, settings: NoneSettings, network: Network, on_change: OnChange | None = None) -> None:
        """``network`` is closed with this."""
        self._settings, self._network = settings, network
        self._records: dict[str, Record] = {}
        self._watches: dict[str, Watching] = {}
        self._reach = Reach(on_change)

    async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
        """Win unless the service network speaks against it; what is expected is taken for what stands."""
        known = self._records.get(group)
        older = known is not None and known.epoch >= wanted.epoch
        if (
            known is not None
            and known != wanted
            and (older or expected is None or expected.epoch < known.epoch)
        ):
            return Answer(Outcome.LOST, known)
        if known != wanted:
            objection = await self._objection(group, expected, wanted)
            if objection:
                return Answer(Outcome.LOST, expected, why=objection)
        self._records[group] = wanted
        return Answer(Outcome.WON, wanted)

    async def renew(self, group: str, record: Record) -> Answer:
        """Nobody else counts a lease: it has no end."""
        known = self._records.get(group)
        return Answer(Outcome.WON if known == record else Outcome.LOST, known)

    def anticipate(self, group: str) -> None:
        """Begin to probe, so that the window is over when the group is asked for.

        The rule is the same: nobody has answered for ``probe_ms`` up to the moment of the takeover. A former
        owner that lives answers here even with the last of its lease, and then the whole window begins anew.
        """
        settings = self._settings
        addresses = settings.services(group)
        self._forget(group)
        if addresses and settings.probe_ms and settings.carrier():
            self._watches[group] = self._network.watch(addresses, LONGEST_WATCH * settings.probe_ms / 1000)

    async def inquire(self, group: str) -> Answer:
        """Return what this node last wrote itself."""
        return Answer(Outcome.WON, self._records.get(group))

    async def roll(self) -> Roll:
        """There is no record: the two files have to agree."""
        return Roll()

    async def tell(self, peers: Sequence[str], apart: bool) -> Roll:
        """Nobody is there to be told."""
        return Roll()

    async def forget(self, node: str, by: str) -> Roll:
        """Nobody knows."""
        return Roll(why="without an arbiter there is no record of the nodes")

    async def check(self) -> bool:
        """Return True if a reference address answers, or none is to be asked."""
        try:
            return not await self._cut_off()
        except OSError as error:
            self._reach.failed(f"the service network cannot be asked: {error.strerror or error}")
            return False

    async def close(self) -> None:
        """Close the probing sockets."""
        for group in list(self._watches):
            self._forget(group)
        self._network.close()

    def describe(self) -> dict[str, Any]:
        """See ``ArbiterClient``."""
        risk = RISK + (_RISK_REFERENCE if self._settings.references else _RISK_ALONE)
        references = [str(address) for address in self._settings.references]
        shown = {"kind": "none", "endpoints": references}
        return shown | self._reach.describe() | {"residual_risk": risk}

    async def _objection(self, group: str, expected: Record | None, wanted: Record) -> str:
        """Return what speaks against the change, for people, or ''."""
        settings = self._settings
        if wanted.holder != settings.node:
            return ""
        if (
            expected is not None
            and expected.holder == settings.node
            and (wanted.mode is Ownership.PAIRED or expected.mode is Ownership.SOLO)
        ):
            return ""
        if not settings.carrier():
            return "the service interface has no carrier"
        try:
            if not settings.references:  # many groups may ask at once, and what needs no task begins none
                return await self._taken(group)
            cut_off, taken = await asyncio.gather(self._cut_off(), self._taken(group))
        except OSError as error:
            return f"the service network cannot be asked: {error.strerror or error}"
        return taken or cut_off

    async def _cut_off(self) -> str:
        settings = self._settings
        if not settings.references:
            return ""
        if await self._network.reachable(settings.references, settings.reference_ms / 1000):
            self._reach.answered("a reference address answers")
            return ""
        names = ", ".join(str(address) for address in settings.references)
        why = f"no reference address ({names}) answers within {settings.reference_ms} ms"
        self._reach.failed(why)
        return why

    async def _taken(self, group: str) -> str:
        settings = self._settings
        addresses = settings.services(group)
        if not addresses or settings.probe_ms == 0:
            return ""
        watch = self._watches.pop(group, None)
        if watch is not None and await watch.claimed(settings.probe_ms / 1000) == "":
            return ""
        who = await self._network.claimed(addresses, settings.probe_ms / 1000)
        return who and f"{who}: another station has the address, or its owner lives and is not heard"

    def _forget(self, group: str) -> None:
        watch = self._watches.pop(group, None)
        if watch is not None:
            watch.close()
