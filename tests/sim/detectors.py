"""False positives and delays of the fixed and the adaptive detector, from seeded networks.

    .venv/bin/python -m tests.sim.detectors --beats 200000 --seeds 10

Heartbeats leave every 20 ms. Each network is a way to be uneven, of which the detectors know nothing. A
false positive is a silence that a detector would have called a loss while the peer lived; after each the
count goes on. The delay is that between the death of the peer, at a random moment, and its loss being told.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fttcp.ownership.detector import MOST, PHI_LOST, PhiDetector, patience_ns
from fttcp.ownership.model import NS_PER_MS

INTERVAL_NS = 20 * NS_PER_MS
_LEARN = 50
"""Heartbeats after which the adaptive detector's patience is set again, as the daemon does."""

Network = Callable[[random.Random], Iterator[int | None]]
"""The delay of each heartbeat in nanoseconds, None for a lost one."""


def quiet(rng: random.Random) -> Iterator[int | None]:
    """A wire of one's own: tenths of a millisecond."""
    while True:
        yield int(abs(rng.gauss(0.1, 0.05)) * NS_PER_MS)


def lossy(rng: random.Random) -> Iterator[int | None]:
    """Every twentieth heartbeat is lost, one independent of the other."""
    for delay in quiet(rng):
        yield None if rng.random() < 0.05 else delay


def bursty(rng: random.Random) -> Iterator[int | None]:
    """Losses come in bursts (Gilbert): one in 500 begins one, of which a heartbeat ends every second."""
    bad = False
    for delay in quiet(rng):
        bad = rng.random() < (0.5 if bad else 0.002)
        yield None if bad else delay


def stalling(rng: random.Random) -> Iterator[int | None]:
    """A busy host: one in 300 heartbeats and all after it are held up for 20 to 120 ms, and come together."""
    held_ns = 0
    for delay in quiet(rng):
        held_ns = max(0, held_ns - INTERVAL_NS)
        if rng.random() < 1 / 300:
            held_ns = max(held_ns, int(rng.uniform(20, 120) * NS_PER_MS))
        yield delay + held_ns


NETWORKS: dict[str, Network] = {"quiet": quiet, "lossy": lossy, "bursty": bursty, "stalling": stalling}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run: false positives per million heartbeats; median and longest delay of a loss, and the
    shortest patience of all, in ms."""

    false_per_million: float
    median_ms: float
    longest_ms: float
    least_patience_ms: float


def simulate(network: Network, misses: int, adaptive: bool, beats: int, seed: int) -> Outcome:
    """Send that many heartbeats over a network and see what a detector makes of them; it waits for
    D * (1 + drift), D being ``misses`` intervals, or longer if it is adaptive."""
    rng = random.Random(seed)
    fixed_ns = misses * INTERVAL_NS * 1001 // 1000
    detector, patience = PhiDetector(INTERVAL_NS), fixed_ns
    last_ns, false, new = 0, 0, []
    delays_ms: list[float] = []
    least = patience
    for number, delay in zip(range(beats), network(rng), strict=False):
        if delay is not None:
            at_ns = max(last_ns, number * INTERVAL_NS + delay)
            false += at_ns - last_ns > patience
            new.append(at_ns - last_ns)
            last_ns = at_ns
        if number % _LEARN == 0:
            if adaptive:
                detector.extend(new)
                patience = patience_ns(detector, PHI_LOST, fixed_ns, int(fixed_ns * MOST))
                least = min(least, patience)
            new = []
            died_ns = number * INTERVAL_NS + rng.randrange(INTERVAL_NS)
            delays_ms.append(max(0, last_ns + patience - died_ns) / NS_PER_MS)
    return Outcome(false * 1e6 / beats, statistics.median(delays_ms), max(delays_ms), least / NS_PER_MS)


def table(beats: int, seeds: int) -> Iterator[str]:
    """Yield the lines of a Markdown table: mean of all seeds and, for false positives, their spread."""
    yield "| network | D | detector | false positives per million | loss told after, median | at most |"
    yield "|---|---|---|---|---|---|"
    for name, misses, kind in itertools.product(NETWORKS, (3, 5), ("fixed", "phi")):
        runs = [simulate(NETWORKS[name], misses, kind == "phi", beats, seed) for seed in range(seeds)]
        false = [run.false_per_million for run in runs]
        spread = statistics.stdev(false) if seeds > 1 else 0.0
        median = statistics.mean(run.median_ms for run in runs)
        longest = max(run.longest_ms for run in runs)
        lease_ms = misses * INTERVAL_NS // NS_PER_MS
        yield (
            f"| {name} | {lease_ms} ms | {kind} | {statistics.mean(false):.0f} ± {spread:.0f} | "
            f"{median:.0f} ms | {longest:.0f} ms |"
        )


def _main() -> int:
    parser = argparse.ArgumentParser(description="False positives of the failure detectors.")
    parser.add_argument("--beats", type=int, default=200_000, help="heartbeats of each run")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each network, seeds 0, 1, ..")
    options = parser.parse_args()
    for line in table(options.beats, options.seeds):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
