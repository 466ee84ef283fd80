"""Every kind of HTTPS goes on, through each fault: one nginx, clients of all kinds at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from lab.hosts import await_condition
from tests.integration.in_step import Place, place_of
from tests.integration.tls_kinds import DOWNLOADS, SESSIONS, SIZE, Running, curl, prepare, session, specs

FAULTS = ("switchover", "kill-server", "kill-node", "crash-host")


@pytest.fixture(scope="module")
def module_place() -> Iterator[Place]:
    """Made once."""
    for place in place_of("tls"):
        prepare(place.home)
        place.serve.extend(specs(place.home))
        place.up()
        yield place


@pytest.fixture
def place(module_place: Place) -> Place:
    """In step again."""
    return module_place.mended()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_https_goes_on(place: Place, fault: str) -> None:
    """Protected before the fault, byte-exact through it; and sessions from before it are resumed after it."""
    for port, version in SESSIONS:
        assert "New, TLS" in session(place.lab, place.home, port, version, known=False)
    sha256 = hashlib.sha256((place.home / "files" / "file").read_bytes()).hexdigest()
    running = {name: Running(place.lab, curl(place.home, kind)) for name, kind in DOWNLOADS.items()}
    try:
        await_condition(
            lambda: all(one.received or one.ended() for one in running.values()),
            30.0,
            "all downloads to begin",
        )
        assert not (over := {name: one.finish() for name, one in running.items() if one.ended()}), over
        primary = place.lab.node_in_role("primary")
        flows = place.connections(primary)
        assert [flow["protection"] for flow in flows] == ["protected"] * len(running), flows
        assert all(one.received < SIZE // 4 for one in running.values())
        place.lab.fault(fault)
        complaints = {name: one.finish() for name, one in running.items()}
    finally:
        for one in running.values():
            one.kill()
    assert not any(complaints.values()), complaints
    wrong = [name for name, one in running.items() if one.download.sha256 != sha256]
    assert not wrong
    for port, version in SESSIONS:
        told = session(place.lab, place.home, port, version, known=True)
        assert "Reused, TLS" in told and "hello" in told, (port, version, told)
