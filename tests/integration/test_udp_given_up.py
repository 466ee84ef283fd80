"""A server on the backup that gives a UDP session up, while the primary's goes on: it is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case, Disturbance
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import SERVICE4, SERVICE6
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named
from tests.integration.stations import events

pytestmark = needs_root

PATIENT = ("timing.detach_after_ms=60000",)
"""Replies that stay away are no sign yet."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from pair_named("givenup", PATIENT, ("tftp-get-512",))


def processes(lab: Lab, node: str) -> int:
    """Of tftpd: one that listens, and one for each transfer."""
    return len(lab.exec(node, ["pgrep", "-x", "in.tftpd"]).stdout.split())


@pytest.mark.parametrize("family", [4, 6])
def test_a_session_whose_server_gave_up_on_the_backup_is_not_protected(
    pair: Pair, family: int, tmp_path: Path
) -> None:
    """tftpd ends a transfer when one datagram cannot be sent, as while rules of routing are away."""
    lab = pair.ready().lab
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    before = len(events(lab, primary, "flow-detached"))
    service = SERVICE4 if family == 4 else SERVICE6

    def strike(lab: Lab) -> None:
        rule = f"from {service} unreachable pref 1".split()
        serving = processes(lab, backup)
        lab.host(backup).run(["ip", f"-{family}", "rule", "add", *rule])
        try:
            await_condition(lambda: processes(lab, backup) < serving, 30, "the end of the transfer there")
        finally:  # the kernel's word that nobody has the port needs a route, too
            lab.host(backup).run(["ip", f"-{family}", "rule", "del", *rule])
        await_condition(lambda: len(events(lab, primary, "flow-detached")) > before, 30, "it to be told")

    case = Case("tftp-get-512", family=family, moment_s=0.2)
    outcome = pair.run(case, tmp_path, Disturbance(strike, takeover=False, mends=True))
    assert outcome.ok, outcome.why
    assert events(lab, primary, "flow-detached")[-1]["reason"] == "refused"
