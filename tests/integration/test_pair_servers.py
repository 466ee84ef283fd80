"""Unmodified servers whose host crashes, and crowds of connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.experiment import Case
from tests.integration.pair import Pair

WEB = ["http", "http-keepalive", "put", "http100", "http.server"]
ECHOES = ["echo", "echo-ncat", "udp-echo", "udp-echo-socat", "udp-echo-ncat", "udp-echo-large"]
TFTP = [f"tftp-{direction}-{block}" for direction in ("get", "put") for block in (512, 1468, 8192)]
CROWDS = ["many", "short", "request", "idle"]
ALL = WEB + ECHOES + TFTP + CROWDS


@pytest.mark.parametrize(("workload", "family"), [(name, 4 + 2 * (i % 2)) for i, name in enumerate(ALL)])
def test_crash(pair: Pair, workload: str, family: int, tmp_path: Path) -> None:
    """The host that serves crashes in the middle."""
    outcome = pair.run(Case(workload, "crash-host", family, moment_s=0.8, duration_s=2.5), tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("workload", ["http", "put", "tftp-get-1468", "tftp-put-1468", "echo", "many"])
def test_server_dies(pair: Pair, workload: str, tmp_path: Path) -> None:
    """The server's process is killed in the middle."""
    outcome = pair.run(Case(workload, "kill-server", moment_s=0.8, duration_s=2.5), tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize(("workload", "family"), [("tftp-get-1468", 6), ("tftp-put-8192", 4)])
def test_tftp_20_mb(pair: Pair, workload: str, family: int, tmp_path: Path) -> None:
    """A file of 20 MB over TFTP."""
    case = Case(workload, "crash-host", family, moment_s=1.5, duration_s=6.0, size=20_000_000)
    outcome = pair.run(case, tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("block", [1468, 8192])
def test_who_reads_by_tftp_needs_no_timer(pair: Pair, block: int, family: int, tmp_path: Path) -> None:
    """What the client said last died with the primary; it is asked for it, and need not say it again."""
    case = Case(f"tftp-get-{block}", "crash-host", family, moment_s=0.8, duration_s=2.5)
    outcome = pair.run(case, tmp_path)
    assert outcome.ok, outcome.why
    assert outcome.client["retried"] == 0
