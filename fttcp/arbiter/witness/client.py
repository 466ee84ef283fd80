"""A node's access to the witness, over UDP.

A request is sent to every address of the witness at once, and again at growing intervals until an
answer comes or the deadline passes; each datagram has a counter of its own, so an answer tells which
one it answers and when that was sent. All of it is safe to repeat: the register's changes are
compare-and-set, and epochs never come back.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from fttcp.arbiter.base import ArbiterError, Roll
from fttcp.arbiter.reach import OnChange, Reach
from fttcp.arbiter.settings import WitnessSettings
from fttcp.ownership.ownership import Answer, Outcome, Record
from fttcp.wire import clock
from fttcp.wire import witness as wire
from fttcp.wire.witness import Dropped, Kind, Listed, Reply, ReplyKind, Request, Status

_FIRST_RETRY_S, _LAST_RETRY_S = 0.02, 0.2
_PING_EVERY_S = 2.0
RISK = (
    "A group whose two nodes in step are both lost is not served by a third: only they may replace their "
    "record. Never replace or restore the witness's data file while nodes run."
)


@dataclass(slots=True)
class _Call:
    """A request under way: what was sent, and the reply that ends it."""

    kind: Kind
    fields: dict[str, Any]
    done: asyncio.Future[tuple[Reply, int]]
    sent: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Counter -> (when it was sent, within which session)."""


