"""What had passed the gate and waits in the kernel for a neighbour must not outlive the role.

A reply to a client whose hardware address is not known waits in the kernel (arp_queue), behind every rule and
the engine. The cable is pulled, the other node takes over, the cable comes back, the neighbour is found:
nothing of the old primary may come out of the queue. The kernel throws it away by itself when the carrier
goes, but for what passes the gate after that and before the daemon knows; evict_nocarrier = 0 makes that
window as wide as a test needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab.lifecycle
from lab.capture import Capture
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6, sysctl
from lab.workloads.registry import serve_specs
from tests.integration.netns import needs_root

pytestmark = needs_root

STRANGER = {4: "10.77.0.55", 6: "fd77::55"}
SERVICE = {4: (SERVICE4, 1700), 6: (SERVICE6, 1701)}
REPLIES = 20
DEAF = f"""
add table arp deaf
add chain arp deaf heard {{ type filter hook input priority 0; }}
add rule arp deaf heard arp daddr ip {STRANGER[4]} drop
add table ip6 deaf
add chain ip6 deaf heard {{ type filter hook input priority 0; }}
add rule ip6 deaf heard ip6 daddr {{ {STRANGER[6]}, ff02::1:ff00:55 }} icmpv6 type nd-neighbor-solicit drop
"""
ASK = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.bind((sys.argv[1], 0))
    for number in range(int(sys.argv[4])):
        sock.sendto(b"%d" % number, (sys.argv[2], int(sys.argv[3])))
"""
FORGETFUL = """#!{python}
import sys
from fttcp.network import kernel
def nothing(socket, interface):
    pass
kernel.drop_unresolved = nothing
from fttcp.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def pair() -> Iterator[Lab]:
    """A pair that is not up yet; taken down at the end."""
    made = Lab(f"test-queue-{os.getpid()}")
    try:
        yield made
    finally:
        made.down()


def counter(pair: Lab, name: str) -> int:
    """A counter of alpha's engine."""
    (group,) = (node["groups"][0] for node in pair.status()["nodes"] if node["node"] == "alpha")
    return int(group["counters"][name])


def fill_the_queue(pair: Lab, family: int) -> None:
    """Have alpha release replies to a client that does not tell its hardware address."""
    alpha, client = pair.host("alpha"), pair.host(CLIENT)
    kind, keep = (("ipv4", "arp"), ("ipv6", "ndisc"))[family == 6]
    neighbours = f"net.{kind}.neigh.svc0"
    sysctl(alpha, {f"net.{kind}.conf.svc0.{keep}_evict_nocarrier": 0, f"{neighbours}.mcast_solicit": 100})
    client.run(["nft", "-f", "-"], text_input=DEAF)
    bits = "24" if family == 4 else "64"
    no_check = ["nodad"] if family == 6 else []
    client.run(["ip", "address", "add", f"{STRANGER[family]}/{bits}", "dev", "eth0", *no_check])
    service, port = SERVICE[family]
    mac = alpha.path("/sys/class/net/svc0/address").read_text().strip()
    # known for good: a question of the client's would tell its own address
    client.run(["ip", "neighbour", "replace", service, "lladdr", mac, "dev", "eth0", "nud", "permanent"])
    before = counter(pair, "out_packets")
    client.run([sys.executable, "-c", ASK, STRANGER[family], service, str(port), str(REPLIES)])
    await_condition(
        lambda: counter(pair, "out_packets") == before + REPLIES and counter(pair, "held_now") == 0,
        30,
        "all replies have passed the gate",
    )
    assert "INCOMPLETE" in alpha.run(["ip", "neighbour", "show", STRANGER[family], "dev", "svc0"])


def said_after_the_return(pair: Lab, family: int, directory: Path) -> list[str]:
    """Move the role by pulling alpha's cable, bring it back, let alpha find the client; returns what alpha
    then says in the service's name."""
    make_fault(pair, "cut", "client", "alpha")
    pair.wait("primary=beta")
    make_fault(pair, "heal")
    with Capture(pair, directory) as capture:
        pair.host(CLIENT).run(["nft", "flush", "ruleset"])
        pair.host("alpha").run(["ping", "-q", "-c", "1", "-w", "10", STRANGER[family]])
    return [emission.kind for emission in capture.emissions() if emission.host == "alpha"]


@pytest.mark.parametrize("family", [4, 6])
def test_nothing_waits_for_a_neighbour_beyond_the_role(pair: Lab, family: int, tmp_path: Path) -> None:
    pair.up(serve_specs(["udp-echo"]))
    fill_the_queue(pair, family)
    assert said_after_the_return(pair, family, tmp_path) == []


@pytest.mark.parametrize("family", [4, 6])
def test_the_test_sees_what_is_left_waiting(
    pair: Lab, family: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check itself: a daemon that leaves the queue alone speaks as the old primary."""
    forgetful = tmp_path / "fttcp"
    forgetful.write_text(FORGETFUL.format(python=sys.executable))
    forgetful.chmod(0o755)
    monkeypatch.setattr(lab.lifecycle, "fttcp_program", lambda: str(forgetful))
    pair.up(serve_specs(["udp-echo"]))
    fill_the_queue(pair, family)
    said = said_after_the_return(pair, family, tmp_path)
    assert said == ["ip" if family == 4 else "ip6"] * REPLIES
