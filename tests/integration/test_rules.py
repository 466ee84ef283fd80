"""The network side of a node on a real kernel: in force, and gone without a trace."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.netns import Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
TABLE = "47700"
SERVER = """
import socket
with socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
    print("listening", flush=True)
    connection, _ = listener.accept()
    print("accepted", flush=True)
    connection.recv(1)
"""
CLIENT = """
import socket, sys
socket.create_connection((sys.argv[1], 80)).recv(1)
"""
QUEUE_READER = """
from select import select
from netfilterqueue import NetfilterQueue
def show(packet):
    header = packet.get_payload()
    print(header[12:16].hex(), header[16:20].hex(), flush=True)
    packet.drop()
    raise SystemExit
queues = [NetfilterQueue(), NetfilterQueue()]
for number, queue in enumerate(queues, 7700):
    queue.bind(number, show)
print("listening", flush=True)
readable = select([queue.get_fd() for queue in queues], [], [])[0]
next(queue for queue in queues if queue.get_fd() in readable).run(block=False)
"""
MIRRORED = """
import sys
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.sendrecv import sendp
segment = IP(src="10.77.0.10", dst="10.77.0.100") / TCP(sport=40000, dport=80, flags="A")
sendp(Ether(dst=sys.argv[1]) / segment, iface="peer0", verbose=False)
"""


def drive(net: Net, run_dir: Path, *words: str, killed: bool = False) -> str:
    command = net.node.command(sys.executable, "-m", "tests.integration.network_driver", str(run_dir), *words)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == (-9 if killed else 0), done.stdout + done.stderr
    return done.stdout


def connect(net: Net, address: str) -> None:
    """Sends a SYN from the client, which knows the node's MAC address by hand."""
    mac = (
        net.node.run("cat", "/proc/self/net/dev")
        and net.node.run("ip", "-br", "link", "show", "svc0").split()[2]
    )
    net.client.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0")
    code = (
        "import socket, sys; f = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET; "
        "s = socket.socket(f); s.setblocking(False); s.connect_ex((sys.argv[1], 80))"
    )
    net.client.run(sys.executable, "-c", code, address)


def test_the_mirror_moves_to_another_peer_and_all_else_stays(net: Net, tmp_path: Path) -> None:
    said = drive(net, tmp_path, "apply", "missing")
    before = [net.node.run(f"{tool}-save", "-t", "mangle").splitlines() for tool in ("iptables", "ip6tables")]
    said += drive(net, tmp_path, "mirror", "missing")
    after = [net.node.run(f"{tool}-save", "-t", "mangle").splitlines() for tool in ("iptables", "ip6tables")]
    assert said.count("missing []") == 2
    for old, new, one, other in zip(
        before, after, ("10.78.0.2", "fd78::2"), ("10.78.0.3", "fd78::3"), strict=True
    ):
        assert sum(f"--gateway {one}" in line for line in old) == 1
        rules = [line for line in old if line[0] in "-:"]
        moved = [line for line in new if line[0] in "-:"]
        assert moved == [line.replace(f"--gateway {one}", f"--gateway {other}") for line in rules]
    assert net.node.run("ip", "neigh", "show", "10.78.0.3", "dev", "peer0"), "it is being resolved"


def test_removed_without_a_trace(net: Net, tmp_path: Path) -> None:
    before = net.snapshot()
    drive(net, tmp_path, "apply")
    applied = net.snapshot()
    assert applied != before
    drive(net, tmp_path, "apply", "apply")
    assert net.snapshot() == applied, "applying again must change nothing"
    drive(net, tmp_path, "remove")
    assert net.snapshot() == before
    assert not list(tmp_path.iterdir())


