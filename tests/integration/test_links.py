"""Two daemons with a link of every kind between them: each carries heartbeats, and may fail alone."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fttcp.wire import keyfile
from lab.hosts import await_condition
from tests.integration import wallclock
from tests.integration.netns import Namespace, Net, needs_root

pytestmark = needs_root

FTTCP = str(Path(sys.executable).with_name("fttcp"))
CONFIG = """
[node]
name = "{name}"
cluster = "test"
key_file = "{home}/key"
run_dir = "{home}/{name}/run"
state_dir = "{home}/{name}/state"
service_interface = "svc0"
peer_interface = "peer0"
[peer]
name = "{peer}"
[[link]]
interface = "peer0"
local = "10.78.0.{number}"
remote = "10.78.0.{other}"
[[link]]
transport = "multicast"
interface = "svc0"
remote = "239.255.77.1"
[[link]]
transport = "ethernet"
interface = "svc0"
remote = "03:00:5e:00:77:01"
[[link]]
transport = "serial"
device = "{tty}"
baud = 921600
[[group]]
name = "web"
addresses = ["10.77.0.100"]
ports = ["80/tcp"]
command = "{python} -m http.server --bind 10.77.0.100 80"
priority = {number}
[group.timing]
heartbeat_misses = 30  # the machine may be busy: what is cut here stays cut
"""


class Wire:
    """Two terminals, and a thread that carries bytes from each to the other until it is cut."""

    def __init__(self) -> None:
        self._ends = [pty.openpty() for _ in range(2)]
        self.names = [os.ttyname(slave) for _, slave in self._ends]
        for _, slave in self._ends:
            tty.setraw(slave)
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        masters = [master for master, _ in self._ends]
        while True:
            ready, _, _ = select.select([*masters, self._stop], [], [])
            if self._stop in ready:
                return
            for master in ready:
                os.write(masters[1 - masters.index(master)], os.read(master, 4096))

    def cut(self) -> None:
        """Let nothing more through."""
        os.write(self._wake, b"x")
        self._thread.join()

    def close(self) -> None:
        """Cut it if that was not done, and take it away."""
        if self._thread.is_alive():
            self.cut()
        for fd in (*(fd for end in self._ends for fd in end), self._stop, self._wake):
            os.close(fd)


class Nodes:
    """Alpha and beta, joined by two cables and a serial line."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home, self.wire, self._environment = home, Wire(), {**os.environ, **environment}
        self.places = {"alpha": Namespace(), "beta": Namespace()}
        Net.join(self.places["alpha"], "svc0", self.places["beta"], "svc0", "77")
        Net.join(self.places["alpha"], "peer0", self.places["beta"], "peer0", "78")
        subprocess.run([FTTCP, "keygen", str(home / "key")], check=True, capture_output=True)
        self.processes = [self._start(name) for name in self.places]

    def _config(self, name: str) -> Path:
        return self.home / f"{name}.toml"

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        number = 1 if name == "alpha" else 2
        text = CONFIG.format(
            name=name, peer="beta" if number == 1 else "alpha", home=self.home, number=number,
            other=3 - number, tty=self.wire.names[number - 1], python=sys.executable,
        )  # fmt: skip
        self._config(name).write_text(text)
        log = (self.home / f"{name}.log").open("wb")
        command = self.places[name].command(FTTCP, "node", "--config", str(self._config(name)))
        return subprocess.Popen(command, stderr=log, env=self._environment)

    def tool(self, name: str, *arguments: str) -> Any:
        """Return what a command says; {} while the daemon does not answer."""
        command = [FTTCP, *arguments, "--json", "--config", str(self._config(name))]
        done = subprocess.run(command, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def groups(self) -> list[dict[str, Any]]:
        """Return the group's status on both nodes."""
        said = [self.tool(name, "status") for name in self.places]
        return [status["groups"][0] for status in said if status]

    def await_links(self, links: list[int]) -> None:
        """Wait until both nodes are in step and hear each other on these links."""

        def there() -> bool:
            groups = self.groups()
            return len(groups) == 2 and all(
                group["synced"] and group["links_up"] == links for group in groups
            )

        await_condition(there, 20, f"links {links} on both nodes: {self.groups()}")

    def close(self) -> None:
        """End all."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        for place in self.places.values():
            place.close()
        self.wire.close()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return all that a node tells of."""
        return list(self.tool(name, "events")["events"])


@contextmanager
def running(home: Path, environment: Mapping[str, str]) -> Iterator[Nodes]:
    """Have both nodes, in step over all links."""
    nodes = Nodes(home, environment)
    try:
        nodes.await_links([0, 1, 2, 3])
        yield nodes
    finally:
        nodes.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with running(tmp_path, {}) as nodes:
        yield nodes


def test_a_lost_link_is_an_alarm_and_no_failover(nodes: Nodes) -> None:
    epochs = [group["epoch"] for group in nodes.groups()]
    nodes.wire.cut()
    nodes.await_links([0, 1, 2])
    for place in nodes.places.values():  # no IP any more but on the peer link; frames still pass
        place.run("iptables", "-I", "INPUT", "-d", "239.255.77.1", "-j", "DROP")
    nodes.await_links([0, 2])
    for place in nodes.places.values():
        place.run("iptables", "-F", "INPUT")
    nodes.await_links([0, 1, 2])
    assert [group["epoch"] for group in nodes.groups()] == epochs
    for name in nodes.places:
        events = nodes.events(name)
        assert {event["link"] for event in events if event["event"] == "link-lost"} == {1, 3}
        assert "peer-lost" not in {event["event"] for event in events}


def test_keys_are_exchanged_while_all_goes_on(nodes: Nodes) -> None:
    epochs = [group["epoch"] for group in nodes.groups()]
    for stage in (keyfile.add, keyfile.turn, keyfile.drop):
        ring = stage(nodes.home / "key")
        for name in nodes.places:
            (change,) = nodes.tool(name, "reload")["changed"]
            assert change.startswith("keys: ") and change.endswith(f" -> {ring}")
            nodes.await_links([0, 1, 2, 3])
    assert [group["epoch"] for group in nodes.groups()] == epochs
    for name in nodes.places:
        told = {event["event"] for event in nodes.events(name)}
        assert not told & {"intrusion", "peer-lost", "link-lost", "lease-lapsed"}


def test_steps_of_the_wall_clock_change_nothing(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    wallclock.put_off(clock, 0)
    with running(tmp_path, wallclock.environment(wallclock.library(tmp_path), clock)) as nodes:
        epochs = [group["epoch"] for group in nodes.groups()]
        began = datetime.fromisoformat(nodes.events("alpha")[0]["time"])
        for days in (1, -1, 0):
            wallclock.put_off(clock, days * 86_400)
            nodes.tool("alpha", "reload")  # makes an event, with the time that the daemon believes in
            now = datetime.fromisoformat(nodes.events("alpha")[-1]["time"])
            assert round((now - began) / timedelta(days=1)) == days
            sent = [group["counters"]["beats_sent"] for group in nodes.groups()]
            await_condition(
                lambda sent=sent: all(
                    group["counters"]["beats_sent"] > before + 200
                    for group, before in zip(nodes.groups(), sent, strict=True)
                ),
                20,
                "heartbeats after a step",
            )
            nodes.await_links([0, 1, 2, 3])
        assert [group["epoch"] for group in nodes.groups()] == epochs
        for name in nodes.places:
            told = {event["event"] for event in nodes.events(name)}
            assert not told & {"intrusion", "peer-lost", "link-lost", "lease-lapsed"}
