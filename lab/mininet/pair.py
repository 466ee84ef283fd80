#!/usr/bin/python3
"""The pair in mininet: a download that outlives the crash of the host that serves it.

Run as root with the system's python3 (Debian's python3 has mininet, package `mininet`):

    sudo lab/mininet/pair.py [--size BYTES] [--json]

Everything happens inside private network, mount and pid namespaces, which end with the script. The exit
status is 0 only when the connection survived and the hash is equal.

Both nodes offer a random file by nginx. Once they are in step the client downloads it. At half of it the
primary crashes: its processes are stopped, its links cut, the processes killed. (Links first would be a loss
of carrier, and a hand-over in good order.) The gap is the longest silence of the client from then on.

To change it: another fault in place of `crash` in `download` (`net.configLinkStatus(primary, "s1", "down")`
pulls the service cable); options of TCLink for `addLink`, as `delay="5ms"` where the kernel has netem;
`NGINX_COMMAND` and `make_site`; settings for `write_node_files`, as `["timing.heartbeat_ms=10"]`. `from
mininet.cli import CLI; CLI(net)` to look around.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mininet.link import TCLink
from mininet.net import Mininet
from mininet.node import Node
from mininet.nodelib import LinuxBridge
from mininet.topo import Topo

from lab.control import NoAnswerError, ask
from lab.download import NGINX_COMMAND, make_file, make_site, receive
from lab.errors import LabError
from lab.hosts import await_condition
from lab.lifecycle import fttcp_program, is_synced
from lab.network import CLIENT, NODES, PEER_LINK, SERVICE4, SERVICE_LINK, cables
from lab.nodeconfig import write_node_files

CLIENT_MBIT = 100
STEP_S = 30.0
"""Seconds that the pair may take to get in step."""


class PairTopo(Topo):  # type: ignore[misc]
    """Client and both nodes at one switch, and a link between the nodes; each node has a /run of its own."""

    def build(self, homes: Path) -> None:
        """Called by mininet; `homes` has a directory for the files of each node."""
        switch = self.addSwitch("s1")
        for host in (CLIENT, *NODES):
            (cable,) = cables(host, SERVICE_LINK)
            private = [] if host == CLIENT else [("/run", f"{homes}/{host}/run")]
            self.addHost(host, ip=str(cable.address4), privateDirs=private)
            limit = {"cls": TCLink, "bw": CLIENT_MBIT, "use_tbf": True, "latency_ms": 50}
            self.addLink(
                host, switch, intfName1=cable.interface, addr1=cable.mac, **(limit if host == CLIENT else {})
            )
        one, other = (cables(node, PEER_LINK)[0] for node in NODES)
        self.addLink(
            *NODES, intfName1=one.interface, intfName2=other.interface, addr1=one.mac, addr2=other.mac
        )


def main() -> int:
    """Parse the arguments, go into private namespaces, tell the story; returns the exit status."""
    parser = argparse.ArgumentParser(description="A download that outlives its server, in mininet.")
    parser.add_argument("--size", type=int, default=50_000_000, help="bytes to download")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the story")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("mininet needs root")
    if not options.inside:
        namespaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        os.execvp("unshare", ["unshare", *namespaces, sys.executable, *sys.argv, "--inside"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="fttcp-mininet-") as homes:
        Path(homes).chmod(0o755)
        result = run(Path(homes), options.size, quiet=options.json)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0 if result["survived"] and result["hash_equal"] else 1


def run(homes: Path, size: int, quiet: bool) -> dict[str, Any]:
    """Build the network and the pair, download while the primary crashes; returns the result for --json."""

    def tell(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    expected = make_file(homes / "payload", size)
    key = secrets.token_hex(32)
    for node in NODES:
        for part in ("root", "run/lock"):
            (homes / node / part).mkdir(parents=True)
        make_site(homes / node / "root", homes / "payload")
        write_node_files(node, homes / node, key, [f"80/tcp={NGINX_COMMAND}"])
    net = build(homes)
    try:
        daemons = [start_daemon(net[node], homes / node) for node in NODES]
        await_step(homes, daemons)
        primary = in_role(homes, "primary")
        tell(f"the pair is in step, {primary} serves; downloading {size:,} bytes")
        result = download(net, primary, size, tell)
        result |= {"hash_equal": result.pop("sha256") == expected, "fault": "crash-host", "target": primary}
        takeover = newest_takeover(homes, primary)
        return result | {"cause": takeover["cause"] if takeover else None, "takeover": takeover}
    finally:
        for host in net.hosts:
            signal_all(host, signal.SIGKILL)
        net.stop()


def build(homes: Path) -> Mininet:
    """The running network, with both kinds of addresses on all interfaces."""
    Mininet.inited = True  # no machine-wide limits for thousands of hosts: there are three
    for family in ("iptables", "ip6tables", "arptables"):
        if Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}").exists():
            Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}").write_text("0")
    net = Mininet(topo=PairTopo(homes), switch=LinuxBridge, controller=None, xterms=False)
    net.start()
    for host in (CLIENT, *NODES):
        for cable in (*cables(host, SERVICE_LINK), *cables(host, PEER_LINK)):
            net[host].cmd(f"ip link set {cable.interface} up")
            net[host].cmd(f"ip address replace {cable.address4} dev {cable.interface}")
            net[host].cmd(f"ip address replace {cable.address6} dev {cable.interface} nodad")
    return net


def start_daemon(host: Node, home: Path) -> subprocess.Popen[bytes]:
    """Start `fttcp node` in a mininet host; its output goes to node.log in `home`."""
    with (home / "node.log").open("wb") as log:
        command = [fttcp_program(), "node", "--config", str(home / "node.toml")]
        daemon: subprocess.Popen[bytes] = host.popen(command, cwd=home / "root", stdout=log, stderr=log)
    return daemon


def status(homes: Path) -> dict[str, Any]:
    """What both daemons say, in the form of `fttcp lab status --json`."""
    nodes = []
    for node in NODES:
        try:
            nodes.append(ask(homes / node / "run" / "fttcp" / "control.sock", {"op": "status"}))
        except NoAnswerError:
            nodes.append({"node": node, "alive": False, "groups": []})
    return {"nodes": nodes}


def await_step(homes: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    """Return when the pair is in step; raises LabError with the logs when a daemon ends or time is up."""

    def check() -> bool:
        if any(daemon.poll() is not None for daemon in daemons):
            raise LabError("a daemon has ended")
        return is_synced(status(homes))

    try:
        await_condition(check, STEP_S, "waiting for the pair to be in step", interval_s=0.02)
    except LabError as error:
        logs = "".join(f"\n--- {node}\n{(homes / node / 'node.log').read_text()}" for node in NODES)
        raise LabError(f"{error}{logs}") from error


def in_role(homes: Path, role: str) -> str:
    """The node that has `role` now."""
    return next(str(node["node"]) for node in status(homes)["nodes"] if node["groups"][0]["role"] == role)


def newest_takeover(homes: Path, before: str) -> dict[str, Any] | None:
    """The newest takeover of the node that is primary now and was not `before`."""
    for node in status(homes)["nodes"]:
        for group in node["groups"]:
            if node["node"] != before and group["role"] == "primary" and group["takeovers"]:
                return {"node": node["node"], **group["takeovers"][-1]}
    return None


def download(net: Mininet, primary: str, size: int, tell: Any) -> dict[str, Any]:
    """Download with curl; at half of it the primary crashes. Returns the client's side of the result."""
    crashed_s: list[float] = []

    def on_progress(received: int) -> None:
        if not crashed_s and received >= size // 2:
            crash(net, primary)
            crashed_s.append(time.monotonic())
            tell(f"{primary} crashed at byte {received:,}")

    curl = net[CLIENT].popen(["curl", "-sS", "--max-time", "60", f"http://{SERVICE4}/payload"])
    got = receive(curl.stdout, on_progress)
    exit_status, words = curl.wait(), curl.stderr.read().decode(errors="replace").strip()
    result = {
        "survived": exit_status == 0 and got.received == size and bool(crashed_s),
        "bytes": got.received,
        "sha256": got.sha256,
        "gap_ms": got.gap_ms(crashed_s[0]) if crashed_s else None,
    }
    return result | ({"error": words} if words else {})


