"""Two role machines through random faults: never two emitters, and in the end the service is there."""

from __future__ import annotations

import os
from functools import partial

import pytest

from fttcp.core import events as ev
from tests.sim.world import LINKS, MS, SERVICE_LINK, World

RUNS = int(os.environ.get("FTTCP_SIM_RUNS", "150"))
FIRST_SEED = int(os.environ.get("FTTCP_SIM_SEED", "1"))
SECOND = 1000 * MS
FAULTS = (
    "crash", "pause", "pause", "cut", "cut-one-way", "carrier", "server", "switch", "both", "reference",
    "failover", "maintenance",
)  # fmt: skip


def one_fault(world: World) -> None:
    """Do one random bad thing, and undo it later."""
    rnd = world.random
    host = rnd.choice(list(world.hosts.values()))
    kind = rnd.choice(FAULTS)
    duration = rnd.choice((rnd.randrange(5, 200), rnd.randrange(100, 2500))) * MS
    world.note(f"fault {kind} on {host.name} for {duration // MS} ms")
    if kind in ("crash", "both"):
        host.crash()
        world.later(duration, host.boot)
    if kind in ("pause", "both"):
        target = world.other(host) if kind == "both" else host
        target.pause(rnd.randrange(5, 300) * MS if kind == "both" else duration)
    elif kind in ("cut", "cut-one-way"):
        if world.cut or not all(h.carrier for h in world.hosts.values()):
            return
        link = rnd.choice(LINKS)
        ends = {(host.name, link)} | ({(world.other(host).name, link)} if kind == "cut" else set())
        world.cut |= ends
        world.later(duration, lambda: world.cut.difference_update(ends))
    elif kind == "carrier":
        if any(link != SERVICE_LINK for _, link in world.cut) or not host.carrier:
            return
        host.set_carrier(False)
        world.later(duration, lambda: host.set_carrier(True))
    elif kind == "server":
        host.kill_server()
    elif kind == "reference":
        host.set_reference(False)
        world.later(duration, lambda: host.set_reference(True))
    elif kind == "switch" and host.running:
        host.feed(ev.SwitchoverRequested(rnd.randrange(1, 2**64)))
    elif kind == "failover" and host.running:
        host.feed(ev.FailoverRequested())
    elif kind == "maintenance" and host.running:
        host.feed(ev.MaintenanceChanged(host.machine.maintenance | 1))
        world.later(duration, lambda: resume(world))


def resume(world: World) -> None:
    """End every maintenance."""
    for host in world.hosts.values():
        if host.alive and host.machine.paused:
            host.soon(partial(host.feed, ev.MaintenanceChanged(host.machine.maintenance + 1)))


def heal(world: World) -> None:
    """Undo every fault; hosts that are down come back."""
    world.cut.clear()
    for host in world.hosts.values():
        if not host.carrier:
            host.set_carrier(True)
        if not host.alive:
            host.boot()
    resume(world)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_never_two_emitters_and_served_in_the_end(seed: int) -> None:
    world = World(seed)
    for host in world.hosts.values():
        world.at(world.random.randrange(2 * SECOND), host.boot)
    when = 0
    for _ in range(world.random.randrange(4, 16)):
        when += world.random.choice((world.random.randrange(1, 150), world.random.randrange(100, 3000))) * MS
        world.at(when, lambda: one_fault(world) if all(h.native.boot for h in world.hosts.values()) else None)
    world.run(when + 3 * SECOND)
    world.note("heal")
    heal(world)
    world.run(world.now + 8 * SECOND)
    phases = sorted(str(host.machine.phase) for host in world.hosts.values())
    assert phases == ["following", "paired"], f"the pair is not in step in the end{world.story()}"
    assert [h.emits for h in world.hosts.values()].count(True) == 1, f"nobody serves{world.story()}"
    survivor = world.random.choice(list(world.hosts.values()))
    world.note(f"{survivor.name} alone")
    world.other(survivor).crash()
    world.run(world.now + 2 * SECOND)
    assert survivor.emits, f"one healthy node does not serve{world.story()}"


def takeover_ms(world: World, act: str) -> float:
    """Let the primary meet a fault; return how long nobody could emit."""
    for host in world.hosts.values():
        host.boot()
    world.run(3 * SECOND)
    primary = next(host for host in world.hosts.values() if host.emits)
    backup, start = world.other(primary), world.now
    if act == "crash":
        primary.crash()
    elif act == "server":
        primary.kill_server()
    else:
        primary.feed(ev.SwitchoverRequested(7))
    while not backup.emits and world.now < start + SECOND:
        world.run(world.now + MS // 10)
    return (world.now - start) / MS


@pytest.mark.parametrize(("act", "most_ms"), [("crash", 140), ("server", 140), ("switchover", 140)])
def test_a_paired_backup_takes_over_in_time(act: str, most_ms: int) -> None:
    for seed in range(20):
        world = World(seed)
        world.loss = 0.0
        assert takeover_ms(world, act) < most_ms, world.story()
