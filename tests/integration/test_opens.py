"""Connections that the server opens itself: protected like those that it accepts (`opens`)."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES
from tests.integration.netns import needs_root

ROOT = Path(__file__).parents[2]
SERVERS = Path(__file__).with_name("field_servers.py")
FTP_BYTES = 40_000_000
"""As field_servers.py has it: more than the client takes in this time, for what has ended is not renewed."""
FTP_SOME = 2_500_000
"""More than is under way."""
PEERS = [sys.executable, "-m", "tests.integration.opens_peers"]
PORT, OUT, SEED, COUNT = 4100, 9000, 77, 24 << 20
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 40) as at, at.makefile("rw") as lines:
    for line in sys.stdin:
        lines.write(line)
        lines.flush()
        print(lines.readline(), end="", flush=True)
"""

HERE: dict[str, Any] = {"env": os.environ | {"PYTHONPATH": str(ROOT)}}
pytestmark = needs_root


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    lab = Lab(f"test-opens-{os.getpid()}")
    serve = f"{PORT}/tcp=env PYTHONPATH={ROOT} {' '.join(PEERS)} serve {PORT}"
    try:
        lab.up([serve], [f'opens=["{OUT}/tcp"]', "experiment.space_seed=5"])
        yield lab
    finally:
        lab.down()


CALL = """
import socket, sys
with socket.create_connection((sys.argv[2], int(sys.argv[3])), 10, (sys.argv[1], 0)) as at:
    at.sendall(b"alone")
    sys.stdin.read()
"""
HEAR = """
import socket, sys
with socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True) as door:
    print("hears", flush=True)
    stream, _ = door.accept()
    stream.settimeout(25)
    print(stream.recv(5), flush=True)
    try:
        print(stream.recv(1), flush=True)
    except ConnectionResetError:
        print("reset", flush=True)
"""


def connections(lab: Lab) -> dict[str, list[dict[str, Any]]]:
    """All that either node knows."""
    return {node: lab.ask(node, {"op": "connections"}, 5)["connections"] for node in NODES}


def flows_out(lab: Lab) -> list[dict[str, Any]]:
    """What the primary shows of connections that its server has opened."""
    asked = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    return [flow for flow in asked if flow["opener"] == "local"]


@pytest.mark.parametrize("family", [4, 6])
def test_it_survives_a_crash_in_the_middle(shared: Lab, family: int) -> None:
    lab = shared
    experiment.revive(lab)
    service, client = (lab.env()[f"{name}{family}"] for name in ("SERVICE", "CLIENT"))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    hear = lab.popen("client", [*PEERS, "hear", str(OUT), str(SEED), str(COUNT)], **pipes, **HERE)
    assert hear.stdout and hear.stdout.readline() == "hears\n"
    ask = lab.popen("client", [sys.executable, "-c", ASK, service, str(PORT)], **pipes)
    assert ask.stdin and ask.stdout
    ask.stdin.write(f"{client} {OUT} {SEED} {COUNT}\n")
    ask.stdin.flush()
    assert [hear.stdout.readline() for _ in range(4)] == [f"{n}\n" for n in (1, 2, 3, 4)]
    (flow,) = flows_out(lab)
    assert (flow["protection"], flow["unrenewable"]) == ("protected", "log-too-long")
    make_fault(lab, "crash-host", target="primary")
    assert hear.stdout.read().splitlines()[-1] == "ok"
    assert ask.stdout.readline() == "ok\n"
    ask.stdin.close()
    assert ask.wait(20) == hear.wait(20) == 0


def test_tls_in_step_survives_a_crash(tmp_path: Path) -> None:
    """What a thread draws for a connection that it opens is drawn from that of the client which it serves."""
    lab = Lab(f"test-opens-tls-{os.getpid()}")
    pem = tmp_path / "pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=sink -days 2"
    subprocess.run(
        [*make.split(), "-keyout", pem, "-out", tmp_path / "cert"], check=True, capture_output=True
    )
    pem.write_text(pem.read_text() + (tmp_path / "cert").read_text())
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    try:
        serve = f"{PORT}/tcp=env PYTHONPATH={ROOT} {' '.join(PEERS)} serve {PORT}"
        lab.up([serve], [f'opens=["{OUT}/tcp"]', "lockstep=connection"])
        hear = lab.popen(
            "client", [*PEERS, "hear-tls", str(OUT), str(SEED), str(COUNT), str(pem)], **pipes, **HERE
        )
        assert hear.stdout and hear.stdout.readline() == "hears\n"
        ask = lab.popen("client", [sys.executable, "-c", ASK, lab.env()["SERVICE4"], str(PORT)], **pipes)
        assert ask.stdin and ask.stdout
        ask.stdin.write(f"{lab.env()['CLIENT4']} {OUT} {SEED} {COUNT} tls\n")
        ask.stdin.flush()
        assert [hear.stdout.readline() for _ in range(4)] == [f"{n}\n" for n in (1, 2, 3, 4)]
        assert all_protected(lab), connections(lab)
        make_fault(lab, "crash-host", target="primary")
        assert hear.stdout.read().splitlines()[-1] == "ok"
        assert ask.stdout.readline() == "ok\n"
        ask.stdin.close()
        assert ask.wait(20) == hear.wait(20) == 0
    finally:
        lab.down()


