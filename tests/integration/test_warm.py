"""A warm backup begins with a checkpoint: newer connections go on, older ones are reset, as told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, who_serves

pytestmark = needs_root

PORT = 6000
SERVER = f"""
import pathlib, socket, threading
path, lock = pathlib.Path("sum"), threading.Lock()
def serve(sock):
    for mine, line in enumerate(sock.makefile("rb"), 1):
        if line == b"mine\\n":
            sock.sendall(b"%d\\n" % mine)
            continue
        with lock:
            path.write_text(str(int(path.read_text()) + 1 if path.exists() else 1))
            sock.sendall(path.read_text().encode() + b"\\n")
with socket.create_server(("", {PORT})) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
DATAGRAMS = f"""
import collections, socket
counts = collections.Counter()
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.bind(("{SERVICE[4]}", {PORT}))
    while True:
        asked, who = sock.recvfrom(100)
        counts[who] += 1
        sock.sendto(b"%b %d" % (asked, counts[who]), who)
"""
"""Each session is told how often it has spoken."""
CLIENT_SCRIPT = """
import socket, sys
stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30).makefile("rwb")
for line in sys.stdin:
    try:
        stream.write(b"one more\\n")
        stream.flush()
        print(stream.readline().decode().strip() or "closed", flush=True)
    except ConnectionResetError:
        print("reset", flush=True)
"""
DATAGRAM_CLIENT = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.settimeout(1)
for number, line in enumerate(sys.stdin):
    answer = []
    while answer[:1] != [b"%d" % number]:  # the last one may be said again at a takeover
        try:
            if not answer:
                sock.sendto(b"%d" % number, (sys.argv[1], int(sys.argv[2])))
            answer = sock.recv(100).split()
        except TimeoutError:
            answer = []  # it went to the host that is gone
    print(answer[1].decode(), flush=True)
"""
CROWD = """
import json, socket, sys
crowd = {}
for line in sys.stdin:
    if line == "one more\\n":
        sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
        crowd[sock.getsockname()[1]] = sock.makefile("rwb"), []
    told = {}
    for port, (stream, said) in crowd.items():
        try:
            stream.write(b"mine\\n")
            stream.flush()
            said.append(stream.readline().decode().strip())
            told[port] = "kept" if said == list(map(str, range(1, len(said) + 1))) else repr(said)
        except ConnectionResetError:
            told[port] = "reset"
    print(json.dumps(told), flush=True)
"""
"""One more connection for each line that says so. All of them speak, and are told how often they have."""
HOOK = """
cd "$(dirname "$0")" || exit 1
case "$FTTCP_HOOK" in
checkpoint)
    while [ ! -e go ]; do sleep 0.05; done
    cp "$OLDPWD/sum" "copy.$FTTCP_CHECKPOINT" ;;
restore)
    if [ -e spoilt ]; then echo the dump cannot be read; exit 1; fi
    cp "copy.$FTTCP_CHECKPOINT" "$OLDPWD/sum" && cat told 2>/dev/null || echo "$FTTCP_CHECKPOINT" ;;
