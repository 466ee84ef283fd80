"""Of what a pair in mininet is made: a host that runs a daemon, a link that is late or lossy, a topology."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from mininet.link import Link
from mininet.node import Node
from mininet.topo import Topo

from lab.control import NoAnswerError, ask
from lab.errors import LabError
from lab.hosts import await_condition
from lab.lifecycle import fttcp_program
from lab.network import CLIENT, NODES, PEER_LINK, SERVICE_LINK, cables
from lab.wire import Terms, answers, program, tell

SWITCHES = ("s1", "s2")
_START_S = 5.0


class ServiceNode(Node):  # type: ignore[misc]
    """A host that runs `fttcp node`. ``home``: a directory of its own, with node.toml and root/, the working
    directory of servers; its /run and scratch files of nginx are there, too."""

    def __init__(self, name: str, home: str | Path, **params: Any) -> None:
        self.home = Path(home)
        self.daemon: subprocess.Popen[bytes] | None = None
        for part in ("root", "run/lock"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        own = [(tree, f"{self.home}{tree}") for tree in ("/run", "/var/lib/nginx") if Path(tree).is_dir()]
        super().__init__(name, privateDirs=own, **params)

    def start_daemon(self) -> None:
        """Start the daemon; its output goes to node.log in `home`."""
        with (self.home / "node.log").open("ab") as log:
            command = [fttcp_program(), "node", "--config", str(self.home / "node.toml")]
            self.daemon = self.popen(command, cwd=self.home / "root", stdout=log, stderr=log)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the daemon. Raises NoAnswerError."""
        return ask(self.home / "run" / "fttcp" / "control.sock", request, timeout_s=5.0)

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself, as in `fttcp lab status --json`."""
        try:
            return ask(self.home / "run" / "fttcp" / "control.sock", {"op": "status"})
        except NoAnswerError:
            return {"node": self.name, "alive": False, "groups": []}

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of this host but mininet's own shell."""
        namespace = _namespace_of(Path(f"/proc/{self.pid}"))
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != self.pid and _namespace_of(entry) == namespace:
                os.kill(int(entry.name), number)

    def address(self) -> None:
        """Give the interfaces their addresses: those of IPv6 do not outlive a link that was down."""
        give_addresses(self)


class WireLink(Link):  # type: ignore[misc]
    """A veth pair with a wire in it that is late, loses, doubles, or is slow: lab.wire.Terms, without netem.

    ``terms``: of both directions, or None: a plain one. `change` changes it, as often as one likes.
    """

    _numbers = itertools.count(1)
    _ends: tuple[str, str]

    def __init__(
        self, node1: Node, node2: Node, *, control: str, terms: Terms | None = None, **params: Any
    ) -> None:
        self._control = Path(f"{control}-{node1.name}-{node2.name}.sock")
        super().__init__(node1, node2, **params)
        for end in self._ends:
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        self._wire = subprocess.Popen([program(), str(self._control), *self._ends], stdin=subprocess.DEVNULL)
        await_condition(self._answers, _START_S, f"link {self}: its program answers")
        self.change(terms or Terms())

    def makeIntfPair(
        self, intfname1: str, intfname2: str, addr1: str | None = None, addr2: str | None = None,
        node1: Node | None = None, node2: Node | None = None, deleteIntfs: bool = True,
    ) -> None:  # fmt: skip
        """Make two pairs, between which the wire stands."""
        number = next(WireLink._numbers)
        self._ends = (f"wire{number}a", f"wire{number}b")
        for end, (name, address, node) in enumerate(((intfname1, addr1, node1), (intfname2, addr2, node2))):
            own = f"02:fe:00:00:{number:02x}:{end:02x}" if address else None  # both have one, or neither
            super().makeIntfPair(name, self._ends[end], address, own, node, None, deleteIntfs)

    def change(self, terms: Terms, seed: int = 1) -> None:
        """Let it be so from now on, both ways. Raises LabError."""
        if trouble := terms.trouble():
            raise LabError(f"link {self}: {trouble}")
        tell(self._control, f"set {terms.words(seed)} {terms.words(seed + 1)}")

    def set_port(self, host: Node, state: str) -> None:
        """Set the wire's end of the cable to ``host`` up or down: that one's carrier."""
        end = self._ends[0] if host is self.intf1.node else self._ends[1]
        subprocess.run(["ip", "link", "set", end, state], check=True)

    def stop(self) -> None:
        """End the wire with the link."""
        self._wire.kill()
        self._wire.wait()
        super().stop()

    def _answers(self) -> bool:
        if self._wire.poll() is not None:
            raise LabError(f"link {self}: its program ended with status {self._wire.returncode}")
        return answers(self._control)


