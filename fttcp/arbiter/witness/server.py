"""The witness's server: takes requests, applies the register's rules, stores, answers.

Each request is authenticated first. Requests that change something belong to a session: the witness
draws one when a client asks outside the present one, and the client proves that it is alive by
using it. Within a session the counter must grow. So a recorded datagram is worth nothing, not even
after a restart of the witness or of the node, and after an answer no earlier request of that client
takes effect any more.

All requests for one register are done one after the other, in the order of their arrival.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fttcp import __version__
from fttcp.arbiter.register import NOBODY, Entry, Terms, Verdict, inquire, owners, propose, renew, restarted
from fttcp.arbiter.witness.store import Register, Store, StoreError
from fttcp.ownership.members import Members, MembersError
from fttcp.ownership.ownership import Outcome, Record
from fttcp.wire import clock
from fttcp.wire import witness as wire
from fttcp.wire.witness import Drop, Dropped, Keys, Kind, Listed, Reply, ReplyKind, Request, Status

MAX_NODES = 1024
"""Nodes that are remembered, of all clusters together."""
MAX_REGISTERS = 4096
MAX_PENDING = 512
"""Requests that wait for the disk or for one another; more are dropped, and sent again by their clients."""
_REPORT_EVERY_NS = 10_000_000_000


class Reporter(Protocol):
    """Takes what people should know."""

    def __call__(self, kind: str, level: str, **fields: Any) -> None:
        """``kind`` names the event; ``level`` is info, warning or error."""


@dataclass(slots=True)
class _Client:
    """One node, as the witness knows it: its session, the one offered to it, the last counter."""

    session: int = 0
    offered: int = 0
    boot: int = 0
    counter: int = 0


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, how its reply is signed, and the way back."""

    request: Request
    keys: Keys
    key_id: bytes
    send: Callable[[bytes], None]

    def reply(self, kind: ReplyKind, **fields: Any) -> None:
        """Send a reply with these fields. Raises WireError if it is too large."""
        asked = self.request
        reply = Reply(
            cluster=asked.cluster,
            node=asked.node,
            boot=asked.boot,
            counter=asked.counter,
            kind=kind,
            **fields,
        )
        self.send(wire.encode_reply(reply, self.keys, self.key_id))

    def answer(self, verdict: Verdict) -> None:
        """Send what became of the request."""
        self.reply(
            ReplyKind.ANSWER,
            session=self.request.session,
            outcome=verdict.outcome,
            record=verdict.record,
            lease_ns=verdict.lease_ns,
            wait_ns=verdict.wait_ns,
            why=verdict.why,
        )


