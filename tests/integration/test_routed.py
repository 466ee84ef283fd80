"""Nodes on different segments: the service address is a host route, which BIRD announces from whoever serves.

client 10.9.0.2 -- router -- 10.1.0.2 alpha -- 10.78.0.0/30 -- beta 10.2.0.2 -- router
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from fttcp.cli.client import AskError, ask
from lab.hosts import await_condition
from lab.lifecycle import fttcp_program
from tests.integration.netns import Namespace, needs_root

pytestmark = [needs_root, pytest.mark.skipif(shutil.which("bird") is None, reason="needs bird2")]

SEGMENT = {"alpha": 1, "beta": 2}
ADDRESSES = ("192.0.2.100", "2001:db8::100")
_ROUTER = """
router id 10.9.0.1;
protocol device {}
protocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }
protocol kernel { ipv4 { export all; }; }
protocol kernel { ipv6 { export all; }; }
""" + "".join(
    f"protocol bgp {node}{version} {{ local as 65000; neighbor {net}2 as 65001; direct; bfd on; "
    f"connect retry time 1; error wait time 1, 1; ipv{version} {{ import all; export none; }}; }}\n"
    for node, number in SEGMENT.items()
    for version, net in ((4, f"10.{number}.0."), (6, f"fd{number}::"))
)
_NODE_BIRD = """
router id 10.{number}.0.2;
protocol device {{}}
protocol bfd {{ interface "eth0" {{ min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }}; }}
protocol static web4 {{ disabled; ipv4; route 192.0.2.100/32 blackhole; }}
protocol static web6 {{ disabled; ipv6; route 2001:db8::100/128 blackhole; }}
protocol bgp router4 {{ local as 65001; neighbor 10.{number}.0.1 as 65000; direct; bfd on;
    connect retry time 1; error wait time 1, 1; ipv4 {{ import none; export all; next hop self; }}; }}
protocol bgp router6 {{ local as 65001; neighbor fd{number}::1 as 65000; direct; bfd on;
    connect retry time 1; error wait time 1, 1; ipv6 {{ import none; export all; next hop self; }}; }}