esac
"""


class Client:
    """Adds one to the sum, and is told it."""

    def __init__(self, lab: Lab, script: str) -> None:
        command = [sys.executable, "-c", script, SERVICE[4], str(PORT)]
        self._process = lab.popen(CLIENT, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def add(self) -> str:
        assert self._process.stdin and self._process.stdout
        print(file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def a_client(lab: Lab, script: str = CLIENT_SCRIPT) -> Iterator[Client]:
    client = Client(lab, script)
    try:
        yield client
    finally:
        client.end()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "datagrams.py").write_text(DATAGRAMS)
    (tmp_path / "hook").write_text(HOOK)
    return tmp_path


@pytest.fixture
def pair(files: Path) -> Iterator[Pair]:
    hook = f"sh {files}/hook"
    settings = ["standby=warm", "checkpoint_every_s=3600", "restart.start_within_s=1"]
    settings += ["hooks.timeout_ms=60000", f"hooks.checkpoint={hook}", f"hooks.restore={hook}"]
    lab = Lab(f"test-warm-{os.getpid()}")
    try:
        programs = {"tcp": "server.py", "udp": "datagrams.py"}
        lab.up(
            [f"{PORT}/{proto}={sys.executable} {files}/{name}" for proto, name in programs.items()], settings
        )
        yield Pair(lab)
    finally:
        lab.down()


def _flows(lab: Lab) -> list[dict[str, Any]]:
    flows = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    return [dict(flow) for flow in flows if not flow["closed"]]


def _await_checkpoint(pair: Pair, primary: str, backup: str) -> None:
    def known() -> bool:
        told = pair.group(primary)["checkpoint"]["told"]
        return bool(told) and pair.group(backup)["checkpoint"]["heard"] == told

    await_condition(known, 60, "the backup knows the checkpoint", 0.05)


def _await_protected(pair: Pair) -> None:
    def verified() -> bool:
        flows = [flow for flow in _flows(pair.lab) if flow["protection"] == "protected"]
        return bool(flows) and all(flow["verified"] == flow["bytes_out"] for flow in flows)

    await_condition(verified, 30, "the new connection is protected, and its output known", 0.05)


def test_what_is_newer_than_the_checkpoint_goes_on(pair: Pair, files: Path) -> None:
    lab, roles = pair.lab, [pair.lab.node_in_role(role) for role in ("primary", "backup")]
    with a_client(lab) as old:
        assert [old.add(), old.add(), old.add()] == ["1", "2", "3"]
        assert {flow["reason"] for flow in _flows(lab)} == {"before-checkpoint"}
        assert "nothing is protected" in pair.reasons("primary")["checkpoint"]
        (files / "go").touch()
        _await_checkpoint(pair, *roles)
        assert "checkpoint" not in pair.reasons("primary")
        with a_client(lab) as newer:
            assert [newer.add(), newer.add()] == ["4", "5"]
            _await_protected(pair)
            assert sorted(flow["reason"] for flow in _flows(lab)) == ["before-checkpoint", "none"]
            assert old.add() == "6"
            make_fault(lab, "crash-host", "primary")
            assert newer.add() == "6", "what the older one said after the checkpoint is lost, as told"
            assert old.add() == "reset"


def test_so_do_udp_sessions(pair: Pair, files: Path) -> None:
    lab, roles = pair.lab, [pair.lab.node_in_role(role) for role in ("primary", "backup")]
    with a_client(lab, DATAGRAM_CLIENT) as old, a_client(lab) as one:
        assert [old.add(), old.add(), one.add()] == ["1", "2", "1"]  # so there is a sum
        assert {flow["reason"] for flow in _flows(lab)} == {"before-checkpoint"}
        (files / "go").touch()
        _await_checkpoint(pair, *roles)
        with a_client(lab, DATAGRAM_CLIENT) as newer:
            assert [newer.add(), newer.add(), old.add()] == ["1", "2", "3"]
            reasons = sorted(flow["reason"] for flow in _flows(lab))
            assert reasons == ["before-checkpoint", "before-checkpoint", "none"]
            make_fault(lab, "crash-host", "primary")
            await_condition(lambda: who_serves(lab) == [roles[1]], 30, "the other one serves", 0.05)
            assert newer.add() == "3"
            assert old.add() == "1", "a new session, as told"


def test_what_is_lost_is_what_was_told(pair: Pair, files: Path) -> None:
    """Connections begin before, while and after a checkpoint is taken: exactly those are reset of which it is
    said."""
    lab, roles = pair.lab, [pair.lab.node_in_role(role) for role in ("primary", "backup")]
    crowd = lab.popen(
        CLIENT, [sys.executable, "-c", CROWD, SERVICE[4], str(PORT)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def speak(words: str = "one more") -> dict[str, str]:
        assert crowd.stdin and crowd.stdout
        print(words, file=crowd.stdin, flush=True)
        return dict(json.loads(crowd.stdout.readline()))

    def grows() -> bool:
        assert set(speak().values()) == {"kept"}
        return sum(flow["protection"] == "protected" for flow in _flows(lab)) > 3

    try:
        for _ in range(3):
            speak()
        with a_client(lab) as one:
            one.add()  # so there is a sum
        (files / "go").touch()
        await_condition(grows, 60, "some are protected", 0.05)
        _await_checkpoint(pair, *roles)
        _await_protected(pair)
        foretold = {str(flow["remote_port"]): flow["protection"] for flow in _flows(lab)}
        wanted = {port: "kept" if how == "protected" else "reset" for port, how in foretold.items()}
        assert set(wanted.values()) == {"kept", "reset"}, wanted
        make_fault(lab, "crash-host", "primary")
        assert speak("again") == wanted
    finally:
        crowd.kill()
        crowd.communicate()


def test_a_checkpoint_that_is_not_restored_serves_nobody(pair: Pair, files: Path) -> None:
    lab = pair.lab
    primary, backup = (lab.node_in_role(role) for role in ("primary", "backup"))
    with a_client(lab) as client:
        assert client.add() == "1"
    (files / "go").touch()
    _await_checkpoint(pair, primary, backup)
    (files / "spoilt").touch()
    make_fault(lab, "crash-host", primary)
    await_condition(
        lambda: "the dump cannot be read" in pair.group(backup)["server"]["reason"], 30, "it is refused", 0.05
    )
    (files / "told").write_text("another one\n")
    (files / "spoilt").unlink()
    await_condition(
        lambda: "did not say last" in pair.group(backup)["server"]["reason"], 30, "it is refused again", 0.05
    )
    assert who_serves(lab) == [] and not pair.group(backup)["server"]["pids"]
    (files / "told").unlink()
    await_condition(lambda: who_serves(lab) == [backup], 30, "it serves", 0.05)
