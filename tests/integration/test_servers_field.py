"""Unmodified servers of the field whose host crashes: their clients get right bytes, or a reset.

docs/servers.md tells what each of them gets ("Will my server work?").
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import SERVICE
from tests.integration.netns import needs_root
from tests.integration.pair import Pair

pytestmark = needs_root

SERVERS = Path(__file__).with_name("field_servers.py")
PORTS = {"exim": 25, "mosquitto": 1883, "redis": 6379, "postgres": 5432, "git": 9418}
PROTOCOLS = {"exim": "smtp", "mosquitto": "mqtt", "redis": "redis", "postgres": "postgres"}


class Asker:
    """A client of one connection."""

    def __init__(self, lab: Lab, server: str, family: int = 4, protocol: str = "") -> None:
        program = str(Path(__file__).with_name("field_client.py"))
        place = [SERVICE[family], str(PORTS[server])]
        self._process = lab.popen(
            CLIENT, [sys.executable, program, protocol or PROTOCOLS[server], *place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self, what: str, count: int) -> None:
        """Have it ask."""
        assert self._process.stdin
        print(what, count, file=self._process.stdin, flush=True)

    def answer(self) -> str:
        """How that went."""
        assert self._process.stdout and self._process.stderr
        return self._process.stdout.readline().rstrip("\n") or self._process.stderr.read()

    def ask(self, what: str, count: int = 1) -> str:
        """Ask, and say how that went."""
        self.begin(what, count)
        return self.answer()

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()


Serve = Callable[..., Pair]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Makes a pair that serves one of them."""
    lab = Lab(f"test-field-{os.getpid()}")

    def serving(server: str, *settings: str) -> Pair:
        command = shlex.join([sys.executable, str(SERVERS), server, str(PORTS[server])])
        lab.up((f"{PORTS[server]}/tcp={command}",), settings)
        return Pair(lab)

    try:
        yield serving
    finally:
        lab.down()


def flows(lab: Lab, role: str = "primary") -> list[dict[str, Any]]:
    """What a node knows of the connections."""
    return list(lab.ask(lab.node_in_role(role), {"op": "connections"}, 5)["connections"])


def settled(lab: Lab) -> bool:
    """Whether of each connection both outputs are known to be the same, or it is not protected."""
    return all(
        flow["continues"] or flow["protection"] == "detached" for flow in flows(lab, "backup")
    ) and all(flow["continues"] or flow["protection"] == "detached" for flow in flows(lab))


GOES_ON, JUDGED = {"right"}, {"right", "reset"}
CASES: dict[str, dict[str, set[str]]] = {
    "mosquitto": {"publish": GOES_ON},
    "redis": {"incr": GOES_ON, "info": JUDGED},
    "postgres": {"same": GOES_ON, "clock": JUDGED},
}


@pytest.mark.parametrize("server", CASES)
def test_its_host_crashes(serve: Serve, server: str) -> None:
    """One connection of each kind rests then, another one is in the middle of it."""
    lab = serve(server, 'state="memory"').lab
    resting = [(Asker(lab, server, 4), what, after) for what, after in CASES[server].items()]
    moving = [(Asker(lab, server, 6), what) for what in CASES[server]]
    try:
        assert {asker.ask(what, 5) for asker, what, _ in resting} == {"right"}
        assert {asker.ask(what) for asker, what in moving} == {"right"}
        await_condition(lambda: settled(lab), 30, "both outputs to be compared")
        for asker, what in moving:
            asker.begin(what, 20)
        make_fault(lab, "crash-host", "primary")
        for asker, what, after in resting:
            assert asker.ask(what, 5) in after, what
        for asker, what in moving:
            assert asker.answer() in JUDGED, what
    finally:
        for asker in [one for one, *_ in resting] + [one for one, *_ in moving]:
            asker.end()


def test_a_subscriber_that_only_pings(serve: Serve) -> None:
    """Its broker counts how long it was silent; so does the other one."""
    lab = serve("mosquitto", 'state="memory"').lab
    asker = Asker(lab, "mosquitto", 4, "idle")
    try:
        assert asker.ask("idle", 2) == "right"
        make_fault(lab, "crash-host", "primary")
        assert asker.ask("idle", 3) == "right"
        assert asker.ask("publish", 3) == "right"
    finally:
        asker.end()


def test_a_mail_server_that_is_slower_on_the_backup(serve: Serve) -> None:
    """exim refuses who speaks before it has answered: to it, nobody does, in eight dialogues at once."""
    lab = serve("exim").lab
    backup = lab.host(lab.node_in_role("backup")).name
    root = lab.home / backup / "root"
    (root / "slow").touch()
    dialogues = [Asker(lab, "exim", 4 + 2 * (i % 2)) for i in range(8)]
    try:
        for dialogue in dialogues:
            dialogue.begin("mail", 3)
        assert [dialogue.answer() for dialogue in dialogues] == 8 * ["right"]
        assert [flow for flow in flows(lab) if flow["protection"] != "protected"] == []
        await_condition(lambda: settled(lab), 30, "both outputs to be compared")
        make_fault(lab, "crash-host", "primary")
        for dialogue in dialogues:
            dialogue.begin("mail", 2)
        assert [dialogue.answer() for dialogue in dialogues] == 8 * ["right"]
    finally:
        for dialogue in dialogues:
            dialogue.end()
    assert "synchronization" not in (root / "exim-mainlog").read_text()


def test_a_clone_is_whole_or_reset(serve: Serve, tmp_path: Path) -> None:
    """git's progress lines depend on the clock: the flow cannot go on, and its client must notice."""
    lab = serve("git").lab
    make_fault(lab, "rate", "client", 200)
    command = ["git", "clone", "--progress", "--bare", f"git://{SERVICE[4]}/field.git"]
    clone = lab.popen(
        CLIENT, [*command, str(tmp_path / "clone")], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert clone.stderr
        said = b""
        while b"Receiving objects:  10%" not in said:
            more = os.read(clone.stderr.fileno(), 4096)
            assert more, said
            said += more
        make_fault(lab, "crash-host", "primary")
        said += clone.communicate(timeout=60)[1]
    finally:
        clone.kill()
    if clone.returncode == 0:
        subprocess.run(["git", "-C", tmp_path / "clone", "fsck", "--full", "--strict"], check=True)
    else:
        assert b"Connection reset by peer" in said and b"protocol error" not in said, said[-500:]


def test_iperf3_sends_on_and_what_it_draws_is_told() -> None:
    """What a client sends goes on; what each server fills with random bytes of its own is detached."""
    lab = Lab(f"test-field-{os.getpid()}")
    words = ["iperf3", "-c", SERVICE[4], "-i", "0.2", "--forceflush"]
    try:
        lab.up(("5201/tcp=iperf3 -s",))
        make_fault(lab, "rate", "client", 100)
        with lab.popen(CLIENT, [*words, "-R", "-t", "30"], stdout=subprocess.DEVNULL) as reading:
            detached = {("detached", "divergence")}
            await_condition(
                lambda: detached <= {(flow["protection"], flow["reason"]) for flow in flows(lab)},
                20,
                "it is told",
            )
            reading.kill()
        await_condition(lambda: all(flow["closed"] for flow in flows(lab)), 20, "the end of that one")
        with lab.popen(
            CLIENT, [*words, "-t", "3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as sending:
            assert sending.stdout and sending.stderr
            next(line for line in sending.stdout if b"Mbits/sec" in line)
            make_fault(lab, "crash-host", "primary")
            said, error = sending.communicate(timeout=60)
        assert sending.returncode == 0 and b"iperf Done" in said, said + error
    finally:
        lab.down()
