"""The nodes' record in etcd: one key for all groups of a cluster, PREFIX/CLUSTER/members, as JSON.

It changes only in transactions that compare its whole value, and every change of a group's record compares it
as well: so who was taken out takes nothing, however late its request comes. Who takes a node out compares
beside that that no record of a group has changed since it looked who stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from fttcp.arbiter.base import Roll
from fttcp.arbiter.etcd.gateway import EtcdError, Gateway
from fttcp.arbiter.etcd.transaction import (
    absent_or,
    all_below,
    found_in,
    members_in,
    members_key,
    put,
    record_in,
    unchanged_since,
)
from fttcp.arbiter.register import owners
from fttcp.arbiter.settings import EtcdSettings
from fttcp.ownership.members import Members, MembersError

_MAX_TRIES = 16
"""Leases are renewed all the time, and each may come in between."""

Change = Callable[[Members, Collection[str]], Members]


class EtcdRoll:
    """One node's access to the record."""

    def __init__(self, settings: EtcdSettings, gateway: Gateway) -> None:
        self._settings, self._gateway = settings, gateway
        self._key = members_key(settings.prefix, settings.cluster)
        self._told = False
        """What this life has told stands, or stood: what an earlier one has sent comes too late."""
        self.value: bytes | None = None
        """What the key had when it was last read."""

    async def read(self) -> Roll:
        """Return what stands. Raises EtcdError."""
        return Roll((await self._read())[0])

    async def tell(self, peers: Sequence[str], apart: bool) -> Roll:
        """See ``ArbiterClient``. Raises EtcdError."""
        node = self._settings.node
        members = (await self._read())[0]
        if self._told and members.named_by(node) == set(peers) and not (apart and members.ends(node)):
            return Roll(members)
        roll = await self._change(lambda stands, owning: stands.tell(node, peers, apart, owning))
        self._told = not roll.why
        return roll

    async def forget(self, node: str, by: str) -> Roll:
        """See ``ArbiterClient``. Raises EtcdError."""
        return await self._change(lambda stands, owning: stands.forget(node, by, owning))

    async def _change(self, change: Change) -> Roll:
        settings = self._settings
        for _ in range(_MAX_TRIES):
            members, owning, revision = await self._read()
            try:
                wanted = change(members, owning)
            except MembersError as error:
                return Roll(members, str(error))
            compare = [absent_or(self._key, self.value)]
            if set(members.names) - set(wanted.names):
                compare.append(unchanged_since(settings.prefix, settings.cluster, revision))
            new = msgspec.json.encode(wanted)
            body = {"compare": compare, "success": [put(self._key, new)], "failure": []}
            answer, _ = await self._gateway.call("/v3/kv/txn", body)
            if answer.get("succeeded", False):
                self.value = new
                return Roll(wanted)
        raise EtcdError(f"the keys of cluster {settings.cluster} change all the time")

    async def _read(self) -> tuple[Members, set[str], int]:
        """Return the record, who stands in records of groups, and the revision of all that."""
        settings = self._settings
        answer, _ = await self._gateway.call("/v3/kv/range", all_below(settings.prefix, settings.cluster))
        pairs, revision = found_in(answer)
        self.value = pairs.get(self._key)
        records = (record_in(value, key) for key, value in pairs.items() if key.endswith("/record"))
        return members_in(self.value), owners(records), revision
