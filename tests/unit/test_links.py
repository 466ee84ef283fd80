"""What links of the lab are told, and when they need a program at all."""

from __future__ import annotations

from typing import Any

from lab import links, network
from lab.study.plan import understand
from lab.wire import PLAIN, Terms

CLIENT: list[dict[str, Any]] = [{"measure": "echo"}]


def test_terms_are_told_in_whole_units() -> None:
    terms = Terms(40, 0.5, 25, 2, 0.1, 2.5)
    assert terms.words(7) == "7 40000000 500000 2500000 1000 20000 250000"
    assert PLAIN.words(0) == "0 0 0 0 0 0 0" and PLAIN.trouble() == ""


def test_names_of_interfaces_are_short_enough() -> None:
    wired = [cable for link in links.LINKS for cable in network.cables(link=link)]
    assert wired and all(len(name) < 16 for cable in wired for name in (cable.wire_end, cable.wire_port))


def test_a_fault_makes_a_link() -> None:
    fault = {"kind": "link", "link": "peer", "from": "beta", "delay_ms": 3, "at_s": 1}
    study = understand({"name": "a", "client": CLIENT, "fault": [fault]}, "here")
    assert study.fault[0].arguments() == {"link": "peer", "sender": "beta", "delay_ms": 3}


def test_terms_add_up_and_the_lower_rate_counts() -> None:
    near, bad = Terms(delay_ms=1, rate_mbit=40), Terms(delay_ms=20, jitter_ms=5, loss_percent=1)
    assert bad.on_top_of(near) == Terms(delay_ms=21, jitter_ms=5, loss_percent=1, rate_mbit=40)
    slow = Terms(rate_mbit=10)
    assert slow.on_top_of(near).rate_mbit == near.on_top_of(slow).rate_mbit == 10