"""
_NODE = """
[node]
name = "{name}"
cluster = "routed"
key_file = "{place}/key"
service_interface = "eth0"
peer_interface = "eth1"
run_dir = "{place}/{name}/run"
state_dir = "{place}/{name}/state"
[peer]
name = "{other}"
[[link]]
interface = "eth1"
local = "10.78.0.{number}"
remote = "10.78.0.{other_number}"
[[link]]
interface = "eth0"
local = "10.{number}.0.2"
remote = "10.{other_number}.0.2"
[[group]]
name = "web"
mode = "address"
addresses = ["192.0.2.100", "2001:db8::100"]
priority = {priority}
[[group.resource]]
name = "route"
start = "birdc -s {place}/{name}/bird enable '\\"web*\\"'"
stop = "birdc -s {place}/{name}/bird disable '\\"web*\\"'"
status = "sh -c 'birdc -s {place}/{name}/bird show protocols web4 | grep -qw up'"
"""


class Site:
    """A client, a router, and two nodes behind it, each on a segment of its own."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place, self._stack = place, stack
        self.hosts = {name: self._host() for name in ("client", "router", "alpha", "beta")}
        self._cable("router", "lan", "client", "eth0", "10.9.0.", "fd9::")
        for node, number in SEGMENT.items():
            self._cable("router", node, node, "eth0", f"10.{number}.0.", f"fd{number}::")
        self._cable("alpha", "eth1", "beta", "eth1", "10.78.0.", "fd78::")
        self.hosts["router"].run("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for name, (v4, v6) in {
            "client": ("10.9.0.1", "fd9::1"),
            "alpha": ("10.1.0.1", "fd1::1"),
            "beta": ("10.2.0.1", "fd2::1"),
        }.items():
            self.hosts[name].run("ip", "route", "add", "default", "via", v4)
            self.hosts[name].run("ip", "-6", "route", "add", "default", "via", v6)
        (place / "router").mkdir()
        self._bird("router", _ROUTER)
        subprocess.run([fttcp_program(), "keygen", str(place / "key")], check=True, capture_output=True)
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for node in SEGMENT:
            self._node(node)

    def _host(self) -> Namespace:
        host = Namespace()

        def close() -> None:
            with suppress(FileNotFoundError):  # it has crashed
                host.close()

        self._stack.callback(close)
        return host

    def _cable(self, left: str, name: str, right: str, right_name: str, v4: str, v6: str) -> None:
        peer = ("peer", "name", right_name, "netns", str(self.hosts[right].pid))
        self.hosts[left].run("ip", "link", "add", name, "type", "veth", *peer)
        for host, interface, number in ((left, name, 1), (right, right_name, 2)):
            self.hosts[host].run("ip", "addr", "add", f"{v4}{number}/24", "dev", interface)
            self.hosts[host].run("ip", "addr", "add", f"{v6}{number}/64", "dev", interface, "nodad")
            self.hosts[host].run("ip", "link", "set", interface, "up")

    def _bird(self, name: str, text: str) -> None:
        place = self.place / name
        (place / "bird.conf").write_text(text)
        words = ["bird", "-c", str(place / "bird.conf"), "-s", str(place / "bird"), "-P", str(place / "pid")]
        self.hosts[name].run(*words)

    def _node(self, name: str) -> None:
        number, (other,) = SEGMENT[name], set(SEGMENT) - {name}
        (self.place / name).mkdir()
        self._bird(name, _NODE_BIRD.format(number=number))
        numbers = {"number": number, "other_number": 3 - number, "priority": 300 - 100 * number}
        config = _NODE.format(name=name, other=other, place=self.place, **numbers)
        (self.place / name / "node.toml").write_text(config)
        server = ["socat", "TCP6-LISTEN:80,ipv6only=0,fork,reuseaddr", f"SYSTEM:echo {name}"]
        self._keep(subprocess.Popen(self.hosts[name].command(*server)))
        self.start(name)

    def start(self, name: str) -> None:
        """Start the daemon of a node."""
        argv = self.hosts[name].command(
            fttcp_program(), "node", "--config", str(self.place / name / "node.toml")
        )
        with (self.place / name / "log").open("ab") as log:
            self.daemons[name] = self._keep(subprocess.Popen(argv, stdout=log, stderr=log))

    def _keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        return process

    def group(self, node: str) -> dict[str, Any]:
        """Return what a node tells of the group; nothing while no daemon answers."""
        try:
            [group] = ask(self.place / node / "run/control.sock", op="status")["groups"]
        except AskError:
            return {}
        assert isinstance(group, dict)
        return group

    def follows(self, node: str) -> bool:
        """Whether a node could take over."""
        return bool(self.group(node).get("synced"))

    def answers(self, name: str) -> bool:
        """Whether it is this node that answers the client, at both addresses."""
        asked = [["socat", "-T1", "-", f"TCP:{_bracketed(one)}:80,connect-timeout=1"] for one in ADDRESSES]
        return [self.hosts["client"].run(*words, check=False).strip() for words in asked] == [name, name]

    def announced_by(self) -> set[str]:
        """Which nodes the router has routes from."""
        shown = self.hosts["router"].run("birdc", "-s", str(self.place / "router/bird"), "show", "route")
        return set(re.findall(r"\[(alpha|beta)[46] ", shown))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_the_route_follows_who_serves(site: Site) -> None:
    """By a switchover, by the crash of a host, and when a daemon that was killed comes again."""
    await_condition(lambda: site.answers("alpha"), 30, "alpha serves")
    await_condition(lambda: site.follows("beta"), 20, "beta is ready")
    assert site.announced_by() == {"alpha"}
    ask(site.place / "alpha/run/control.sock", op="switchover", group="web")
    await_condition(lambda: site.answers("beta"), 20, "beta serves")
    assert site.announced_by() == {"beta"}
    await_condition(lambda: site.follows("alpha"), 20, "alpha is ready")
    site.daemons["beta"].send_signal(signal.SIGKILL)
    site.daemons["beta"].wait()
    await_condition(lambda: site.group("alpha")["role"] == "primary", 20, "alpha has taken over")
    site.start("beta")  # as systemd does
    await_condition(lambda: site.announced_by() == {"alpha"}, 20, "beta has taken its route back")
    await_condition(lambda: site.answers("alpha"), 20, "alpha serves again")
    await_condition(lambda: site.follows("beta"), 20, "beta is ready again")
    site.hosts["alpha"].close()
    await_condition(lambda: site.answers("beta"), 20, "the router has found out, by BFD")
    assert site.announced_by() == {"beta"}
