"""Rules that would translate what is sent to a service address have no effect, and the doctor says so."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from fttcp.cli.checks import Status
from fttcp.cli.translations import check_translations, of_nft, see_translations
from lab.faults import make_fault
from lab.lifecycle import Lab
from lab.network import SERVICE4, SERVICE6
from tests.integration.netns import Namespace, needs_root

FTTCP = str(Path(sys.executable).with_name("fttcp"))
ECHO = (
    'python3 -c "import socketserver as s; s.TCPServer.allow_reuse_address = True; '
    "s.ThreadingTCPServer(('', 80), type('H', (s.BaseRequestHandler,), {'handle': lambda h: "
    "[h.request.sendall(data) for data in iter(lambda: h.request.recv(99), b'')]})).serve_forever()\""
)
TALK = """
import socket, sys
stream = socket.create_connection((sys.argv[1], 80), 5)
for line in sys.stdin:
    stream.sendall(line.encode())
    print(stream.recv(99).decode(), end="", flush=True)
"""
RULES = (
    "iptables -t nat -A PREROUTING -d {address} -p tcp --dport 80 -j REDIRECT --to-ports 9",
    "nft add table ip mine; nft add chain ip mine c '{{ type nat hook prerouting priority -110; }}'; "
    "nft add rule ip mine c tcp dport 80 dnat to 10.77.0.9",
)
SERVICES, HTTP = [ip_address(SERVICE4), ip_address(SERVICE6)], [(80, 80, "tcp")]
NAT = "ip told nat"
NFT_RULES = [
    ("ip daddr . tcp dport { 10.77.0.100 . 80 } dnat to 10.0.0.2", True),
    ("dnat to ip daddr map { 10.77.0.100 : 10.0.0.9 }", True),
    ("ip daddr != 10.0.0.1 tcp dport != 81 redirect to :1", True),
    ("meta l4proto tcp ip daddr 10.77.0.100 counter redirect to :8080", True),
    ("ip daddr 10.77.0.100 tcp dport { 80, 90-99 } redirect to :8080", True),
    ("ip daddr 10.77.0.100 tcp dport { 81, 90-99 } redirect to :8080", False),
    ("tcp dport 80 dnat to 10.0.0.1", True),
    ("udp dport 80 dnat to 10.0.0.1", False),
    ("ip daddr 10.77.0.0/24 dnat to 10.0.0.1", True),
    ("ip daddr 10.77.0.2-10.77.0.99 dnat to 10.0.0.1", False),
    ("ip daddr { 10.77.0.2, 10.77.0.100 } dnat to 10.0.0.1", True),
    ("ip daddr 10.78.0.0/24 tcp dport 80 dnat to 10.0.0.1", False),
    ("tcp dport 70-90 redirect to :1", True),
    ("ip daddr 10.77.0.100 tcp dport 80 accept", False),
]


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab(f"test-translations-{os.getpid()}")
    try:
        lab.up([f"80/tcp={ECHO}"])
        yield lab
    finally:
        lab.down()


@needs_root
@pytest.mark.parametrize("rule", RULES, ids=["iptables", "nft"])
def test_a_translation_does_nothing_and_is_told(lab: Lab, rule: str) -> None:
    for node in ("alpha", "beta"):
        lab.host(node).run(["sh", "-ec", rule.format(address=SERVICE4)])
        config = lab.host(node).home / "node.toml"
        told = lab.host(node).run(["sh", "-c", f"{FTTCP} doctor --json --config {config} 2>&1 || true"])
        assert told.startswith("{"), told
        found = [one for one in json.loads(told)["checks"] if one["name"] == "translation"]
        assert [one["status"] for one in found] == ["warn"] and "has no effect" in found[0]["seen"]
    talk = lab.popen("client", [sys.executable, "-c", TALK, SERVICE4], stdin=-1, stdout=-1, text=True)
    assert talk.stdin and talk.stdout
    for word, then in (
        ("one", lambda: make_fault(lab, "crash-host", target="primary")),
        ("two", talk.stdin.close),
    ):
        talk.stdin.write(f"{word}\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == f"{word}\n"
        then()
    assert talk.wait(10) == 0


@needs_root
def test_rules_of_iptables_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Namespace()) as there:
        for rule in (
            "-d 10.77.0.100 -p tcp --dport 80 -j DNAT --to 10.0.0.1",
            "-p tcp -j REDIRECT --to-ports 9",
        ):
            there.run("iptables", "-t", "nat", "-A", "PREROUTING", *rule.split())
        monkeypatch.setattr("fttcp.cli.translations._said", lambda words: there.run(*words, check=False))
        monkeypatch.setattr("fttcp.cli.translations._TOOLS", ("iptables-save", "ip6tables-save"))
        assert [line[:14] for line in see_translations(SERVICES, HTTP)] == ["-A PREROUTING "] * 2


@needs_root
@pytest.mark.parametrize(("rule", "told"), NFT_RULES)
def test_rules_of_nftables_that_have_no_effect(rule: str, told: bool) -> None:
    with closing(Namespace()) as there:
        there.run("nft", f"add table {NAT.rpartition(' ')[0]}")
        there.run("nft", f"add chain {NAT} {{ type nat hook prerouting priority -100; }}")
        there.run("nft", f"add rule {NAT} {rule}")
        listed = there.run("nft", "list", "ruleset")
    found = list(of_nft(listed, SERVICES, HTTP))
    assert bool(found) is told and all(NAT in one for one in found)
    (check,) = check_translations(found)
    assert check.status is (Status.WARN if told else Status.OK)
