"""Random bad things, each undone after a while, and a world that lives through some of them."""

from __future__ import annotations

from functools import partial

from fttcp.ownership import events as ev
from fttcp.ownership.pair import PairMachine
from tests.sim.host import Host
from tests.sim.world import LINKS, MS, SECOND, SERVICE_LINK, World

_ANYWHERE = ("crash", "pause", "pause", "link", "one-way", "carrier", "server", "switch", "both", "reference",
             "failover", "maintenance")  # fmt: skip
_ARBITRATED = (*_ANYWHERE, "isolate", "isolate-one-way", "deaf", "arbiter", "no-arbiter", "no-disk", "all")


def one_fault(world: World) -> None:
    """Do one random bad thing, and undo it later."""
    rnd = world.random
    host = rnd.choice(list(world.hosts.values()))
    kind = rnd.choice(_ANYWHERE if world.arbiter is None else _ARBITRATED)
    duration = rnd.choice((rnd.randrange(5, 200), rnd.randrange(100, 2500))) * MS
    world.note(f"fault {kind} on {host.name} for {duration // MS} ms")
    match kind:
        case "crash" | "no-disk":
            host.crash()
            if kind == "no-disk":
                host.lose_disk()
            world.later(duration, host.boot)
        case "pause":
            host.pause(duration)
        case "both":
            host.crash()
            world.later(duration, host.boot)
            rnd.choice(world.others(host)).pause(rnd.randrange(5, 300) * MS)
        case "all":
            for other in world.hosts.values():
                other.crash()
                world.later(rnd.randrange(1, 1500) * MS, other.boot)
        case "link" | "one-way" | "isolate" | "isolate-one-way":
            _cut(world, host, kind, duration)
        case "deaf" | "no-arbiter" | "arbiter":
            _lose_arbiter(world, host, kind, duration)
        case "carrier":
            _pull_cable(world, host, duration)
        case "server":
            host.kill_server()
        case "reference":
            host.set_reference(False)
            world.later(duration, lambda: host.set_reference(True))
        case "failover" if host.running:
            host.feed(ev.FailoverRequested(rnd.randrange(1, 2**64)))
        case "maintenance" if host.running:
            host.feed(ev.MaintenanceChanged(host.machine.maintenance | 1))
            world.later(duration, lambda: resume(world))
        case "switch" if host.running:
            host.feed(ev.SwitchoverRequested(rnd.randrange(1, 2**64)))


def _cut(world: World, host: Host, kind: str, duration: int) -> None:
    """Cut one link, or all between this host and some others; without an arbiter one way always stays."""
    alone = world.arbiter is None
    if alone and (world.cut or not all(h.carrier for h in world.hosts.values())):
        return
    links = LINKS if kind.startswith("isolate") else (world.random.choice(LINKS),)
    others = [o for o in world.others(host) if world.random.random() < 0.7] or world.others(host)
    ends = {(host.name, other.name, link) for other in others for link in links}
    if not kind.endswith("one-way"):
        ends |= {(other.name, host.name, link) for other in others for link in links}
    world.cut |= ends
    world.later(duration, lambda: world.cut.difference_update(ends))


def _lose_arbiter(world: World, host: Host, kind: str, duration: int) -> None:
    arbiter = world.arbiter
    assert arbiter is not None
    if kind == "arbiter":
        arbiter.crash()
        world.later(duration, arbiter.boot)
        return
    ends = {("arbiter", host.name, -1)} | ({(host.name, "arbiter", -1)} if kind == "no-arbiter" else set())
    world.cut |= ends
    world.later(duration, lambda: world.cut.difference_update(ends))


def _pull_cable(world: World, host: Host, duration: int) -> None:
    cut = any(link != SERVICE_LINK for _, _, link in world.cut)
    if host.carrier and (world.arbiter is not None or not cut):
        host.set_carrier(False)
        world.later(duration, lambda: host.set_carrier(True))


def resume(world: World) -> None:
    """End every maintenance."""
    for host in world.hosts.values():
        if host.alive and host.machine.paused:
            host.soon(partial(host.feed, ev.MaintenanceChanged(host.machine.maintenance + 1)))


def heal(world: World) -> None:
    """Undo every fault; hosts that are down come back."""
    world.cut.clear()
    world.halt_chance = 0.0
    if world.arbiter is not None and not world.arbiter.up:
        world.arbiter.boot()
    for host in world.hosts.values():
        if not host.carrier:
            host.set_carrier(True)
        if not host.reference:
            host.set_reference(True)
        if not host.alive:
            host.boot()
    resume(world)


def troubled(seed: int, nodes: int = 2, arbitrated: bool = False,
             machine: type[PairMachine] = PairMachine) -> World:  # fmt: skip
    """Return a world that has just gone through a series of faults; raises Violation."""
    world = World(seed, nodes, arbitrated, machine)
    for host in world.hosts.values():
        world.at(world.random.randrange(2 * SECOND), host.boot)
    when = 0
    for _ in range(world.random.randrange(4, 16)):
        when += world.random.choice((world.random.randrange(1, 150), world.random.randrange(100, 3000))) * MS
        world.at(when, lambda: one_fault(world) if all(h.boots for h in world.hosts.values()) else None)
    world.run(when + 3 * SECOND)
    return world