class WitnessClient:
    """One node's client, for all its groups; see ``ArbiterClient``."""

    def __init__(self, settings: WitnessSettings, on_change: OnChange | None = None) -> None:
        self._settings, self._keys = settings, settings.keys
        self._cluster, self._node = settings.cluster, settings.node
        self._endpoints, self._timeout_s = tuple(settings.endpoints), settings.timeout_ns / 1e9
        self._boot = secrets.randbits(62)
        self._counter = self._session = 0
        self._calls: dict[int, _Call] = {}
        self._transports: dict[int, asyncio.DatagramTransport] = {}
        self._reach = Reach(on_change)
        self._pinging: asyncio.Task[None] | None = None
        self._send_error = ""
        self._dropped: dict[str, int] = {}
        self._lease_ns: int | None = None
        self._told: frozenset[str] | None = None
        """Whom this life has told last that its file names."""

    async def open(self, watch: bool = True) -> WitnessClient:
        """Open the sockets, and with ``watch`` look every other second whether the witness is there: an
        arbiter that is lost while nothing is asked of it must be noticed. Raises OSError; ArbiterError if the
        witness answers and is not to be used."""
        loop = asyncio.get_running_loop()
        for version in {ip_address(host).version for host, _ in self._endpoints}:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            local = ("0.0.0.0" if version == 4 else "::", 0)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Receiver(self), local_addr=local, family=family
            )
            self._transports[version] = transport
        if self._settings.strict() and not await self.check() and self._unfit():
            await self.close()
            raise ArbiterError(self._unfit())
        if watch:
            self._pinging = loop.create_task(self._keep_pinging())
        return self

    async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
        """See ``ArbiterClient``."""
        return await self._ask(Kind.PROPOSE, group=group, expected=expected, wanted=wanted)

    async def renew(self, group: str, record: Record) -> Answer:
        """See ``ArbiterClient``."""
        return await self._ask(Kind.RENEW, group=group, wanted=record)

    def anticipate(self, group: str) -> None:
        """Do nothing: the question itself is one round trip."""

    async def inquire(self, group: str) -> Answer:
        """See ``ArbiterClient``."""
        return await self._ask(Kind.INQUIRE, group=group)

    async def roll(self) -> Roll:
        """See ``ArbiterClient``."""
        return await self._of_roll(Kind.ROLL)

    async def tell(self, peers: Sequence[str], apart: bool) -> Roll:
        """See ``ArbiterClient``."""
        if self._told == frozenset(peers):
            roll = await self._of_roll(Kind.ROLL)
            stands = roll.members
            if stands is None or (
                stands.named_by(self._node) == self._told and not (apart and stands.ends(self._node))
            ):
                return roll
        roll = await self._of_roll(Kind.TELL, peers=list(peers), apart=apart)
        self._told = None if roll.members is None or roll.why else frozenset(peers)
        return roll

    async def forget(self, node: str, by: str) -> Roll:
        """See ``ArbiterClient``."""
        return await self._of_roll(Kind.FORGET, peers=[node, by])

    async def check(self) -> bool:
        """See ``ArbiterClient``; the next request then needs one round trip only."""
        return await self._call(Kind.PING) is not None and not self._unfit()

    async def status(self) -> Status | None:
        """Return what the witness says about itself and this cluster's registers; None without answer."""
        registers: list[Listed] = []
        after = ""
        while True:
            reply = await self._call(Kind.STATUS, group=after)
            if reply is None or reply[0].status is None:
                return None
            status = reply[0].status
            registers += status.registers
            if not status.more or not status.registers:
                return Status(**{name: getattr(status, name) for name in status.__struct_fields__} | {
                    "registers": registers, "more": False})  # fmt: skip
            after = status.registers[-1].group

    async def close(self) -> None:
        """Close the sockets; requests under way end as UNREACHABLE."""
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.gather(self._pinging, return_exceptions=True)
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()

    def describe(self) -> dict[str, Any]:
        """See ``ArbiterClient``."""
        shown = {"kind": "witness", "endpoints": [f"{host} port {port}" for host, port in self._endpoints]}
        more = {"dropped": dict(self._dropped), "mismatch": self._mismatch(), "residual_risk": RISK}
        return shown | self._reach.describe() | more

    def _mismatch(self) -> str:
        """Return what differs between this node's settings and the witness's, or ''."""
        if self._lease_ns in (None, self._settings.lease_ns):
            return ""
        return (
            f"the witness's lease_ms is {(self._lease_ns or 0) / 1e6:g}, this node counts with "
            f"{self._settings.lease_ns / 1e6:g}: set arbiter.lease_ms to the witness's"
        )

    def _unfit(self) -> str:
        """Return why this witness must not be used, or ''."""
        wanted_ns = self._settings.lease_ns
        if not self._settings.strict() or (self._lease_ns or wanted_ns) >= wanted_ns:
            return ""
        return f"{self._mismatch()}: with more than two nodes a shorter one is not safe"

    # ------------------------------------------------------------------ asking

    async def _ask(self, kind: Kind, **fields: Any) -> Answer:
        if self._settings.strict() and self._lease_ns is None:
            await self.check()
        if self._unfit() or (self._settings.strict() and self._lease_ns is None):
            return Answer(Outcome.UNREACHABLE)
        got = await self._call(kind, **fields)
        if got is None:
            return Answer(Outcome.UNREACHABLE)
        reply, sent_ns = got
        lease_until_ns = None if reply.lease_ns is None else sent_ns + reply.lease_ns
        return Answer(reply.outcome, reply.record, lease_until_ns, reply.wait_ns)

    async def _of_roll(self, kind: Kind, **fields: Any) -> Roll:
        got = await self._call(kind, **fields)
        return Roll() if got is None else Roll(got[0].members, got[0].why)

    async def _call(self, kind: Kind, **fields: Any) -> tuple[Reply, int] | None:
        """Return the reply and when its request was sent; None when the deadline passed."""
        call = _Call(kind, fields, asyncio.get_running_loop().create_future())
        retry_s = _FIRST_RETRY_S
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    self._transmit(call)
                    await asyncio.wait({call.done}, timeout=retry_s)
                    if call.done.done():
                        return self._answered(kind, *call.done.result())
                    retry_s = min(2 * retry_s, _LAST_RETRY_S)
        except TimeoutError:
            self._reach.failed(self._silence())
            return None
        finally:
            call.done.cancel()
            for counter in call.sent:
                self._calls.pop(counter, None)

    def _answered(self, kind: Kind, reply: Reply, sent_ns: int) -> tuple[Reply, int]:
        """Note that there was an answer, and what it tells of the witness."""
        if kind is Kind.PING:
            self._lease_ns = reply.lease_ns
        if unfit := self._unfit():
            self._reach.failed(unfit)
        else:
            self._reach.answered("the witness answers")
        return reply, sent_ns

    def _silence(self) -> str:
        """Say why there may be no answer."""
        told = f" ({self._send_error})" if self._send_error else ""
        refused = "; datagrams were dropped here: " + ", ".join(self._dropped) if self._dropped else ""
        return (
            f"no answer from the witness within {self._timeout_s * 1000:g} ms{told}{refused}: is it running, "
            "is the way there open, has it this cluster's name and key (its log tells what it drops)?"
        )

    def _transmit(self, call: _Call) -> None:
        for host, port in self._endpoints:
            self._counter += 1
            request = Request(
                cluster=self._cluster,
                node=self._node,
                boot=self._boot,
                counter=self._counter,
                kind=call.kind,
                session=self._session,
                **call.fields,
            )
            data = wire.encode_request(request, self._keys)
            transport = self._transports.get(ip_address(host).version)
            if transport is None:
                return  # closed
            self._calls[self._counter] = call
            call.sent[self._counter] = (clock.now_ns(), self._session)
            transport.sendto(data, (host, port))

    def heard(self, data: bytes) -> None:
        """Take a datagram in."""
        try:
            reply = wire.decode_reply(data, self._keys)
        except Dropped as error:
            self._dropped[error.reason.value] = self._dropped.get(error.reason.value, 0) + 1
            return
        call = self._calls.get(reply.counter)
        if call is None or (reply.cluster, reply.node, reply.boot) != (self._cluster, self._node, self._boot):
            return  # an answer that came late, or to somebody else
        sent_ns, session = call.sent[reply.counter]
        if reply.kind is not ReplyKind.SESSION:
            if not call.done.done():
                call.done.set_result((reply, sent_ns))
        elif session == self._session and not call.done.done():  # else a newer session has begun since then
            self._session = reply.session
            self._transmit(call)

    def not_sent(self, error: OSError) -> None:
        """The kernel could not send something."""
        self._send_error = error.strerror or str(error)

    async def _keep_pinging(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(_PING_EVERY_S)


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, client: WitnessClient) -> None:
        self._client = client

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._client.heard(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._client.not_sent(exc)