class PairTopo(Topo):  # type: ignore[misc]
    """Two nodes and clients at one switch, or at two with a trunk between them; and the link of the nodes.

    Clients are called client, client2, client3 ...; with two switches alpha is at the first one and all
    others at the second. ``client_link``, ``trunk``, ``peer_link``: options of these links, as of `addLink`,
    for example
    {"cls": WireLink, "terms": Terms(delay_ms=20)}.
    """

    def build(
        self, home: str, clients: int = 1, switches: int = 1,
        client_link: dict[str, Any] | None = None, trunk: dict[str, Any] | None = None,
        peer_link: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Called by mininet; `home` gets a directory for each node."""
        names = [self.addSwitch(name) for name in SWITCHES[:switches]]
        if switches > 1:
            self._link(home, names[0], names[1], trunk)
        for number, host in enumerate((*NODES, *client_names(clients))):
            (cable,) = cables(host if host in NODES else CLIENT, SERVICE_LINK)
            if host in NODES:
                self.addHost(host, cls=ServiceNode, ip=None, home=f"{home}/{host}")
            else:
                self.addHost(host, ip=None)
            place = {"intfName1": cable.interface if host in NODES else f"{host}-eth0"}
            if host in (*NODES, CLIENT):
                place["addr1"] = cable.mac
            at = names[0] if number == 0 else names[-1]
            self._link(home, host, at, client_link if host not in NODES else None, **place)
        one, other = (cables(node, PEER_LINK)[0] for node in NODES)
        ends = {
            "intfName1": one.interface,
            "intfName2": other.interface,
            "addr1": one.mac,
            "addr2": other.mac,
        }
        self._link(home, *NODES, peer_link, **ends)

    def _link(self, home: str, one: str, other: str, options: dict[str, Any] | None, **ends: Any) -> None:
        options = dict(options or {})
        if issubclass(options.get("cls", Link), WireLink):
            options["control"] = f"{home}/wire"
        self.addLink(one, other, **ends, **options)


def client_names(clients: int) -> list[str]:
    """The names of so many clients."""
    return [CLIENT, *(f"{CLIENT}{number}" for number in range(2, clients + 1))]


def give_addresses(host: Node) -> None:
    """Give a node, or a client, the lab's addresses: client2 has .11, client3 .12."""
    if host.name in NODES:
        own = [(one.interface, _next(one.address4, 0), _next(one.address6, 0)) for one in cables(host.name)]
    else:
        (cable,) = cables(CLIENT, SERVICE_LINK)
        more = max(0, int(host.name.removeprefix(CLIENT) or 1) - 1)
        own = [(f"{host.name}-eth0", _next(cable.address4, more), _next(cable.address6, more))]
    there = set(host.intfNames())
    for interface, address4, address6 in own:
        if interface in there:
            host.cmd(f"ip link set {interface} up")
            host.cmd(f"ip address replace {address4} dev {interface}")
            host.cmd(f"ip address replace {address6} dev {interface} nodad")


def _next(interface: IPv4Interface | IPv6Interface, number: int) -> str:
    return f"{interface.ip + number}/{interface.network.prefixlen}"


def _namespace_of(process: Path) -> Path | None:
    """The network namespace of the /proc directory `process`, None when that process has ended."""
    try:
        return (process / "ns" / "net").readlink()
    except (FileNotFoundError, ProcessLookupError):
        return None
