"""One worker on two data planes, that of C tests and Python's, given the same packets, does the same.

The recordings in tests/vectors are of real pairs: both nodes of a pair that served a download and an echo
and lost its primary, also with shifted sequence and timestamp spaces. Lost, repeated and exchanged steps
make more sequences of them.
"""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from fttcp.planes.experiment import Modify, Packet
from tests.replay import ROOT, config_of, differences, run_native, run_python

RECORDINGS = sorted((ROOT / "tests/vectors").glob("*.steps.gz"))
SEEDS = range(6)


def steps_of(recording: Path) -> list[str]:
    """The lines of a recording."""
    return gzip.decompress(recording.read_bytes()).decode().splitlines()


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


def test_there_are_recordings() -> None:
    assert len(RECORDINGS) >= 3


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_same_verdicts_edits_and_records(recording: Path) -> None:
    steps = steps_of(recording)
    done = run_native(steps)
    assert sum(map(len, done)) > 100, "the recording moves nothing"
    assert not list(differences(steps, done, run_python(steps)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_same_when_disturbed(recording: Path, seed: int) -> None:
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
