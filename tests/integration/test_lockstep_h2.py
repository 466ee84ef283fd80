"""Streams of HTTP/2 side by side go on: sockets of their nginx take all that a client's windows allow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.network import SERVICE4
from tests.integration.in_step import Place, place_of
from tests.integration.tls_kinds import H2, SIZE, Running, prepare

CLIENTS, STREAMS = 3, 4
ROOM = 2 * STREAMS * SIZE
"""With what the kernel counts besides, all of a connection: curl's windows are larger."""


def specs(home: Path) -> list[str]:
    """A socket has this room from its beginning, if the server starts after it was set."""
    room = f"echo 4096 {ROOM} {ROOM} > /proc/sys/net/ipv4/tcp_wmem"
    return [f"{H2}/tcp=sh -c '{room}; exec nginx -c {home}/nginx.conf -p .'"]


@pytest.fixture(scope="module")
def module_place() -> Iterator[Place]:
    """Made once."""
    yield from place_of("h2", prepare, specs)


@pytest.fixture
def place(module_place: Place) -> Place:
    """In step again."""
    return module_place.mended()


def curl(files: list[Path]) -> list[str]:
    """A client that asks for the same file at once on one connection, for its output and for these."""
    words = "curl --silent --no-progress-meter --show-error --insecure --http2 --parallel --max-time 60"
    to = ["-", *map(str, files)]
    return [*words.split(), *(word for one in to for word in ("-o", one, f"https://{SERVICE4}:{H2}/file"))]


@pytest.mark.parametrize("fault", ["crash-host", "switchover"])
def test_streams_side_by_side_go_on(place: Place, fault: str) -> None:
    """Of clients that take no more in the middle of them: protected, and byte-exact through the fault."""
    files = [[place.home / f"{fault}-{n}-{i}" for i in range(1, STREAMS)] for n in range(CLIENTS)]
    running = [Running(place.lab, curl(of_client)) for of_client in files]
    try:
        await_condition(lambda: all(one.received or one.ended() for one in running), 30.0, "streams to begin")
        primary = place.lab.node_in_role("primary")
        assert place.flows(primary) == ["protected"] * CLIENTS
        assert all(one.received < SIZE // 4 for one in running)
        for one in running:
            one.go_on()
        make_fault(place.lab, fault)
        assert not any(complaints := [one.finish() for one in running]), complaints
    finally:
        for one in running:
            one.kill()
    sums = {hashlib.sha256(file.read_bytes()).hexdigest() for of_client in files for file in of_client}
    assert sums | {one.download.sha256 for one in running} == {place.sha256()}