def test_others_settings_are_left_alone(net: Net, tmp_path: Path) -> None:
    net.node.run("sysctl", "-q", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.peer0.rp_filter=1")
    net.node.run("iptables", "-t", "mangle", "-A", "INPUT", "-s", "192.0.2.7", "-j", "ACCEPT")
    net.node.run("ip", "addr", "add", "10.77.0.100/32", "dev", "lo")
    before = net.snapshot()
    drive(net, tmp_path, "apply", "apply", "backup")
    assert net.node.run("sysctl", "-n", "net.ipv4.conf.peer0.rp_filter") == "2\n"
    first = next(
        line for line in net.node.run("iptables-save", "-t", "mangle").splitlines() if "-A INPUT" in line
    )
    assert first == "-A INPUT -j FTT-web-in", "a rule before ours could let packets by"
    drive(net, tmp_path, "cleanup")
    assert net.snapshot() == before


@pytest.mark.parametrize("function", ["apply_rules", "write_sysctl", "add_address", "sync_routes"])
def test_a_killed_start_is_cleaned_up(net: Net, tmp_path: Path, function: str) -> None:
    before = net.snapshot()
    drive(net, tmp_path, f"die:{function}", "apply", killed=True)
    assert net.snapshot() != before
    assert drive(net, tmp_path, "cleanup") == "cleanup True\n"
    assert net.snapshot() == before
    assert drive(net, tmp_path, "cleanup") == "cleanup False\n"


def test_the_next_start_undoes_what_it_does_not_want(net: Net, tmp_path: Path) -> None:
    before = net.snapshot()
    drive(net, tmp_path / "fresh", "ipv4", "apply")
    wanted = net.snapshot()
    drive(net, tmp_path / "fresh", "remove")
    drive(net, tmp_path, "die:sync_routes", "apply", killed=True)
    drive(net, tmp_path, "ipv4", "apply")
    assert net.snapshot() == wanted
    drive(net, tmp_path, "remove")
    assert net.snapshot() == before


@pytest.mark.parametrize("address", ["10.77.0.100", "fd77::100"])
def test_client_segments_are_mirrored_to_the_peer(net: Net, tmp_path: Path, address: str) -> None:
    drive(net, tmp_path, "apply")
    with net.peer.capture("peer0", f"dst host {address} and tcp dst port 80") as mirrored:
        connect(net, address)
    mac = net.peer.mac("peer0")
    assert f"> {mac}" in mirrored[0], "the frame is the peer's"
    source = "fd77::10." if ":" in address else "10.77.0.10."
    assert f" {source}" in mirrored[0], "the IP header is the client's"


@pytest.mark.parametrize(("service", "own"), [("10.77.0.100", "10.77.0.10"), ("fd77::100", "fd77::10")])
def test_nothing_leaves_without_an_engine(net: Net, tmp_path: Path, service: str, own: str) -> None:
    drive(net, tmp_path, "apply")
    net.node.succeeds("ping", "-c", "1", "-W", "1", own)  # the neighbour is known from here on
    with net.client.capture("eth0", f"src host {service} or icmp or (icmp6 and ip6[40] == 128)") as seen:
        assert not net.node.succeeds("ping", "-c", "1", "-W", "1", "-I", service, own)
        assert net.node.succeeds("ping", "-c", "1", "-W", "2", own)
    assert service not in seen[0], "the first packet seen must be the one that may pass"


def test_the_kernel_does_not_answer_for_the_service_address(net: Net, tmp_path: Path) -> None:
    net.node.run("ip", "addr", "add", "10.77.0.100/32", "dev", "lo")
    assert net.client.succeeds("arping", "-c", "1", "-w", "2", "-I", "eth0", "10.77.0.100"), (
        "as Linux is by default"
    )
    net.node.run("ip", "addr", "del", "10.77.0.100/32", "dev", "lo")
    drive(net, tmp_path, "apply")
    assert not net.client.succeeds("arping", "-c", "1", "-w", "1", "-I", "eth0", "10.77.0.100")
    assert net.client.succeeds("arping", "-c", "1", "-w", "2", "-I", "eth0", "10.77.0.1")
    assert not net.client.succeeds("ping", "-c", "1", "-W", "1", "fd77::100")
    assert "lladdr" not in net.client.run("ip", "-6", "neigh", "show", "fd77::100")
    net.peer.run("ip", "route", "add", "10.77.0.100/32", "dev", "peer0")
    assert not net.peer.succeeds("arping", "-c", "1", "-w", "1", "-I", "peer0", "10.77.0.100")


def test_routes_follow_the_role_and_the_main_table(net: Net, tmp_path: Path) -> None:
    def table(version: str) -> str:
        return net.node.run("ip", version, "route", "show", "table", TABLE)

    drive(net, tmp_path, "apply", "backup")
    for version, network in (("-4", "10.77.0.0/24"), ("-6", "fd77::/64")):
        lines = table(version).splitlines()
        assert {network, "default"} <= {line.split()[0] for line in lines}
        assert all("quickack 1" in line and "rto_min lock 5ms" in line for line in lines)
        assert "peer0" not in table(version)
    net.node.run("ip", "route", "del", "default")
    net.node.run("ip", "route", "add", "192.0.2.0/24", "via", "10.77.0.10", "mtu", "1400")
    drive(net, tmp_path, "apply", "primary")
    assert "quickack" not in table("-4") + table("-6")
    assert "default" not in table("-4")
    assert "192.0.2.0/24 via 10.77.0.10 dev svc0 proto 70 mtu 1400" in table("-4")
    assert f"from 10.77.0.100 lookup {TABLE}" in net.node.run("ip", "rule")


def test_neighbours_are_kept_warm_with_our_own_address(net: Net, tmp_path: Path) -> None:
    net.node.run("ip", "neigh", "flush", "dev", "svc0")
    with net.client.capture("eth0", "arp and dst host 10.77.0.10") as asked:
        known = drive(net, tmp_path, "apply", "warm")
    assert "tell 10.77.0.1," in asked[0]
    assert net.node.succeeds("ping", "-c", "1", "-W", "2", "10.77.0.10")
    known = drive(net, tmp_path, "apply", "neighbours")
    mac = net.client.mac("eth0")
    assert f"IPv4Address('10.77.0.10'): '{mac}'" in known


def test_flushed_rules_are_noticed(net: Net, tmp_path: Path) -> None:
    assert drive(net, tmp_path, "apply", "missing").endswith("missing []\n")
    net.node.run("iptables", "-t", "mangle", "-F", "OUTPUT")
    net.node.run("ip6tables", "-t", "mangle", "-F", "FTT-web-in")
    noticed = drive(net, tmp_path, "missing", "apply", "missing").splitlines()
    assert noticed[0] == "missing ['IPv4 OUTPUT -> FTT-web-out', 'IPv6 INPUT -> FTT-web-in']"
    assert noticed[-1] == "missing []"


@pytest.mark.parametrize("address", ["10.77.0.100", "fd77::100"])
def test_no_connection_outlives_the_rules(net: Net, tmp_path: Path, address: str) -> None:
    """A dead server's FIN or data would be retransmitted to a client that another node serves by now."""
    drive(net, tmp_path, "apply")
    mac, prefix = net.node.mac("svc0"), "ip6tables" if ":" in address else "iptables"
    net.client.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0")
    for hook in ("INPUT", "OUTPUT"):  # stands for an engine that lets all by
        net.node.run(prefix, "-t", "mangle", "-I", hook, "-j", "ACCEPT")
    with subprocess.Popen(net.node.command(sys.executable, "-c", SERVER), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"listening\n"
        client = subprocess.Popen(net.client.command(sys.executable, "-c", CLIENT, address))
        try:
            assert server.stdout.readline() == b"accepted\n"
            for hook in ("INPUT", "OUTPUT"):
                net.node.run(prefix, "-t", "mangle", "-D", hook, "-j", "ACCEPT")
            server.kill()
            server.wait()
            assert address in net.node.run("ss", "-Htan"), "the orphan, whose FIN nobody lets out"
            drive(net, tmp_path, "remove")
            assert address not in net.node.run("ss", "-Htan")
            assert client.poll() is None, "the client must not have noticed"
        finally:
            client.kill()
            client.wait()


def test_strict_reverse_path_filtering_does_not_refuse_mirrored_segments(net: Net, tmp_path: Path) -> None:
    net.node.run("sysctl", "-q", "net.ipv4.conf.all.rp_filter=1")
    drive(net, tmp_path, "apply")
    command = net.node.command("timeout", "15", sys.executable, "-c", QUEUE_READER)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == b"listening\n"
        frame = net.peer.command(sys.executable, "-c", MIRRORED, net.node.mac("peer0"))
        subprocess.run(frame, check=True, timeout=30)
        assert reader.stdout.readline() == b"0a4d000a 0a4d0064\n"
