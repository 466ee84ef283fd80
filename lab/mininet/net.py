"""A pair in mininet, with what can go wrong: `PairNet`."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

from lab.errors import LabError
from lab.faults import order_switchover
from lab.hosts import await_condition
from lab.mininet.parts import PairTopo, ServiceNode, WireLink, client_names, give_addresses
from lab.network import NODES
from lab.nodeconfig import DEFAULT_SERVE, write_node_files
from lab.rootless import become_root
from lab.status import is_synced
from lab.wire import Terms

STEP_S = 30.0
"""Seconds that the pair may take to get in step."""
_INSIDE = "FTTCP_MININET_INSIDE"


def go_private() -> None:
    """Go on in network, mount and pid namespaces of one's own, which end with this script: nothing of the
    machine's network is touched, and nothing is left behind. To be called first; the script begins anew.
    Raises LabError for whoever may not."""
    if not is_private():
        become_root("mininet")
        namespaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", *namespaces, sys.executable, *sys.argv])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def is_private() -> bool:
    """Whether this script runs in such namespaces."""
    return os.environ.get(_INSIDE) == "1"


class PairNet(Mininet):  # type: ignore[misc]
    """A network with a pair of nodes, alpha and beta, and clients.

    ``serve``, ``settings``: as `--serve` and `--set` of `fttcp lab up`. ``topo_options``: those of PairTopo.
    Other options are mininet's own; the default switch is LinuxBridge, and lab.mininet.ovs has Open vSwitch.
    """

    def __init__(
        self, serve: Sequence[str] = DEFAULT_SERVE, settings: Sequence[str] = (),
        topo_options: dict[str, Any] | None = None, **params: Any,
    ) -> None:  # fmt: skip
        Mininet.inited = True  # no machine-wide limits for thousands of hosts: there are a few
        for family in ("iptables", "ip6tables", "arptables"):
            knob = Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}")
            if knob.exists():
                knob.write_text("0")
        self._directory = tempfile.TemporaryDirectory(prefix="fttcp-mininet-")
        self.home = Path(self._directory.name)
        self.home.chmod(0o755)
        key = secrets.token_hex(32)
        for node in NODES:
            (self.home / node).mkdir()
            write_node_files(node, self.home / node, key, serve, settings)
        topo_options = topo_options or {}
        self._clients = client_names(topo_options.get("clients", 1))
        defaults = {"switch": LinuxBridge, "controller": None, "xterms": False}
        super().__init__(topo=PairTopo(str(self.home), **topo_options), **(defaults | params))

    def start(self) -> None:
        """Start everything; returns when the pair is in step. What servers need is put into `root(node)`
        before."""
        super().start()
        for name in (*NODES, *self._clients):
            give_addresses(self[name])
        for node in self.pair():
            node.start_daemon()
        self.wait_synced()

    def stop(self) -> None:
        """Stop everything, and remove what it has written."""
        for node in self.pair():
            node.signal_all(signal.SIGKILL)
        super().stop()
        self._directory.cleanup()

    def pair(self) -> list[ServiceNode]:
        """Return both nodes."""
        return [self[name] for name in NODES]

    def root(self, node: str) -> Path:
        """Return the working directory of a node's servers."""
        return self.home / node / "root"

    def status(self) -> dict[str, Any]:
        """Return what both daemons say, in the form of `fttcp lab status --json`."""
        return {"nodes": [node.status() for node in self.pair()]}

    def node_in_role(self, role: str) -> str:
        """Return the name of the primary, or of the backup. Raises LabError if there is none."""
        for told in self.status()["nodes"]:
            if told["groups"] and told["groups"][0]["role"] == role:
                return str(told["node"])
        raise LabError(f"there is no {role}")

    def wait_synced(self, timeout_s: float = STEP_S) -> None:
        """Return when the pair is in step. Raises LabError with the daemons' logs when one ends, or time is
        up."""

        def check() -> bool:
            if any(node.daemon is not None and node.daemon.poll() is not None for node in self.pair()):
                raise LabError("a daemon has ended")
            return is_synced(self.status())

        try:
            await_condition(check, timeout_s, "waiting for the pair to be in step", interval_s=0.02)
        except LabError as error:
            logs = "".join(f"\n--- {node}\n{self.log(node)}" for node in NODES)
            raise LabError(f"{error}{logs}") from error

    def log(self, node: str) -> str:
        """Return the log of a node's daemon."""
        return (self.home / node / "node.log").read_text(errors="replace")

    # ---- faults

    def fault(self, kind: str, target: str = "primary", **details: Any) -> dict[str, Any]:
        """Do one of FAULTS to a node, a role, or with `cut` and `link` also to a client. Returns when it has
        happened what, whom, and `at_s` (CLOCK_MONOTONIC). Raises LabError."""
        if kind not in FAULTS:
            raise LabError(f"fault {kind!r}: there is no such fault; faults are {', '.join(FAULTS)}")
        name = self.node_in_role(target) if target in ("primary", "backup") else target
        if name not in (*NODES, *self._clients):
            raise LabError(f"fault {kind}: {name!r} is no host; {', '.join((*NODES, *self._clients))} are")
        if name not in NODES and kind not in ("cut", "heal", "link"):
            raise LabError(f"fault {kind}: it needs a node; {name} is a client")
        at_s = time.monotonic()
        FAULTS[kind](self, self[name], **details)
        return {"fault": kind, "target": name, "at_s": at_s, **details}

    def crash_host(self, node: ServiceNode) -> None:
        """Stop it first, so that nobody there reacts to its links going down; then kill it."""
        node.signal_all(signal.SIGSTOP)
        self._set_links(node, "down")
        node.signal_all(signal.SIGKILL)
        if node.daemon is not None:
            node.daemon.wait()
            node.daemon = None

    def kill_node(self, node: ServiceNode) -> None:
        """Kill the daemon; its servers die with it."""
        self._daemon(node).kill()
        self._daemon(node).wait()
        node.daemon = None

    def freeze_node(self, node: ServiceNode) -> None:
        """Stop the daemon; `heal` lets it run on."""
        self._daemon(node).send_signal(signal.SIGSTOP)

    def switchover(self, node: ServiceNode) -> None:
        """Ask for a planned one."""
        order_switchover(node.name, node.ask)

    def restart_host(self, node: ServiceNode) -> None:
        """Let a fresh host join."""
        if node.daemon is not None:
            self.crash_host(node)
        self._set_links(node, "up")
        node.start_daemon()

    def cut(self, host: Any, link: str = "all") -> None:
        """Pull the cables of a host: "client", "peer" or "all". The other end goes down, so it loses the
        carrier."""
        self._set_links(host, "down", link, far=True)

    def heal(self, host: Any) -> None:
        """Plug its cables in, and let what was stopped run on."""
        self._set_links(host, "up")
        if isinstance(host, ServiceNode):
            host.signal_all(signal.SIGCONT)

    def change_link(self, host: Any, link: str = "client", **terms: Any) -> None:
        """Change a WireLink: `delay_ms` and the other Terms; none: a plain one."""
        found = [one for one in self._links(host, link) if isinstance(one, WireLink)]
        if not found:
            raise LabError(f"link: the {link} link of {host.name} is no WireLink")
        for one in found:
            one.change(Terms(**terms))

    def _daemon(self, node: ServiceNode) -> Any:
        if node.daemon is None:
            raise LabError(f"host {node.name} is down; bring it back: fault('restart-host', '{node.name}')")
        return node.daemon

    def _links(self, host: Any, link: str) -> list[Any]:
        if link not in ("client", "peer", "all"):
            raise LabError(f"link {link!r}: there is no such link; links are client, peer, all")
        own = [one for one in self.links if host in (one.intf1.node, one.intf2.node)]
        peer = [one for one in own if {one.intf1.node.name, one.intf2.node.name} == set(NODES)]
        return {"all": own, "peer": peer, "client": [one for one in own if one not in peer]}[link]

    def _set_links(self, host: Any, state: str, link: str = "all", far: bool = False) -> None:
        """Both ends, or with ``far`` the other one only: then this one keeps its addresses."""
        for one in self._links(host, link):
            if isinstance(one, WireLink):
                one.set_port(host, state)
            for end in (one.intf1, one.intf2):
                if not (far and (end.node is host or isinstance(one, WireLink))):
                    end.node.cmd(f"ip link set {end.name} {state}")
        if state == "up":
            for name in (*NODES, *self._clients):
                give_addresses(self[name])


FAULTS: dict[str, Callable[..., None]] = {
    "crash-host": PairNet.crash_host,
    "kill-node": PairNet.kill_node,
    "freeze-node": PairNet.freeze_node,
    "switchover": PairNet.switchover,
    "restart-host": PairNet.restart_host,
    "cut": PairNet.cut,
    "heal": PairNet.heal,
    "link": PairNet.change_link,
}
