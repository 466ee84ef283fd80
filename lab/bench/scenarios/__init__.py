"""The scenarios of the bench, each in a module of its own, in the order in which they run."""

from __future__ import annotations

from lab.bench.scenario import Scenario
from lab.bench.scenarios import (
    bulk,
    cost,
    cpu,
    echo,
    flood,
    flows,
    gaps,
    http,
    lockstep,
    memory,
    renewal,
    takeover,
)

POOLS = gaps.POOLS
SCENARIOS: tuple[Scenario, ...] = (
    bulk.SCENARIO,
    echo.SCENARIO,
    http.SCENARIO,
    flows.SCENARIO,
    cpu.SCENARIO,
    memory.SCENARIO,
    flood.SCENARIO,
    gaps.GAP,
    gaps.STALL,
    takeover.SCENARIO,
    renewal.SCENARIO,
    cost.SCENARIO,
    lockstep.SCENARIO,
)
