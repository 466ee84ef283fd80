"""Groups whose engines have no packets: one alone, or two in step in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fttcp.group.common import Common
from fttcp.group.group import GroupRuntime
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Phase, Settings
from fttcp.ownership.ownership import Answer, Outcome, Record
from fttcp.ownership.pair import PairMachine
from fttcp.planes.base import EngineSettings, EventKind, PeerSettings
from fttcp.planes.fake import FakeEngine
from fttcp.report.events import History
from fttcp.wire import clock
from fttcp.wire.keyfile import KeyRing
from tests.health import until

LEASE = 200 * NS_PER_MS


def engine_settings(name: str) -> EngineSettings:
    """Return those of a node, alpha or beta, of such a pair."""
    times = dict.fromkeys(
        (
            "detach_after_ns",
            "end_grace_ns",
            "open_timeout_ns",
            "opens_wait_ns",
            "idle_timeout_ns",
            "udp_idle_timeout_ns",
        ),
        1,
    )
    bounds = dict.fromkeys(
        (
            "max_flows",
            "max_half_open",
            "max_held",
            "max_held_total",
            "max_udp_bytes",
            "max_retained",
            "queue_maxlen",
        ),
        16,
    )
    numbers = dict.fromkeys(("channel_port", "queue_in", "queue_out", "workers", "mark", "rt_priority"), 1)
    numbers |= {"busy_poll_ns": 0}
    boot = 1 if name == "alpha" else 2
    return EngineSettings(
        keys=KeyRing((bytes(32),)), cluster_id=1, node_id=boot, boot_id=boot,
        peers=(PeerSettings(3 - boot, ()),), service_interface="svc0", peer_interface="peer0",
        service_addresses=(), ports=(), drift_ppm=1000,
        beat_interval_ns=LEASE // 5, lease_ns=LEASE, compare=True, detach_divergent=False,
        **times, **bounds, **numbers,
    )  # fmt: skip


class Consent:
    """An arbiter that lets everybody have what he asks for; see ``ArbiterClient``."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.anticipated = 0

    def anticipate(self, group: str) -> None:
        self.anticipated += 1

    async def propose(self, group: str, expected: Record | None, wanted: Record) -> Answer:
        self.record = wanted
        return Answer(Outcome.WON, wanted)

    async def renew(self, group: str, record: Record) -> Answer:
        return Answer(Outcome.WON, record)

    async def inquire(self, group: str) -> Answer:
        return Answer(Outcome.WON, self.record)

    async def check(self) -> bool:
        return True

    async def close(self) -> None:
        return

    def describe(self) -> dict[str, Any]:
        shown = {"kind": "consent", "endpoints": [], "reachable": True, "answered_s_ago": 0.0}
        return shown | {"last_error": "", "residual_risk": "everything"}


def make_group(
    name: str,
    peer: str,
    priority: int,
    on_lapse: Callable[[], None] = lambda: None,
    common: Common | None = None,
) -> tuple[GroupRuntime, FakeEngine, History]:
    wanted = engine_settings(name)
    settings = Settings("web", name, (peer,), priority, LEASE, 1000, 5 * LEASE, boot_id=wanted.boot_id)
    engine = FakeEngine(wanted)
    machine = PairMachine(settings, clock.now_ns())
    history = History(name)
    group = GroupRuntime(
        machine, engine, history, Consent(), lambda backup: None, on_lapse=on_lapse, common=common
    )
    return group, engine, history


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[GroupRuntime, FakeEngine, GroupRuntime, FakeEngine]]:
    """Two groups in step, the primary first: who that is may depend on how the machine halts this process."""
    one, one_engine, _ = make_group("alpha", "beta", 100)
    other, other_engine, _ = make_group("beta", "alpha", 50)
    for group in (one, other):
        group.start()
        group.feed(ev.CarrierChanged(True))
        group.feed(ev.ServerRecovered())
    one_engine.connect(other_engine)
    for engine in (one_engine, other_engine):
        engine.post(EventKind.LINK_UP, link=0)
    await until(lambda: one.machine.in_step and other.machine.in_step)
    await asyncio.sleep(2 * LEASE / 1e9)
    parts = one, one_engine, other, other_engine
    try:
        yield parts if one.machine.phase is Phase.PAIRED else (*parts[2:], *parts[:2])
    finally:
        one.close()
        other.close()


def run(test: Callable[..., Any]) -> None:
    """Give the parts of a pair to a test."""

    async def body() -> None:
        async with pair() as parts:
            await test(*parts)

    asyncio.run(body())
