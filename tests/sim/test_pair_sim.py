"""Role machines through random faults: never two emitters, and in the end the service is there."""

from __future__ import annotations

import os

import pytest

from fttcp.ownership import events as ev
from tests.sim.faults import heal, troubled
from tests.sim.world import MS, SECOND, World

RUNS = int(os.environ.get("FTTCP_SIM_RUNS", "36"))
LEAST_EVENTS = 1_000_000
"""What the worlds below must have lived through together."""
FIRST_SEED = int(os.environ.get("FTTCP_SIM_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + RUNS)
lived: list[int] = []
"""Events of each world that came to its end."""


def settle(world: World) -> None:
    """Heal, and wait for one node that serves, one in step, and the others in reserve."""
    world.note("heal")
    heal(world)
    world.run(world.now + 8 * SECOND)
    phases = sorted(str(host.machine.phase) for host in world.hosts.values())
    spares = ["joining"] * (len(world.hosts) - 2)
    assert phases == sorted(["following", "paired", *spares]), f"not in step in the end{world.story()}"
    assert [h.emits for h in world.hosts.values()].count(True) == 1, f"nobody serves{world.story()}"


def keep_one(world: World) -> None:
    """Of the two that are in step one alone must go on."""
    in_step = [host for host in world.hosts.values() if host.machine.in_step]
    survivor = world.random.choice(in_step)
    world.note(f"{survivor.name} alone")
    next(host for host in in_step if host is not survivor).crash()
    world.run(world.now + 2 * SECOND)
    assert survivor.emits, f"one healthy node does not serve{world.story()}"
    lived.append(world.events)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_nodes_without_an_arbiter(seed: int) -> None:
    world = troubled(seed)
    settle(world)
    keep_one(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_nodes_with_an_arbiter(seed: int) -> None:
    world = troubled(seed, arbitrated=True)
    settle(world)
    keep_one(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_nodes_that_hear_each_other_need_no_arbiter_in_the_end(seed: int) -> None:
    world = troubled(seed, arbitrated=True)
    heal(world)
    assert world.arbiter is not None
    world.arbiter.crash()
    world.run(world.now + 4 * SECOND)
    emitting = [host.emits for host in world.hosts.values()].count(True)
    assert emitting == 1, f"nobody serves without the arbiter{world.story()}"
    world.arbiter.boot()
    settle(world)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + (RUNS + 2) // 3))
def test_more_nodes_with_an_arbiter(seed: int) -> None:
    world = troubled(seed, nodes=3 + seed % 3, arbitrated=True)
    settle(world)
    keep_one(world)


def test_the_worlds_were_long_enough() -> None:
    if len(lived) >= 2 * RUNS:  # else only some of them were asked for
        assert sum(lived) >= LEAST_EVENTS or RUNS < 36


def takeover_ms(world: World, act: str) -> float:
    """Let the primary meet a fault; return how long nobody could emit."""
    for host in world.hosts.values():
        host.boot()
    world.run(3 * SECOND)
    primary = next(host for host in world.hosts.values() if host.emits)
    start = world.now
    if act == "crash":
        primary.crash()
    elif act == "server":
        primary.server_up = False  # and it does not come back
        primary.soon(primary.tell_health)
    else:
        primary.feed(ev.SwitchoverRequested(7, now=True))
    while not any(other.emits for other in world.others(primary)) and world.now < start + SECOND:
        world.run(world.now + MS // 10)
    return (world.now - start) / MS


@pytest.mark.parametrize(("act", "most_ms"), [("crash", 200), ("server", 200), ("switchover", 200)])
def test_a_paired_backup_takes_over_in_time(act: str, most_ms: int) -> None:
    for seed in range(20):
        world = World(seed)
        world.loss = 0.0
        assert takeover_ms(world, act) < most_ms, world.story()
