"""Clients and servers that want more than plain TCP, or less than the fast path takes for granted."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import CLIENT
from lab.nodeconfig import GROUP
from lab.workloads.registry import SERVICE
from tests.integration.pair import Pair, pair_named

PORT = 7
CLIENT_ADDRESS = {4: "10.77.0.10", 6: "fd77::10"}
FALLBACK = shlex.join([sys.executable, str(Path(__file__).with_name("fallback_server.py")), str(PORT)])
NEAR = shlex.join([sys.executable, str(Path(__file__).with_name("gtsm_server.py")), str(PORT)])
TALK = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
s.settimeout(10)
s.connect((address, port))
stream = s.makefile("rwb")
for line in sys.stdin.buffer:
    stream.write(line)
    stream.flush()
    assert (answer := stream.readline()) == line, answer
    print("answered", flush=True)
"""
needs_mptcp = pytest.mark.skipif(
    not Path("/proc/sys/net/mptcp/enabled").exists(), reason="this kernel has no Multipath TCP"
)


class Talk:
    """A client of one connection; its program asks for Multipath TCP if no other one is named."""

    def __init__(self, lab: Lab, family: int, program: tuple[str, ...] = ("-c", TALK)) -> None:
        self._process = lab.popen(
            CLIENT, [sys.executable, *program, SERVICE[family], str(PORT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, line: str, answer: str = "answered") -> None:
        """Send a line and have it back."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        print(line, file=self._process.stdin, flush=True)
        said = self._process.stdout.readline()
        assert said == f"{answer}\n", said or self._process.stderr.read()

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def multipath() -> Iterator[Lab]:
    """A pair whose servers offer Multipath TCP."""
    for pair in pair_named("multipath"):
        pair.lab.up((f"{PORT}/tcp={FALLBACK}",))
        yield pair.lab


@needs_mptcp
@pytest.mark.parametrize("family", [4, 6])
def test_multipath_tcp_falls_back_and_survives(multipath: Lab, family: int) -> None:
    """Each kernel would answer the offer with a key of its own, and the client would know only one."""
    lab = multipath
    talk = Talk(lab, family)
    try:
        talk.ask("before")
        primary = lab.node_in_role("primary")
        (flow,) = lab.ask(primary, {"op": "connections", "group": GROUP}, timeout_s=5)["connections"]
        assert flow["protection"] == "protected", flow
        make_fault(lab, "crash-host", "primary")
        talk.ask("after")
        assert lab.node_in_role("primary") != primary
    finally:
        talk.end()


@pytest.fixture
def routed() -> Iterator[Lab]:
    """A pair that serves an echo."""
    for pair in pair_named("routed"):
        pair.lab.up((f"{PORT}/tcp=socat TCP6-LISTEN:{PORT},ipv6only=0,fork,reuseaddr PIPE",))
        yield pair.lab


@pytest.mark.parametrize("family", [4, 6])
def test_both_kernels_heed_a_path_that_takes_less(routed: Lab, family: int) -> None:
    """While the primary lives the backup's learns it too; each heeds only its own numbers."""
    lab = routed

    def knows(node: str, mtu: int) -> bool:
        route = ["ip", f"-{family}", "route", "get", CLIENT_ADDRESS[family], "from", SERVICE[family]]
        return f" mtu {mtu} " in lab.exec(node, route).stdout.replace("\n", " ") + " "

    def learn(mtu: int, *nodes: str) -> None:
        """The router says it again for each segment, as routers do."""

        def told() -> bool:
            talk.ask(str(mtu), str(mtu))
            return all(knows(node, mtu) for node in nodes)

        await_condition(told, 30, f"{nodes} to know of {mtu}")

    talk = Talk(lab, family, (str(Path(__file__).with_name("path_client.py")),))
    try:
        primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
        learn(1400, primary, backup)
        make_fault(lab, "crash-host", "primary")
        learn(1300, backup)
    finally:
        talk.end()


@pytest.fixture
def fresh() -> Iterator[Pair]:
    """A pair whose engines have seen no packet yet."""
    yield from pair_named("unverified", (), ("bulk-up",))  # with UDP every packet is seen whole


@pytest.mark.parametrize("family", [4, 6])
def test_the_first_upload_whose_checksums_nobody_verified(fresh: Pair, family: int, tmp_path: Path) -> None:
    """A client that sums in software, and no hardware that checks: not one segment may get lost by it."""
    fresh.ready()
    offloads = [(CLIENT, "eth0", kind) for kind in ("tx", "tso", "gso")]
    offloads += [(node, interface, "rx") for node in ("alpha", "beta") for interface in ("svc0", "peer0")]
    for host, interface, kind in offloads:
        done = fresh.lab.exec(host, ["ethtool", "-K", interface, kind, "off"])
        assert done.returncode == 0, done.stderr
    outcome = fresh.run(Case("bulk-up", "none", family, duration_s=2.0, size=20_000_000), tmp_path)
    assert outcome.ok, outcome.why
    assert outcome.detached == {}
    for role, counter in (("primary", "pass_malformed"), ("backup", "drop_malformed")):
        counters = fresh.group(role)["counters"]
        assert isinstance(counters, dict)
        assert counters[counter] == 0, role


@pytest.mark.parametrize("setting", ["tcp_window_scaling", "tcp_timestamps"])
def test_kernels_that_agree_to_different_options(routed: Lab, setting: str) -> None:
    """The client would speak by rules that the backup's stack does not know: told, and served to the end."""
    lab = routed
    primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
    assert lab.exec(backup, ["sysctl", "-qw", f"net.ipv4.{setting}=0"]).returncode == 0
    talk = Talk(lab, 4)
    try:
        talk.ask("before")
        (flow,) = lab.ask(primary, {"op": "connections", "group": GROUP}, timeout_s=5)["connections"]
        assert (flow["protection"], flow["reason"]) == ("detached", "unsupported"), flow
        talk.ask("after")
    finally:
        talk.end()


@pytest.fixture
def strict() -> Iterator[Lab]:
    """A pair whose servers take only what no router has forwarded."""
    for pair in pair_named("strict"):
        pair.lab.up((f"{PORT}/tcp={NEAR}",))
        yield pair.lab


@pytest.mark.parametrize("family", [4, 6])
def test_a_server_that_wants_the_hop_limit_255(strict: Lab, family: int) -> None:
    """The mirror is a hop, and the service is not to show it; what the engine says itself comes as near."""
    lab = strict
    talk = Talk(lab, family, (str(Path(__file__).with_name("gtsm_client.py")),))
    try:
        talk.ask("1", "1")
        primary = lab.node_in_role("primary")
        (flow,) = lab.ask(primary, {"op": "connections", "group": GROUP}, timeout_s=5)["connections"]
        assert flow["protection"] == "protected", flow
        make_fault(lab, "crash-host", "primary")
        talk.ask("2", "2")
        assert lab.node_in_role("primary") != primary
    finally:
        talk.end()


@pytest.fixture
def patient() -> Iterator[Lab]:
    """A pair that serves an echo. Its nodes miss each other late: something is still mirrored when the kernel
    has forgotten the neighbour."""
    for pair in pair_named("patient"):
        echo = f"{PORT}/tcp=socat TCP6-LISTEN:{PORT},ipv6only=0,fork,reuseaddr PIPE"
        pair.lab.up((echo,), ("timing.heartbeat_ms=500",))
        yield pair.lab


@pytest.mark.parametrize("family", [4, 6])
def test_a_mirror_that_leads_nowhere_is_no_clients_business(
    patient: Lab, family: int, tmp_path: Path
) -> None:
    """The copy meets no neighbour, and its sender, says the kernel to itself, should know. That the kernel
    gave up is seen in its notices: the next packet makes it try again, so the state itself lasts a moment."""
    lab, notices = patient, tmp_path / "notices"
    primary = lab.node_in_role("primary")
    talk = Talk(lab, family, (str(Path(__file__).with_name("errors_client.py")),))
    try:
        talk.ask("before", "before 0")
        make_fault(lab, "crash-host", "backup")
        neighbours = ["ip", f"-{family}", "neigh", "show", "dev", "peer0"]
        known = [line.split()[0] for line in lab.exec(primary, neighbours).stdout.splitlines()]
        for address in known:  # else the kernel would believe in it for up to a minute
            assert lab.exec(primary, ["ip", "neigh", "del", address, "dev", "peer0"]).returncode == 0
        with notices.open("w") as output:  # from here on: what is deleted is told of as failed, too
            watch = ["ip", f"-{family}", "monitor", "neigh", "dev", "peer0"]
            watcher = lab.popen(primary, watch, stdout=output)

        def unreachable() -> bool:
            talk.ask("alone", "alone 0")
            return " FAILED" in notices.read_text()

        try:
            await_condition(unreachable, 20, "the kernel to give the backup up")
        finally:
            watcher.kill()
            watcher.wait()
        talk.ask("after", "after 0")
    finally:
        talk.end()


@pytest.fixture
def bound() -> Iterator[Pair]:
    """A pair whose servers take packets from the service interface only."""
    for pair in pair_named("bound"):
        pair.lab.up((f"{PORT}/tcp=socat TCP6-LISTEN:{PORT},ipv6only=0,so-bindtodevice=svc0,fork PIPE",))
        yield pair


def test_a_server_that_is_bound_to_an_interface_is_told(bound: Pair) -> None:
    """A mirrored packet comes in on another one: nothing is protected, and people see why."""
    lab = bound.lab
    talk = Talk(lab, 4)
    try:
        talk.ask("before")
        primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
        (flow,) = lab.ask(primary, {"op": "connections", "group": GROUP}, timeout_s=5)["connections"]
        assert (flow["protection"], flow["reason"]) == ("detached", "refused"), flow
        for node in (primary, backup):
            (said,) = lab.ask(node, {"op": "status"}, timeout_s=5)["groups"]
            assert said["server"]["bound"] == [f"{PORT}/tcp to svc0"]
            events = lab.ask(node, {"op": "events"}, timeout_s=5)["events"]
            (told,) = [event for event in events if event["event"] == "server-bound"]
            assert told["ports"] == [f"{PORT}/tcp to svc0"]
            assert [reason["why"] for reason in said["not_ready"]].count("server-bound") == 1
            file = str(lab.home / node / "node.toml")
            doctor = lab.exec(node, [fttcp_program(), "doctor", "--config", file])
            for output in (bound.shown(node), doctor.stdout):
                assert "from one interface only, so no connection is protected" in output
        talk.ask("after")
    finally:
        talk.end()
