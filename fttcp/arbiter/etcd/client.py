"""A node's access to a group's register in etcd.

Three keys below PREFIX/CLUSTER/GROUP/ (and that of the nodes, ``roll.py``):

- ``record``: what stands, as JSON. It changes only in transactions that compare its whole value. Epochs grow,
  so a value never comes back, and a transaction that is carried out twice changes nothing the second time.
- ``lease``: present while a solo holder's lease runs, for it hangs on a lease of etcd and goes with it.
  Anyone else's takeover compares that this key is absent. To renew, the holder *grants a new lease* and
  moves the key there in a transaction; both go through the consensus. A keep-alive would not: a member that
  was leader until a moment ago may answer one, and revoke later what others kept alive (etcd issue 15247).
- ``fence/NODE``: compared by every change of that node, and set anew after a call without answer and at
  the start: what is still under way then fails its comparison.

The lease's end is counted from when its grant was sent, less the drift allowed between the clocks.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fttcp.arbiter.base import Roll
from fttcp.arbiter.etcd.gateway import EtcdError, Gateway
from fttcp.arbiter.etcd.roll import EtcdRoll
from fttcp.arbiter.etcd.transaction import (
    Keys,
    Seen,
    Step,
    absent_or,
    encoded,
    members_in,
    put,
    remove,
    seen_in,
    txn,
)
from fttcp.arbiter.reach import OnChange, Reach
from fttcp.arbiter.register import PPM, misfit, strangers
from fttcp.arbiter.settings import EtcdSettings
from fttcp.ownership.ownership import Answer, Outcome, Ownership, Record
from fttcp.wire import clock

RISK = (
    "A group whose two nodes in step are both lost is not served by a third: only they may replace their "
    "record. Never restore etcd from a snapshot while nodes run."
)
_NS = 1_000_000_000
_POLL_NS = _NS // 10
_MAX_TRIES = 4
_TWICE = "does another daemon run under this node's name?"


@dataclass(frozen=True, slots=True)
class _Lease:
    """A lease at etcd, and when it ends for certain on our own clock."""

    number: str
    until_ns: int


@dataclass(slots=True)
class _Group:
    """What this node knows of its own part in one register."""

    keys: Keys
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    settled: bool = False
    """No change that we sent can still be under way."""
    fence: bytes | None = None
    """The value of ``fence``, as far as we know."""
    lease: _Lease | None = None
    """The one that we moved the key ``lease`` to."""


class EtcdClient:
    """One node's client, for all its groups; see ``ArbiterClient``."""

    def __init__(self, settings: EtcdSettings, on_change: OnChange | None = None) -> None:
        """Must be made in a running loop. Raises EtcdError if a file of TLS will not serve."""
        self._settings = settings
        self._timeout_s = settings.timeout_ns / _NS
        hedge_s = self._timeout_s / (len(settings.endpoints) + 1)
        self._gateway = Gateway(settings.endpoints, hedge_s, settings.tls, settings.login)
        self._roll = EtcdRoll(settings, self._gateway)
        self._rolling = asyncio.Lock()
        self._groups: dict[str, _Group] = {}
        self._reach = Reach(on_change)
        self._spare: _Lease | None = None
        self._watching: asyncio.Task[None] | None = None

    async def open(self, watch: bool = True) -> EtcdClient:
        """Begin, with ``watch``, to keep a lease ready; that tells as well whether etcd is there."""
        if watch:
            self._watching = asyncio.get_running_loop().create_task(self._keep_ready())
        return self

    async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
        """See ``ArbiterClient``."""
        return await self._in_turn(group, lambda known: self._propose(known, expected, wanted))

    async def renew(self, group: str, record: Record) -> Answer:
        """See ``ArbiterClient``."""
        return await self._in_turn(group, lambda known: self._renew(known, record))

    def anticipate(self, group: str) -> None:
        """Do nothing: the question itself is one round trip."""

    async def inquire(self, group: str) -> Answer:
        """See ``ArbiterClient``."""
        return await self._in_turn(group, self._inquire)

    async def roll(self) -> Roll:
        """See ``ArbiterClient``."""
        return await self._of_roll(self._roll.read())

    async def tell(self, peers: Sequence[str], apart: bool) -> Roll:
        """See ``ArbiterClient``."""
        return await self._of_roll(self._roll.tell(peers, apart))

    async def forget(self, node: str, by: str) -> Roll:
        """See ``ArbiterClient``."""
        return await self._of_roll(self._roll.forget(node, by))

    async def check(self) -> bool:
        """See ``ArbiterClient``; a lease is ready then for the next proposal."""
        answered = False
        async with self._asking():
            self._spare = await self._grant()
            answered = True
        return answered

    async def close(self) -> None:
        """Close all connections; calls under way end as UNREACHABLE."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._gateway.close()

    def describe(self) -> dict[str, Any]:
        """See ``ArbiterClient``; ``trouble`` tells of single members."""
        shown = {"kind": "etcd", "endpoints": list(self._settings.endpoints)}
        return (
            shown | self._reach.describe() | {"trouble": dict(self._gateway.trouble), "residual_risk": RISK}
        )

    # ------------------------------------------------------------------ what is asked

    async def _of_roll(self, question: Awaitable[Roll]) -> Roll:
        """Ask about the nodes once all that was asked about them before is over."""
        answer = Roll()
        async with self._rolling, self._asking():
            answer = await question
        return answer

    async def _in_turn(self, name: str, ask: Callable[[_Group], Awaitable[Answer]]) -> Answer:
        """Ask about a group once all that was asked about it before is over."""
        settings = self._settings
        keys = Keys(settings.prefix, settings.cluster, name, settings.node)
        group = self._groups.setdefault(name, _Group(keys))
        answer = Answer(Outcome.UNREACHABLE)
        async with self._asking(), group.lock:
            answer = await ask(group)
        return answer

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Note whether etcd tells in time what is asked inside; if not, go on behind it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError:
            self._reach.failed(self._silence())
        except EtcdError as error:
            self._reach.failed(str(error))
        else:
            self._reach.answered("etcd answers")

    async def _inquire(self, group: _Group) -> Answer:
        seen = await self._settle(group) or await self._read(group)
        return await self._told(group, Outcome.WON, seen)

    async def _propose(self, group: _Group, expected: Record | None, wanted: Record) -> Answer:
        node, keys = self._settings.node, group.keys
        if misfit(expected, node, wanted):
            return await self._refused(group, wanted, await self._read(group))
        if strangers(members_in(self._roll.value), node, wanted):
            await self._roll.read()
            if strangers(members_in(self._roll.value), node, wanted):
                return await self._refused(group, wanted, await self._read(group))
        lease = await self._ready_lease() if wanted.mode is Ownership.SOLO else None
        before = self._roll.value
        members = absent_or(keys.members, before)
        compare = [absent_or(keys.record, encoded(expected)), members]
        if expected is not None and expected.mode is Ownership.SOLO and expected.holder != node:
            compare.append(absent_or(keys.lease, None))
        change = put(keys.lease, lease.number.encode(), lease.number) if lease else remove(keys.lease)
        won, seen = await self._change(group, compare, [put(keys.record, encoded(wanted) or b""), change])
        if not won and seen.members != before:
            self._roll.value = seen.members
            return await self._propose(group, expected, wanted)
        if not won:
            return await self._refused(group, wanted, seen)
        group.lease = lease
        return Answer(Outcome.WON, wanted, lease.until_ns if lease else None)

    async def _renew(self, group: _Group, record: Record) -> Answer:
        keys = group.keys
        if record.mode is not Ownership.SOLO or record.holder != self._settings.node:
            return await self._told(group, Outcome.LOST, await self._read(group))
        lease = await self._grant()
        known = group.lease.number.encode() if group.lease else None
        for _ in range(_MAX_TRIES):
            compare = [absent_or(keys.record, encoded(record)), absent_or(keys.lease, known)]
            won, seen = await self._change(
                group, compare, [put(keys.lease, lease.number.encode(), lease.number)]
            )
            if won:
                group.lease = lease
                return Answer(Outcome.WON, record, lease.until_ns)
            if seen.record != record:
                return await self._told(group, Outcome.LOST, seen)
            known = seen.lease  # it has lapsed, or was left by an earlier daemon of this node
        raise EtcdError(f"key {keys.lease} changes all the time: {_TWICE}")

    async def _refused(self, group: _Group, wanted: Record, seen: Seen) -> Answer:
        """Answer a proposal that changed nothing: it may stand already."""
        if seen.record != wanted:
            return await self._told(group, Outcome.LOST, seen)
        if wanted.mode is Ownership.SOLO and wanted.holder == self._settings.node:
            return await self._renew(group, wanted)
        return Answer(Outcome.WON, wanted)

    async def _told(self, group: _Group, outcome: Outcome, seen: Seen) -> Answer:
        """Answer with what stands, and with the lease on it."""
        record, lease = seen.record, group.lease
        if record is None or record.mode is not Ownership.SOLO or seen.lease is None:
            return Answer(outcome, record)
        if record.holder != self._settings.node:
            return Answer(outcome, record, wait_ns=await self._left_ns(seen.lease.decode()))
        mine = lease is not None and lease.number.encode() == seen.lease
        return Answer(outcome, record, lease.until_ns if mine and lease else None)

    # ------------------------------------------------------------------ transactions and leases

    async def _change(self, group: _Group, compare: list[Step], changes: list[Step]) -> tuple[bool, Seen]:
        """Commit a change behind the fence; return whether it was made, and otherwise what stands.

        Without an answer, or if a second member was asked as well, a copy may still be under way: then
        the next question sets a new fence first.
        """
        for _ in range(_MAX_TRIES):
            await self._settle(group)
            group.settled = False
            fence = absent_or(group.keys.fence, group.fence)
            won, seen, alone = await self._commit(group, [*compare, fence], changes)
            group.settled = alone and seen.fence == group.fence
            if won or seen.fence == group.fence:
                return won, seen
            group.fence = seen.fence
        raise EtcdError(f"key {group.keys.fence} changes all the time: {_TWICE}")

    async def _settle(self, group: _Group) -> Seen | None:
        """Make sure that no change of ours is under way any more; return what stands, if that was read.

        A copy of this very change is harmless: no value of the fence comes back.
        """
        if group.settled:
            return None
        for _ in range(_MAX_TRIES):
            new = secrets.token_hex(8).encode()
            compare = [absent_or(group.keys.fence, group.fence)]
            won, seen, _ = await self._commit(group, compare, [put(group.keys.fence, new)])
            group.fence = seen.fence
            if won:
                group.settled = True
                return seen
        raise EtcdError(f"key {group.keys.fence} changes all the time: {_TWICE}")

    async def _read(self, group: _Group) -> Seen:
        return (await self._commit(group, [], []))[1]

    async def _commit(
        self, group: _Group, compare: list[Step], changes: list[Step]
    ) -> tuple[bool, Seen, bool]:
        """Commit one transaction that reads the register last; the third is whether no copy is under way."""
        answer, alone = await self._gateway.call("/v3/kv/txn", txn(group.keys, compare, changes))
        return *seen_in(answer, group.keys), alone

    async def _grant(self) -> _Lease:
        sent_ns = clock.now_ns()
        answer, _ = await self._gateway.call("/v3/lease/grant", {"TTL": str(self._settings.lease_s)})
        try:
            number, ttl_ns = str(int(answer["ID"])), int(answer["TTL"]) * _NS
        except (KeyError, TypeError, ValueError) as error:
            raise EtcdError(f"a lease was answered with {answer!r:.200}") from error
        return _Lease(number, sent_ns + ttl_ns - ttl_ns * self._settings.drift_ppm // PPM)

    async def _ready_lease(self) -> _Lease:
        """Return a lease with most of its time left: the spare one, or a new one."""
        spare, self._spare = self._spare, None
        least_ns = clock.now_ns() + self._settings.lease_s * _NS // 2
        return spare if spare is not None and spare.until_ns > least_ns else await self._grant()

    async def _left_ns(self, number: str) -> int:
        """Return about how long the lease of another node still runs; never 0, for its key is there."""
        answer, _ = await self._gateway.call("/v3/lease/timetolive", {"ID": number})
        return max(int(answer.get("TTL", 0)) * _NS, _POLL_NS)

    async def _keep_ready(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(self._settings.lease_s / 3)

    def _silence(self) -> str:
        told = "; ".join(f"{endpoint}: {why}" for endpoint, why in self._gateway.trouble.items())
        return f"no answer from etcd within {self._timeout_s * 1000:g} ms ({told or 'all silent'})"
