"""What links of the lab are told, and when they need a program at all."""

from __future__ import annotations

from typing import Any

import pytest

from lab import links, network
from lab.study.plan import understand

CLIENT: list[dict[str, Any]] = [{"measure": "echo"}]


def test_terms_are_told_in_whole_units() -> None:
    terms = links.Terms(40, 0.5, 25, 2, 0.1, 2.5)
    assert terms.words(7) == "7 40000000 500000 2500000 1000 20000 250000"
    assert links.PLAIN.words(0) == "0 0 0 0 0 0 0" and links.PLAIN.trouble() == ""


def test_names_of_interfaces_are_short_enough() -> None:
    wired = [cable for link in links.LINKS for cable in network.cables(link=link)]
    assert wired and all(len(name) < 16 for cable in wired for name in (cable.wire_end, cable.wire_port))


@pytest.mark.parametrize(
    ("link", "needed"),
    [
        ({"link": "client"}, False),
        ({"link": "client", "rate_mbit": 5, "loss_percent": 1}, False),
        ({"link": "peer", "loss_percent": 1}, False),
        ({"link": "peer", "rate_mbit": 5}, True),
        ({"link": "client", "delay_ms": 1}, True),
        ({"link": "client", "duplicate_percent": 1}, True),
        ({"link": "client", "loss_percent": 1, "from": "service"}, True),
    ],
)
def test_the_kernel_does_what_it_can(link: dict[str, Any], needed: bool) -> None:
    study = understand({"name": "a", "client": CLIENT, "link": [link]}, "here")
    assert study.link[0].needs_wire() == needed


def test_a_fault_makes_a_link() -> None:
    fault = {"kind": "link", "link": "peer", "from": "beta", "delay_ms": 3, "at_s": 1}
    study = understand({"name": "a", "client": CLIENT, "fault": [fault]}, "here")
    assert study.fault[0].arguments() == {"link": "peer", "sender": "beta", "delay_ms": 3}
