"""Every kind of HTTPS goes on, through each fault: one nginx, clients of all kinds at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.network import CLIENT, SERVICE4
from lab.workloads.registry import ROOT
from tests.integration.in_step import Place, place_of
from tests.integration.tls_kinds import (
    DOWNLOADS,
    ECDSA,
    RSA,
    SESSIONS,
    SIZE,
    Running,
    curl,
    prepare,
    session,
    specs,
)

FAULTS = ("switchover", "kill-server", "kill-node", "crash-host")
HANDSHAKES = 32


@pytest.fixture(scope="module")
def module_place() -> Iterator[Place]:
    """Made once."""
    yield from place_of("tls", prepare, specs)


@pytest.fixture
def place(module_place: Place) -> Place:
    """In step again."""
    return module_place.mended()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_https_goes_on(place: Place, fault: str) -> None:
    """Protected before the fault, byte-exact through it; and sessions from before it are resumed after it."""
    for port, version in SESSIONS:
        assert "New, TLS" in session(place.lab, place.home, port, version, known=False)
    running = {name: Running(place.lab, curl(place.home, kind)) for name, kind in DOWNLOADS.items()}
    try:
        await_condition(
            lambda: all(one.received or one.ended() for one in running.values()),
            30.0,
            "all downloads to begin",
        )
        assert not (over := {name: one.finish() for name, one in running.items() if one.ended()}), over
        primary = place.lab.node_in_role("primary")
        assert place.flows(primary) == ["protected"] * len(running)
        assert all(one.received < SIZE // 4 for one in running.values())
        for one in running.values():
            one.go_on()
        make_fault(place.lab, fault)
        complaints = {name: one.finish() for name, one in running.items()}
    finally:
        for one in running.values():
            one.kill()
    assert not any(complaints.values()), complaints
    wrong = [name for name, one in running.items() if one.download.sha256 != place.sha256()]
    assert not wrong
    for port, version in SESSIONS:
        told = session(place.lab, place.home, port, version, known=True)
        assert "Reused, TLS" in told and "hello" in told, (port, version, told)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_handshake_ends_well_or_fails_cleanly(place: Place, fault: str) -> None:
    """32 connections, at all points of their handshakes, which go on while the roles change. None is answered
    with wrong bytes, none hangs, and most of them go on."""
    argv = [sys.executable, str(ROOT / "tests/integration/handshake_client.py")]
    words = [*argv, SERVICE4, str(HANDSHAKES), str(RSA), str(ECDSA)]
    with place.lab.popen(CLIENT, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout and client.stdin
        assert client.stdout.readline() == "held\n"
        client.stdin.write("go\n")
        client.stdin.flush()
        make_fault(place.lab, fault)
        told = json.load(client.stdout)
    ends = Counter(one["end"] for one in told)
    assert ends["well"] + ends["failed"] == HANDSHAKES, told
    assert ends["well"] >= HANDSHAKES // 2, told
    assert "hello" in session(place.lab, place.home, RSA, "-tls1_3", known=False)


def test_a_killed_daemon_of_the_backup_costs_protection_only(place: Place) -> None:
    """Downloads go on, which `status` says are not protected any more; later ones are, when it is back."""
    kinds = list(DOWNLOADS.values())[:2]
    for fault in ("kill-node", None):
        running = [Running(place.lab, curl(place.home, kind)) for kind in kinds]
        try:
            await_condition(lambda: all(one.received for one in running), 30.0, "downloads to begin")  # noqa: B023
            primary = place.lab.node_in_role("primary")
            assert place.flows(primary) == ["protected"] * 2
            if fault is not None:
                make_fault(place.lab, fault, "backup")
                await_condition(
                    lambda: sum("unprotected" in flow for flow in place.flows(primary)) == 2,  # noqa: B023
                    30,
                    "downloads to be unprotected",
                )
            assert not any(one.finish() for one in running)
        finally:
            for one in running:
                one.kill()
        assert {one.download.sha256 for one in running} == {place.sha256()}
        place.mended()
