"""One worker on two data planes, that of C tests and Python's, given the same packets, does the same.

The recordings in tests/vectors are the packets of real pairs, of both nodes: they served a download and an
echo and lost their primary, also with shifted sequence and timestamp spaces. What the nodes told each other
is made from them anew. Lost, repeated and exchanged steps make more sequences of them.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter
from functools import cache

import pytest

from fttcp._native import lib
from fttcp.planes.experiment import Modify, Packet
from tests.replay import ROOT, config_of, differences, paired, run_native, run_python

PAIRS = ("crash", "shifted")
RECORDINGS = [(pair, node) for pair in PAIRS for node in range(2)]
SEEDS = range(6)


@cache
def pair_of(name: str) -> list[list[str]]:
    """The steps of both nodes of a pair."""
    files = (ROOT / f"tests/vectors/{name}-{node}.steps.gz" for node in ("alpha", "beta"))
    return paired([gzip.decompress(file.read_bytes()).decode().splitlines() for file in files])


def steps_of(recording: tuple[str, int]) -> list[str]:
    """The steps of one node of a pair."""
    name, node = recording
    return pair_of(name)[node]


def disturbed(steps: list[str], seed: int) -> list[str]:
    """Lose, repeat and exchange some packets and records, take the lease away at times, and change some
    limits; times stay in order."""
    chance = random.Random(seed)
    config = config_of(steps) | {
        "max_held": chance.choice((2, 1024)), "detach_after_ns": chance.choice((20_000_000, 2_000_000_000)),
        "detach_divergent": chance.choice((0, 1)), "max_half_open": chance.choice((1, 4096)),
        "order_service": seed % 2,
    }  # fmt: skip
    if chance.random() < 0.25:
        config |= {"shift_spaces": 1, "space_seed": chance.randrange(1, 1 << 32)}
    lines: list[str] = []
    for line in steps[1:]:
        if line.split()[0] in ("in", "out", "record"):
            copies = chance.choices((0, 1, 2), (5, 90, 5))[0]
            lines += [line] * copies
            if (
                copies
                and len(lines) > 1
                and chance.random() < 0.05
                and lines[-2].split()[0] == line.split()[0]
            ):
                lines[-1], lines[-2] = lines[-2], lines[-1]
        else:
            lines.append(line)
        if chance.random() < 0.02:  # the lease runs out, or comes back
            lines.append(f"lease {chance.randrange(2)}")
    latest = 0
    for i, line in enumerate(lines):
        what, first, *rest = line.split()
        if what != "lease":
            latest = max(latest, int(first))
            lines[i] = " ".join((what, str(latest), *rest))
    return ["config " + " ".join(f"{name}={value}" for name, value in config.items()), *lines]


@pytest.mark.parametrize("name", PAIRS)
def test_a_recorded_pair_protects_what_it_serves(name: str) -> None:
    """Else little of the flows' code would be compared."""
    alpha, beta = (
        Counter(int(line.split()[2][:2], 16) for line in steps if line.startswith("record"))
        for steps in pair_of(name)
    )
    assert beta[lib.FTT_REC_OPEN] == alpha[lib.FTT_REC_OPENED] == 3
    assert not alpha[lib.FTT_REC_REFUSED] + alpha[lib.FTT_REC_DETACHED]
    assert alpha[lib.FTT_REC_COMMIT] > 100 and beta[lib.FTT_REC_OUTPUT] > 100
    done = run_native(pair_of(name)[1])
    assert sum("accept" in line for lines in done for line in lines) > 50


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_same_verdicts_edits_and_records(recording: tuple[str, int]) -> None:
    steps = steps_of(recording)
    done = run_native(steps)
    assert sum(map(len, done)) > 100, "the recording moves nothing"
    assert not list(differences(steps, done, run_python(steps)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_same_when_disturbed(recording: tuple[str, int], seed: int) -> None:
    steps = disturbed(steps_of(recording), seed)
    assert not list(differences(steps, run_native(steps), run_python(steps)))


def test_same_when_an_experiment_gives_each_packet_anew() -> None:
    """Then every packet that goes does so with the bytes that it was given."""
    asked = 0

    def anew(packet: Packet) -> Modify:
        nonlocal asked
        asked += 1
        return Modify(bytes(packet.data))

    steps = steps_of(RECORDINGS[0])
    sent = [line.split()[2] for line in steps if line.split()[0] in ("in", "out")]

    def whole(line: str) -> str:
        what, number, *verdict = line.split(" ")
        goes_as_it_was = what == "verdict" and verdict == ["accept", ""]
        return line + sent[int(number)] if goes_as_it_was else line

    done = [[whole(line) for line in lines] for lines in run_native(steps)]
    assert not list(differences(steps, done, run_python(steps, anew)))
    assert asked == len(sent) > 100