def crash(net: Mininet, name: str) -> None:
    """The host is gone: stopped first, so that nobody there reacts to its links going down, then killed."""
    signal_all(net[name], signal.SIGSTOP)
    net.configLinkStatus(name, "s1", "down")
    net.configLinkStatus(*NODES, "down")
    signal_all(net[name], signal.SIGKILL)


def signal_all(host: Node, number: signal.Signals) -> None:
    """Send a signal to every process in the host's network namespace but mininet's own shell."""
    namespace = namespace_of(Path(f"/proc/{host.pid}"))
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != host.pid and namespace_of(entry) == namespace:
            os.kill(int(entry.name), number)


def namespace_of(process: Path) -> Path | None:
    """The network namespace of the /proc directory `process`, None when that process has ended."""
    try:
        return (process / "ns" / "net").readlink()
    except (FileNotFoundError, ProcessLookupError):
        return None


def show(result: dict[str, Any]) -> None:
    """The verdict and the summary for people."""
    good = result["survived"] and result["hash_equal"]
    print(f"\nThe connection {'survived' if good else 'was LOST'}.")
    for key in ("bytes", "hash_equal", "fault", "target", "gap_ms", "cause", "takeover", "error"):
        if key in result:
            print(f"  {key:<12}{result[key]}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as problem:
        sys.exit(f"error: {problem}")