@dataclass(slots=True)
class _Slot:
    """One register, and the lock that puts its requests in order."""

    entry: Entry
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Witness:
    """The registers of one or several clusters. Lives in a running loop."""

    def __init__(self, store: Store, terms: Terms, clusters: Mapping[str, Keys], report: Reporter) -> None:
        """``clusters``: the keys of each. Raises StoreError if the records cannot be read."""
        self._store, self._terms, self._clusters, self._report = store, terms, clusters, report
        self._started_ns = now_ns = clock.now_ns()
        self._slots = {name: _Slot(restarted(record, now_ns)) for name, record in store.load().items()}
        self._members = store.load_members()
        self._rolling = asyncio.Lock()
        self._clients: dict[tuple[str, str], _Client] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reported_ns: dict[str, int] = {}
        self.counters: Counter[str] = Counter()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the error with which the witness cannot go on."""

    def take(self, data: bytes, send: Callable[[bytes], None]) -> None:
        """Take one datagram in; ``send`` is called with the reply's, if there is one."""
        self.counters["received"] += 1
        try:
            call = self._authentic(data, send)
            if call.request.kind is Kind.STATUS:
                call.reply(ReplyKind.STATUS, status=self._status(call.request))
            elif self._in_session(call.request):
                self._begin(call)
            else:
                call.reply(ReplyKind.SESSION, session=self._client(call.request).offered)
        except Dropped as error:
            self._dropped(error)

    async def close(self) -> None:
        """Let what has begun come to its end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ who asks

    def _authentic(self, data: bytes, send: Callable[[bytes], None]) -> _Call:
        """Return the request of a node that has a key of its cluster. Raises Dropped."""
        identity = wire.signer(data)
        known = [(name, keys) for name, keys in self._clusters.items() if keys.find(identity) is not None]
        if not known:
            raise Dropped(Drop.KEY, f"signed with a key that no cluster has (id {identity.hex()})")
        request = wire.decode_request(data, known[0][1])
        for name, keys in known:
            if name == request.cluster:
                return _Call(request, keys, identity, send)
        names = " or ".join(name for name, _ in known)
        raise Dropped(
            Drop.CLUSTER,
            f"node {request.node} says it is of cluster {request.cluster!r}; its key is that of {names}",
        )

    def _client(self, request: Request) -> _Client:
        name = (request.cluster, request.node)
        client = self._clients.get(name)
        if client is None:
            if len(self._clients) >= MAX_NODES:
                raise Dropped(Drop.BUSY, f"node {request.node} is one too many (most: {MAX_NODES})")
            client = self._clients[name] = _Client()
        return client

    def _in_session(self, request: Request) -> bool:
        """True if the request is fresh; False if a session must be begun first. Raises Dropped."""
        client = self._client(request)
        if request.session not in (0, client.session) and request.session == client.offered:
            client.session, client.offered, client.counter = client.offered, 0, 0
            if client.boot != request.boot:
                client.boot = request.boot
                self._report("node-seen", "info", cluster=request.cluster, node=request.node)
        if request.session == 0 or request.session != client.session:
            client.offered = client.offered or secrets.randbits(62) + 1
            return False
        if request.counter <= client.counter:
            raise Dropped(Drop.REPLAY, f"node {request.node}: counter {request.counter} came before")
        client.counter = request.counter
        return True

    # ------------------------------------------------------------------ what is done

    def _begin(self, call: _Call) -> None:
        if len(self._tasks) >= MAX_PENDING:
            raise Dropped(Drop.BUSY, f"{MAX_PENDING} requests wait already: is the disk too slow?")
        task = asyncio.get_running_loop().create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def _serve(self, call: _Call) -> None:
        """Do what is asked. What could not be stored is not answered."""
        request = call.request
        self.counters[request.kind.value] += 1
        if request.kind is Kind.PING:
            call.answer(Verdict(Outcome.WON, None, self._terms.lease_ns))
            return
        if request.kind in (Kind.ROLL, Kind.TELL, Kind.FORGET):
            await self._serve_roll(call)
            return
        name = (request.cluster, request.group)
        slot = self._slots.get(name)
        if slot is None:
            if len(self._slots) >= MAX_REGISTERS:
                self._dropped(Dropped(Drop.BUSY, f"group {request.group} is one too many: {MAX_REGISTERS}"))
                return
            slot = self._slots[name] = _Slot(Entry())
        async with slot.lock:
            now_ns = clock.now_ns()
            members = self._members.get(request.cluster, NOBODY)
            entry, verdict = _decide(slot.entry, request, now_ns, self._terms, members)
            if await self._stored(call, name, slot, entry):
                self.counters[verdict.outcome.value] += 1
                call.answer(verdict)

    async def _serve_roll(self, call: _Call) -> None:
        """Do what is asked about the nodes' record."""
        request = call.request
        async with self._rolling:
            stands = self._members.get(request.cluster, NOBODY)
            wanted, why = stands, ""
            try:
                wanted = _rolled(stands, request, owners(self._records(request.cluster)))
            except MembersError as error:
                why = str(error)
            if wanted != stands and not await self._enrolled(request.cluster, stands, wanted):
                return
            call.reply(ReplyKind.ANSWER, session=request.session, members=wanted, why=why)

    async def _enrolled(self, cluster: str, stands: Members, wanted: Members) -> bool:
        """Make ``wanted`` the record of the nodes. What is decided from here on goes by it; what was decided
        before is stored first, and then nobody may stand there who is taken out. False: no answer is due."""
        self._members[cluster] = wanted
        gone = set(stands.names).difference(wanted.names)
        for slot in [slot for (of, _), slot in self._slots.items() if of == cluster]:
            async with slot.lock:
                pass
        try:
            if gone.intersection(owners(self._records(cluster))):
                self._members[cluster] = stands  # one of them was faster: the node asks again
                return False
            await asyncio.to_thread(self._store.put_members, cluster, wanted)
        except StoreError as error:
            self.counters["storage_errors"] += 1
            self._report("storage-failed", "error", why=str(error))
            self._members[cluster] = self._store.load_members().get(cluster, NOBODY)
            return False
        self._report("members", "info", cluster=cluster, members=[name for name in wanted.names if name])
        return True

    def _records(self, cluster: str) -> list[Record | None]:
        return [slot.entry.record for (of, _), slot in self._slots.items() if of == cluster]

    async def _stored(self, call: _Call, name: Register, slot: _Slot, entry: Entry) -> bool:
        """Make ``entry`` the register's. False if the disk refused: then what the file holds stands."""
        if entry.record is not None and entry.record != slot.entry.record:
            try:
                await asyncio.to_thread(self._store.put, name, entry.record)
            except StoreError as error:
                self.counters["storage_errors"] += 1
                self._report("storage-failed", "error", group=name[1], why=str(error))
                slot.entry = restarted(self._store.get(name), clock.now_ns())
                return False
            self._tell_change(call.request, entry.record)
        slot.entry = entry
        return True

    def _tell_change(self, request: Request, record: Record) -> None:
        shown = {"epoch": record.epoch, "holder": record.holder, "mode": record.mode.value}
        backup = {"backup": record.backup} if record.backup else {}
        self._report(
            "owner", "info", cluster=request.cluster, group=request.group, by=request.node, **shown, **backup
        )

    def _status(self, request: Request) -> Status:
        now_ns = clock.now_ns()
        names = sorted(g for c, g in self._slots if c == request.cluster and g > request.group)
        listed = []
        for group in names[: wire.MAX_LISTED]:
            verdict = inquire(self._slots[request.cluster, group].entry, "", now_ns, self._terms)
            listed.append(Listed(group=group, record=verdict.record, lease_ns=verdict.lease_ns))
        return Status(
            release=__version__,
            uptime_ns=now_ns - self._started_ns,
            lease_ns=self._terms.lease_ns,
            drift_ppm=self._terms.drift_ppm,
            counters=dict(self.counters),
            registers=listed,
            more=len(names) > wire.MAX_LISTED,
        )

    def _dropped(self, error: Dropped) -> None:
        """Count it; report the first of its kind, and then one every ten seconds at most."""
        self.counters[f"dropped_{error.reason.value}"] += 1
        now_ns = clock.now_ns()
        last_ns = self._reported_ns.get(error.reason.value)
        if last_ns is None or now_ns - last_ns >= _REPORT_EVERY_NS:
            self._reported_ns[error.reason.value] = now_ns
            total = self.counters[f"dropped_{error.reason.value}"]
            self._report("dropped", "warning", reason=error.reason.value, why=str(error), total=total)


def _rolled(members: Members, request: Request, owning: set[str]) -> Members:
    """Return the nodes' record after this request. Raises MembersError."""
    if request.kind is Kind.TELL:
        return members.tell(request.node, request.peers, request.apart, owning)
    if request.kind is Kind.FORGET:
        node, by, *_ = request.peers
        return members.forget(node, by, owning)
    return members


def _decide(
    entry: Entry, request: Request, now_ns: int, terms: Terms, members: Members
) -> tuple[Entry, Verdict]:
    wanted = request.wanted
    if request.kind is Kind.INQUIRE or wanted is None:
        return entry, inquire(entry, request.node, now_ns, terms)
    if request.kind is Kind.RENEW:
        return renew(entry, request.node, wanted, now_ns, terms)
    return propose(entry, request.node, request.expected, wanted, now_ns, terms, members)
