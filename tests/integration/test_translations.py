"""Rules that would translate what is sent to a service address have no effect, and the doctor says so."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lifecycle import Lab
from lab.network import SERVICE4
from tests.integration.netns import needs_root

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
    for word, then in (("one", lambda: lab.fault("crash-host", target="primary")), ("two", talk.stdin.close)):
        talk.stdin.write(f"{word}\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == f"{word}\n"
        then()
    assert talk.wait(10) == 0
