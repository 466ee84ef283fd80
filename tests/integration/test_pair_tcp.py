"""TCP's corners with a crash in the middle: options, windows, wrapping sequence numbers, every way to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import TCP_OPTIONS, Case
from tests.integration.pair import Pair, pair_named

NEAR_WRAP = 2**32 - 2_000_000
CLOSING = ["half-close", "half-close-server", "server-closes-first", "simultaneous-close"]
RESETTING = ["rst-client", "rst-server"]
WAITING = ["keepalive-idle", "zero-window", "zero-window-up"]
CORNERS = [*CLOSING, *RESETTING, *WAITING, "urgent"]


@pytest.mark.parametrize(("workload", "family"), [(name, 4 + 2 * (i % 2)) for i, name in enumerate(CORNERS)])
def test_corner_survives_a_crash(pair: Pair, workload: str, family: int, tmp_path: Path) -> None:
    """Half-closed, stopped, idle, reset, and ending connections."""
    outcome = pair.run(Case(workload, "crash-host", family, moment_s=1.0, duration_s=3.0), tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("workload", ["rst-client", "rst-server", "simultaneous-close", "half-close-server"])
def test_end_survives_the_server(pair: Pair, workload: str, tmp_path: Path) -> None:
    """The dying server's own FINs and RSTs must not be taken for the ends of the connections."""
    outcome = pair.run(Case(workload, "kill-server", moment_s=1.0, duration_s=2.5), tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("off", [(name,) for name in TCP_OPTIONS] + [tuple(TCP_OPTIONS)], ids=",".join)
def test_client_without_options(pair: Pair, off: tuple[str, ...], tmp_path: Path) -> None:
    """A client without SACK, without timestamps, without window scaling, without any of them."""
    case = Case("both", "crash-host", moment_s=0.8, duration_s=2.5, tcp=dict.fromkeys(off, False))
    outcome = pair.run(case, tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("fault", ["crash-host", "loss-both"])
def test_client_sequence_wraps(pair: Pair, fault: str, tmp_path: Path) -> None:
    """The client's sequence numbers pass 2^32 in mid-transfer."""
    case = Case("bulk-up", fault, moment_s=0.3, duration_s=2.0, rate=4_000_000, client_iss=NEAR_WRAP)
    outcome = pair.run(case, tmp_path)
    assert outcome.ok, outcome.why


@pytest.fixture(scope="module")
def wrapping() -> Iterator[Pair]:
    """A pair that shows its clients an ISS shortly before 2^32, so both nodes translate."""
    yield from pair_named("wrap", (f"experiment.service_iss={NEAR_WRAP}",), ("bulk-down", "both"))


@pytest.mark.parametrize(("workload", "fault"), [("bulk-down", "crash-host"), ("both", "loss-both")])
def test_service_sequence_wraps(wrapping: Pair, workload: str, fault: str, tmp_path: Path) -> None:
    """The service's sequence numbers pass 2^32 in mid-transfer, and SACK blocks with them."""
    case = Case(workload, fault, moment_s=0.3, duration_s=2.0, rate=4_000_000)
    outcome = wrapping.ready().run(case, tmp_path)
    assert outcome.ok, outcome.why


@pytest.fixture(scope="module")
def eager() -> Iterator[Pair]:
    """A pair whose primary does not wait for the backup: an experiment."""
    yield from pair_named("eager", ("experiment.strict_commit=false",), ("echo",))


def test_output_that_does_not_wait(eager: Pair, tmp_path: Path) -> None:
    """Nothing but a handshake and an end is held; the backup is in step, and this is told."""
    outcome = eager.ready().run(Case("echo", "none", moment_s=0.3, duration_s=1.0), tmp_path)
    assert outcome.ok, outcome.why
    group: Any = eager.group("primary")
    counters = group["counters"]
    assert counters["held"] <= 2 * counters["flows_opened"] < counters["commits_received"]
    assert group["commit"]["strict"] is False and eager.group("backup")["synced"]
