"""Connections that a takeover ends in a download: the client learns it, and never by an end of stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from tests.integration.pair import Pair

PORT = 7007
PLAIN = {"sack": False, "timestamps": False}
SERVER = """
    import os, socket, threading, time
    def serve(c):
        c.recv(99)
        while True:
            c.sendall(os.urandom(16384))
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 64)
    s.bind(("::", {port})); s.listen(99)
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
DOWNLOAD = """
    import json, socket, sys, time
    address, fast = sys.argv[1], sys.argv[2] == "fast"
    def start():
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if fast:
            s.sendto(b"go", socket.MSG_FASTOPEN, (address, {port}))
        else:
            s.connect((address, {port})); s.sendall(b"go")
        s.settimeout(20)
        return s
    if fast: # the first one gets a cookie for those that come after
        start().recv(1)
    s = start(); n = 0; kind = "stalled"
    try:
        while d := s.recv(65536):
            if not n: print("started", flush=True)
            n += len(d)
        kind = "end of stream"
    except ConnectionResetError: kind = "reset"
    except TimeoutError: pass
    used = not fast or bool(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 32)
    print(json.dumps(dict(kind=kind, bytes=n, used=used)), flush=True)
"""


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair whose servers give other bytes, so that every connection is detached."""
    script = tmp_path_factory.mktemp("unlike") / "server.py"
    script.write_text(textwrap.dedent(SERVER.format(port=PORT)))
    lab = Lab(f"test-resets-{os.getpid()}")
    try:
        lab.up((f"{PORT}/tcp={sys.executable} {script}",), ("divergence=detach",))
        for host in (CLIENT, "alpha", "beta"):
            lab.exec(host, ["sysctl", "-qw", "net.ipv4.tcp_fastopen=3"])
        yield Pair(lab)
    finally:
        lab.down()


@pytest.fixture
def lab(unlike: Pair) -> Lab:
    """That pair, in step, its client's link slow enough to be full."""
    experiment.mend(unlike.lab)
    make_fault(unlike.lab, "rate", "client", 100)
    return unlike.lab


def flows(lab: Lab, host: str, kind: str) -> int:
    """The number of flows of this kind that a node counts."""
    return int(Pair(lab).group(host)["flows"][kind])  # type: ignore[index]


def cut(
    lab: Lab, family: int, before: Callable[[], object], fault: str, fast: bool = False
) -> dict[str, object]:
    """Download, wait for `before`, make the fault, and return what the client saw."""
    address = "10.77.0.100" if family == 4 else "fd77::100"
    code = textwrap.dedent(DOWNLOAD.format(port=PORT))
    argv = [sys.executable, "-c", code, address, "fast" if fast else "plain"]
    with lab.popen(CLIENT, argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "started\n"
        before()
        make_fault(lab, fault, *([] if fault == "switchover" else ["primary"]))
        report: dict[str, object] = json.loads(client.stdout.readline())
    return report


@pytest.mark.parametrize("fault", ["crash-host", "kill-node", "kill-server", "switchover"])
@pytest.mark.parametrize(("family", "options"), [(6, {}), (4, PLAIN)], ids=["v6", "v4-plain"])
def test_a_detached_download_is_reset(lab: Lab, family: int, options: dict[str, bool], fault: str) -> None:
    """Its client stands further than the new primary has seen, and waits for data that nobody sends."""
    experiment.set_tcp_options(lab, options)
    before = flows(lab, "primary", "detached")

    def detached() -> None:
        await_condition(lambda: flows(lab, "primary", "detached") > before, 30, "the flow is detached")

    assert cut(lab, family, detached, fault)["kind"] == "reset"


@pytest.mark.parametrize("family", [4, 6])
def test_a_download_older_than_the_backup_is_reset(lab: Lab, family: int) -> None:
    """The backup has never seen its beginning."""
    make_fault(lab, "crash-host", "backup")

    def joined() -> None:
        make_fault(lab, "restart-host")
        lab.wait("synced")
        await_condition(lambda: flows(lab, "backup", "detached") > 0, 30, "the backup knows of it")

    assert cut(lab, family, joined, "crash-host")["kind"] == "reset"


@pytest.mark.parametrize("fault", ["crash-host", "kill-server"])
def test_a_fast_open_download_is_reset(lab: Lab, fault: str) -> None:
    """The backup's kernel answered the SYN in a space that is nothing to the client (RFC 7413)."""
    lab.exec("beta", ["sysctl", "-qw", "net.ipv4.tcp_fastopen=3"])  # a host that came back begins anew
    lab.exec("alpha", ["sysctl", "-qw", "net.ipv4.tcp_fastopen=3"])

    def known() -> None:
        await_condition(lambda: flows(lab, "backup", "detached") > 0, 30, "the backup has let go of it")

    report = cut(lab, 4, known, fault, fast=True)
    assert report["kind"] == "reset"
    assert report["used"]
