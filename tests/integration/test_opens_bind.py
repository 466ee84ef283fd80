"""Connections that a server opens without an address of its own: people are told of them, and the library of
lock step has them come from the service."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.cli.lockstep import lines
from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4, SERVICE6, cables
from tests.integration.netns import needs_root

pytestmark = needs_root

CLIENT4, CLIENT6 = "10.77.0.10", "fd77::10"
BEHIND, BYTES, SOME = 9000, 40_000_000, 2_000_000
NGINX = f"""
user root; error_log stderr; pid /run/nginx.pid; daemon off;
events {{ worker_connections 1024; }}
http {{ access_log off; proxy_max_temp_file_size 0;
    server {{ listen {SERVICE4}:80; location / {{ proxy_pass http://{CLIENT4}:{BEHIND}; PROXY_BIND }} }}
    server {{ listen [{SERVICE6}]:80; location / {{ proxy_pass http://[{CLIENT6}]:{BEHIND}; }} }}
}}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Both nodes run nginx, in front of a server in the client's host."""
    lab = Lab(f"test-opens-bind-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


def up(lab: Lab, chooses: str, *settings: str) -> None:
    """A pair whose servers connect to port 9000 of others; by IPv4 from an address of their choice."""

    def prepare(host: Host) -> None:
        (own, *_) = (cable.address4.ip for cable in cables(host.name))
        text = NGINX.replace("PROXY_BIND", chooses.replace("OWN", str(own)))
        (host.home / "root" / "nginx.conf").write_text(text)

    nginx = "80/tcp=nginx -p . -c nginx.conf"
    lab.up([nginx], ["lockstep=connection", f'opens=["{BEHIND}/tcp"]', *settings], prepare=prepare)


def download(lab: Lab, address: str, to: Path) -> subprocess.Popen[Any]:
    """What is behind, by way of the service. The client holds little, so the servers have more to say."""
    lab.exec(CLIENT, ["sysctl", "-q", "-w", "net.ipv4.tcp_rmem=4096 131072 1000000"])
    words = ["curl", "-sS", "--limit-rate", "4M", "-o", str(to), f"http://{address}/file"]
    return lab.popen(CLIENT, words, stderr=subprocess.PIPE, text=True)


def flows(lab: Lab) -> list[dict[str, Any]]:
    """What lives and has said something."""
    told = lab.ask(lab.node_in_role("primary"), {"op": "connections"}, 5)["connections"]
    return [flow for flow in told if not flow["closed"] and flow["bytes_in"]]


def lock_step(lab: Lab) -> dict[str, Any]:
    """What the primary's status says of the library."""
    (group,) = lab.ask(lab.node_in_role("primary"), {"op": "status"}, 5)["groups"]
    return dict(group["lockstep"])


def counts(lab: Lab) -> tuple[int, int]:
    """How many connections the library has bound, and how many have come from elsewhere."""
    drawn = lock_step(lab)["drawn"]
    return drawn["bound"], drawn["outward"]


@pytest.fixture
def behind(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """What is downloaded; its digest."""
    (tmp_path / "file").write_bytes(random.Random(3).randbytes(BYTES))
    yield hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


def serve_behind(lab: Lab, folder: Path) -> list[subprocess.Popen[Any]]:
    """The servers that nginx connects to; they listen."""
    serve = ["python3", "-u", "-m", "http.server", "--directory", str(folder), str(BEHIND), "--bind"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    servers = [lab.popen(CLIENT, [*serve, address], **pipes) for address in (CLIENT4, CLIENT6)]
    assert all(server.stdout and server.stdout.readline().startswith("Serving") for server in servers)
    return servers


def test_a_proxy_connects_from_the_service_and_outlives_its_host(
    lab: Lab, behind: str, tmp_path: Path
) -> None:
    """nginx has not chosen where from: IPv4 and IPv6. Both connections of a download go on."""
    up(lab, "", "opens_bind=true")
    running = serve_behind(lab, tmp_path)
    files = [tmp_path / name for name in ("v4", "v6")]
    try:
        curls = [download(lab, *pair) for pair in zip((SERVICE4, f"[{SERVICE6}]"), files, strict=True)]
        running += curls
        await_condition(
            lambda: all(file.exists() and file.stat().st_size > SOME for file in files), 30, "nothing comes"
        )
        both = ["local", "local", "remote", "remote"]
        await_condition(
            lambda: sorted(flow["opener"] for flow in flows(lab)) == both, 10, "both are known on both sides"
        )
        known = flows(lab)
        assert {flow["protection"] for flow in known} == {"protected"}, known
        assert counts(lab) == (2, 0)
        make_fault(lab, "crash-host", "primary")
        assert [curl.wait(60) for curl in curls] == [0, 0]
        assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] == [behind, behind]
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("settings", "bound"), [([], 0), (["opens_bind=true"], 1)], ids=["told", "bound"])
def test_what_comes_from_another_address_is_told(
    lab: Lab, behind: str, tmp_path: Path, settings: list[str], bound: int
) -> None:
    """Also of a server that has chosen that address itself (IPv4), and keeps it."""
    up(lab, "proxy_bind OWN;", *settings)
    running = serve_behind(lab, tmp_path)
    try:
        running += [download(lab, address, tmp_path / "got") for address in (SERVICE4, f"[{SERVICE6}]")]
        primary = lab.node_in_role("primary")
        await_condition(lambda: sum(counts(lab)) == 2, 30, "no connection")
        assert counts(lab) == (bound, 2 - bound)
        from4, from6 = (lab.env()[f"{primary.upper()}{family}"] for family in (4, 6))
        told = {(one["from"].rpartition(":")[0], one["to"]) for one in lock_step(lab)["outward"]}
        assert told == {
            (from4, f"{CLIENT4}:{BEHIND}"), *([] if bound else [(f"[{from6}]", f"[{CLIENT6}]:{BEHIND}")])
        }  # fmt: skip
        assert any(line.startswith("NOT PROTECTED") for line in lines(lock_step(lab)))
    finally:
        for process in running:
            process.kill()
            process.wait()
