"""What peers and other programs do to a pair in a campaign: they really do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from lab.firewalls import IPTABLES
from lab.lifecycle import Lab
from tests.integration.pair import Pair

REFUSED = ("PAWSEstab", "TCPSYNChallenge", "TCPChallengeACK", "TCPACKSkippedChallenge", "TCPDSACKOldSent")
"""What a kernel counts of segments to which it answers only where it stands, if at all."""


def counters(lab: Lab, node: str) -> dict[str, int]:
    """The node's counters of TCP."""
    found = {}
    for file in ("netstat", "snmp"):
        lines = lab.exec(node, ["cat", f"/proc/net/{file}"]).stdout.splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            kind, *words = names.split()
            if kind in ("TcpExt:", "Tcp:"):
                found.update(zip(words, map(int, values.split()[1:]), strict=True))
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_forged_segments_are_refused_for_what_they_are(pair: Pair, family: int, tmp_path: Path) -> None:
    """Each reaches the primary's kernel with a right checksum, and is refused there."""
    primary = pair.lab.node_in_role("primary")
    before = counters(pair.lab, primary)
    outcome = pair.run(Case("odd-peer", family=family, duration_s=2.0), tmp_path)
    assert outcome.ok, outcome.why
    assert not outcome.detached
    after = counters(pair.lab, primary)
    assert after["InCsumErrors"] == before["InCsumErrors"]
    assert not [name for name in REFUSED if after[name] == before[name]]


@pytest.mark.parametrize("act", ["nft", "iptables", "restore"])
def test_acts_on_rules(pair: Pair, act: str) -> None:
    """Nobody else's rules survive them."""
    lab, node = pair.lab, pair.lab.node_in_role("backup")
    for tool in IPTABLES:
        lab.host(node).run([tool, "-t", "mangle", "-N", "OTHERS"])
    make_fault(lab, "rules", act, node)
    for tool in IPTABLES:
        assert lab.exec(node, [tool, "-t", "mangle", "-S", "OTHERS"]).returncode


def test_a_rule_in_front_of_all_others(pair: Pair) -> None:
    lab, node = pair.lab, pair.lab.node_in_role("backup")
    make_fault(lab, "rules", "accept", node)
    for tool in IPTABLES:
        first = lab.host(node).run([tool, "-t", "mangle", "-S", "OUTPUT", "1"])
        assert first.strip() == "-A OUTPUT -j ACCEPT"
    make_fault(lab, "heal")
    for tool in IPTABLES:
        assert "-A OUTPUT -j ACCEPT" not in lab.host(node).run([tool, "-t", "mangle", "-S", "OUTPUT"])