def test_what_the_backups_server_does_not_open_is_ended_at_a_takeover(shared: Lab) -> None:
    lab = shared
    experiment.revive(lab)
    service, client = lab.env()["SERVICE4"], lab.env()["CLIENT4"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    hear = lab.popen("client", [sys.executable, "-c", HEAR, str(OUT)], **pipes)
    assert hear.stdout and hear.stdout.readline() == "hears\n"
    lab.popen(lab.node_in_role("primary"), [sys.executable, "-c", CALL, service, client, str(OUT)], **pipes)
    assert hear.stdout.readline() == "b'alone'\n"
    (flow,) = (flow for flow in flows_out(lab) if flow["remote_port"] == OUT and flow["bytes_out"])
    assert (flow["protection"], flow["reason"]) == ("detached", "not-opened")
    make_fault(lab, "crash-host", target="primary")
    assert hear.stdout.readline() == "reset\n"
    assert hear.wait(20) == 0


def all_protected(lab: Lab) -> bool:
    """Is each connection of the service, and one that it has opened?"""
    told = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    living = [flow for flow in told if not flow["closed"]]
    opened = [flow for flow in living if flow["opener"] == "local"]
    return bool(opened) and {flow["protection"] for flow in living} == {"protected"}


def test_a_download_by_active_ftp_survives_two_crashes(tmp_path: Path) -> None:
    """The server connects out of port 20 to a port that the client chooses; a new backup's server does again.
    (In so wide a range what clients say to the service comes to the engine by the same way.)"""
    lab = Lab(f"test-opens-ftp-{os.getpid()}")
    wanted = random.Random(1).randbytes(FTP_BYTES)
    got = tmp_path / "got"
    try:
        lab.up([f"21/tcp={sys.executable} {SERVERS} vsftpd 21"], ['opens=["1024-65535/tcp"]'])
        # Its stack takes no more than it reads: a server that has said all is one that nobody opens to again.
        lab.exec("client", ["sysctl", "-q", "-w", "net.ipv4.tcp_rmem=4096 131072 1000000"])
        words = ["curl", "-sS", "--disable-eprt", "--ftp-port", "-", "--limit-rate", "1M", "-o", str(got)]
        curl = lab.popen(
            "client", [*words, f"ftp://{lab.env()['SERVICE4']}/file"], stderr=subprocess.PIPE, text=True
        )
        await_condition(lambda: got.exists() and got.stat().st_size > FTP_SOME, 30, "nothing comes")
        assert all_protected(lab)
        make_fault(lab, "crash-host", target="primary")
        experiment.revive(lab)
        await_condition(lambda: all_protected(lab), 30, "not renewed")
        make_fault(lab, "crash-host", target="primary")
        more = got.stat().st_size + FTP_SOME
        await_condition(
            lambda: curl.poll() is not None or got.stat().st_size > more, 30, "nothing more comes"
        )
        assert curl.poll() is None, curl.communicate()
        curl.kill()
        assert wanted.startswith(got.read_bytes())
    finally:
        lab.down()


def test_mail_that_exim_sends_on_survives_a_crash(tmp_path: Path) -> None:
    """Each node's exim gives the message a number and a date of its own, and sends it on. (The client is not
    faster than both can take it: a message that the backup does not get it cannot send on.)"""
    lab = Lab(f"test-opens-mail-{os.getpid()}")
    body = b"".join(b"%06d %060x\r\n" % (n, n * n) for n in range(300_000))
    (tmp_path / "message").write_bytes(b"Subject: large\r\n\r\n" + body)
    try:
        exim = f"{sys.executable} {SERVERS} relay 25 10.77.0.100 10.77.0.10"
        lab.up([f"25/tcp={exim}"], ['opens=["2525/tcp"]', "timing.opens_wait_ms=5000"])
        sink = lab.popen("client", [*PEERS, "mail", "2525"], stdout=subprocess.PIPE, text=True, **HERE)
        assert sink.stdout and sink.stdout.readline() == "hears\n"
        send = [
            "curl",
            "-sS",
            "--limit-rate",
            "8M",
            "--mail-from",
            "a@example",
            "--mail-rcpt",
            "b@example",
            "-T",
            str(tmp_path / "message"),
        ]
        assert lab.exec("client", [*send, "smtp://10.77.0.100/client.example"]).returncode == 0
        assert [sink.stdout.readline() for _ in range(4)] == [f"{n}\n" for n in (1, 2, 3, 4)]
        (flow,) = flows_out(lab)
        assert (flow["protection"], flow["reason"]) == ("protected", "none"), connections(lab)
        make_fault(lab, "crash-host", target="primary")
        assert sink.stdout.read().splitlines()[-1] == hashlib.sha256(body).hexdigest()
        assert sink.wait(20) == 0
    finally:
        lab.down()
