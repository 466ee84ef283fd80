"""One daemon alone on a real kernel: its start, its refusals, its death and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.hosts import await_condition
from tests.integration.netns import Namespace, needs_root

pytestmark = needs_root

FTTCP = str(Path(sys.executable).with_name("fttcp"))
CONFIG = """
[node]
name = "alpha"
cluster = "test"
key_file = "{home}/key"
run_dir = "{home}/run"
state_dir = "{home}/state"
service_interface = "svc0"
peer_interface = "peer0"
[peer]
name = "beta"
[[link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.2"
remote_v6 = "fd78::2"
[[group]]
name = "web"
addresses = ["10.77.0.100", "fd77::100"]
ports = ["80/tcp"]
command = "{python} -m http.server --bind 10.77.0.100 80"
timing = {{ hang_after_ms = 200 }}
"""


class Daemon:
    """One `fttcp node` in a namespace of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.net = home, Namespace()
        for name, address in (("svc0", "10.77.0.1/24"), ("peer0", "10.78.0.1/24")):
            self.net.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}x")
            for end in (name, f"{name}x"):
                self.net.run("ip", "link", "set", end, "up")
            self.net.run("ip", "addr", "add", address, "dev", name)
        # the far end of the cable is in this namespace: it must not answer for what lo has
        self.net.run("sysctl", "-qw", "net.ipv4.conf.svc0x.arp_ignore=8")
        self.net.run("ip", "addr", "add", "fd78::1/64", "dev", "peer0", "nodad")
        subprocess.run([FTTCP, "keygen", str(home / "key")], check=True, capture_output=True)
        self.config = home / "node.toml"
        self.config.write_text(CONFIG.format(home=home, python=sys.executable))
        self.before = self.network()
        self.process: subprocess.Popen[str] | None = None
        self.program: Sequence[str] = [FTTCP]

    def network(self) -> tuple[str, ...]:
        """What must be as before in the end."""
        tools = ("iptables-save", "ip6tables-save", "nft list ruleset")
        rules = [self.net.run(*tool.split()).splitlines() for tool in tools]
        chains = "\n".join(line for lines in rules for line in lines if "FTT" in line or " fttcp-" in line)
        return (chains, self.net.run("ip", "-br", "addr", "show", "lo"), self.net.run("ip", "rule"))

    def start(self, environment: dict[str, str] | None = None, prefix: Sequence[str] = ()) -> None:
        command = self.net.command(*prefix, *self.program, "node", "--config", str(self.config))
        environment = os.environ | (environment or {})
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FTTCP, *arguments, "--config", str(self.config)], capture_output=True, text=True
        )

    def group(self) -> dict[str, Any]:
        """The group's status; {} while the daemon does not answer."""
        done = self.tool("status", "--json")
        return dict(json.loads(done.stdout)["groups"][0]) if done.returncode == 0 else {}

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        group: dict[str, Any] = {}

        def check() -> bool:
            nonlocal group
            group = self.group()
            return condition(group)

        try:
            await_condition(check, 30, "the daemon")
        except LabError as error:
            raise AssertionError(f"{error}: {group}") from error
        return group

    def end(self, number: signal.Signals) -> tuple[int, str]:
        assert self.process is not None
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=15)
        return self.process.returncode, errors

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.net.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


def serving(group: dict[str, Any]) -> bool:
    return group.get("role") == "primary" and bool(group["server"]["healthy"])


def test_alone_it_serves_and_leaves_nothing_behind(daemon: Daemon) -> None:
    daemon.start()
    group = daemon.until(serving)
    assert group["mode"] == "solo" and group["lease_ms_left"] > 0 and not group["synced"]
    assert "10.77.0.100" in daemon.net.run("ip", "addr", "show", "lo")
    server = group["server"]["pid"]
    status, errors = daemon.end(signal.SIGTERM)
    assert status == 0, errors
    assert daemon.network() == daemon.before
    assert not Path(f"/proc/{server}").exists()
    assert not (daemon.home / "run" / "control.sock").exists()


def test_a_killed_daemon_is_silent_and_the_next_start_cleans_up(daemon: Daemon) -> None:
    daemon.start()
    server = daemon.until(serving)["server"]["pid"]
    daemon.end(signal.SIGKILL)
    await_condition(lambda: not Path(f"/proc/{server}").exists(), 30, "the server dies with its daemon")
    assert "queue num" in daemon.net.run("nft", "list", "ruleset"), "the rules must stay closed"
    daemon.start()
    daemon.until(serving)
    assert daemon.end(signal.SIGTERM)[0] == 0
    assert daemon.network() == daemon.before


def test_the_server_is_restarted_when_it_dies_or_hangs(daemon: Daemon) -> None:
    daemon.start()
    for number in (signal.SIGKILL, signal.SIGSTOP):
        pid = daemon.until(serving)["server"]["pid"]
        daemon.net.run("kill", f"-{number.value}", str(pid))
        daemon.until(lambda group, old=pid: serving(group) and group["server"]["pid"] != old)
    events = json.loads(daemon.tool("events", "--json").stdout)["events"]
    assert {"server-died", "server-hung"} <= {event["event"] for event in events}


def test_a_lost_carrier_silences_and_its_return_restores(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    daemon.net.run("ip", "link", "set", "svc0x", "down")
    daemon.until(lambda group: group["mode"] == "silent" and group["lease_ms_left"] == 0)
    daemon.net.run("ip", "link", "set", "svc0x", "up")
    daemon.until(lambda group: group["mode"] == "solo" and group["lease_ms_left"] > 0)


def test_only_one_daemon_runs_in_a_run_directory(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    second = daemon.net.command(FTTCP, "node", "--config", str(daemon.config))
    done = subprocess.run(second, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "another fttcp node runs here" in done.stderr
    assert serving(daemon.group())


def test_commands_say_what_is_wrong(daemon: Daemon) -> None:
    nobody = daemon.tool("status")
    assert nobody.returncode == 1 and "control.sock: no daemon answers there" in nobody.stderr
    daemon.start()
    daemon.until(serving)
    refused = daemon.tool("switchover", "web")
    assert refused.returncode == 1 and "not in step" in refused.stderr
    unknown = daemon.tool("switchover", "nothing")
    assert unknown.returncode == 1 and "groups: web" in unknown.stderr
    assert "no connections" in daemon.tool("connections").stdout


def test_a_wrong_configuration_ends_with_status_2(daemon: Daemon) -> None:
    daemon.config.write_text(daemon.config.read_text().replace("hang_after_ms = 200", "hang_after_ms = 1"))
    daemon.start()
    assert daemon.process is not None
    _, errors = daemon.process.communicate(timeout=10)
    assert daemon.process.returncode == 2
    assert "group[0].timing.hang_after_ms: 1 is below 20 (allowed: 20..600000)" in errors
