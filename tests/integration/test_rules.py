"""The network side of a node on a real kernel: in force, and gone without a trace."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.hosts import Process
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
ACCEPT_ALL = """
from select import select
from netfilterqueue import NetfilterQueue
queues = [NetfilterQueue() for _ in range(32)]
for number, queue in enumerate(queues, 7700):
    queue.bind(number, lambda packet: packet.accept())
print("listening", flush=True)
while True:
    readable = select([queue.get_fd() for queue in queues], [], [])[0]
    for queue in queues:
        if queue.get_fd() in readable:
            queue.run(block=False)
"""
MIRRORED = """
import sys
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.sendrecv import sendp
segment = IP(src="10.77.0.10", dst="10.77.0.100") / TCP(sport=40000, dport=80, flags="A")
sendp(Ether(dst=sys.argv[1]) / segment, iface="peer0", verbose=False)
"""
OWN_MAC = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from fttcp.network import kernel, network
from tests.integration.network_driver import SERVICE4, group
run_dir, interface, mac = sys.argv[1:]
web = replace(group("web", SERVICE4), service_interface=interface, mac=bytes.fromhex(mac.replace(":", "")))
setup = network.NetworkSetup([web], Path(run_dir))
async def start():
    await setup.apply()
    await setup.remove()
try:
    asyncio.run(start())
    print("started")
except kernel.KernelError as error:
    print(error)
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


@pytest.mark.parametrize("firewall", ["kept", "flushable"])
def test_the_mirror_moves_to_another_peer_and_all_else_stays(net: Net, tmp_path: Path, firewall: str) -> None:
    shown = "tables" if firewall == "kept" else "saved"
    said = drive(net, tmp_path, firewall, "apply", "missing", shown, "mirror", "missing", shown)
    assert said.count("missing []") == 2
    _, before, after = (part.split("mirror None")[0] for part in said.split(f"{shown} "))
    assert ("10.78.0.2" in before, "10.78.0.3" in before) == (True, False)
    assert ("10.78.0.2" in after, "10.78.0.3" in after) == (False, True)
    moved = before.replace("10.78.0.2", "10.78.0.3").replace("fd78::2", "fd78::3")
    assert rules_of(after) == rules_of(moved)
    if firewall == "flushable":
        assert (after.count("--ttl-inc 1"), after.count("--hl-inc 1")) == (1, 1)
        assert (after.count("-m u32"), after.count("0xa4d0064")) == (7, 3), "one for each kind of error"
    assert net.node.run("ip", "neigh", "show", "10.78.0.3", "dev", "peer0"), "it is being resolved"


def rules_of(shown: str) -> list[str]:
    lines = [line.strip() for line in shown.splitlines()]
    return [line for line in lines if line and not line.startswith(("missing", "#", ":"))]


def test_removed_without_a_trace(net: Net, tmp_path: Path) -> None:
    before = net.snapshot()
    drive(net, tmp_path, "apply")
    applied = net.snapshot()
    assert applied != before
    drive(net, tmp_path, "apply", "apply")
    assert net.snapshot() == applied, "applying again must change nothing"
    drive(net, tmp_path, "remove")
    assert net.snapshot() == applied, "what has not been applied here is not removed"
    drive(net, tmp_path, "apply", "remove")
    assert net.snapshot() == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("firewall", ["kept", "guarded", "flushable"])
def test_others_settings_are_left_alone(net: Net, tmp_path: Path, firewall: str) -> None:
    net.node.run("sysctl", "-q", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.peer0.rp_filter=1")
    net.node.run("iptables", "-t", "mangle", "-A", "INPUT", "-s", "192.0.2.7", "-j", "ACCEPT")
    net.node.run("ip", "addr", "add", "10.77.0.100/32", "dev", "lo")
    before = net.snapshot()
    drive(net, tmp_path, firewall, "apply", "apply", "backup")
    assert net.node.run("sysctl", "-n", "net.ipv4.conf.peer0.rp_filter") == "2\n"
    first = next(
        line for line in net.node.run("iptables-save", "-t", "mangle").splitlines() if "-A INPUT" in line
    )
    if firewall == "flushable":
        assert first == "-A INPUT -j FTT-web-in", "a rule before ours could let packets by"
    drive(net, tmp_path, "cleanup")
    assert net.snapshot() == before


@pytest.mark.parametrize("function", ["install", "write_sysctl", "add_address", "sync_routes"])
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
    drive(net, tmp_path / "fresh", "cleanup")
    drive(net, tmp_path, "die:sync_routes", "apply", killed=True)
    drive(net, tmp_path, "ipv4", "apply")
    assert net.snapshot() == wanted
    drive(net, tmp_path, "cleanup")
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


def test_routes_over_another_interface_do_not_stay(net: Net, tmp_path: Path) -> None:
    """After a kill, the service interface may be another one: renamed, made anew, or named by the file."""

    def table() -> str:
        return "".join(net.node.run("ip", ver, "route", "show", "table", TABLE) for ver in ("-4", "-6"))

    stale = [
        ("-4", "10.77.0.0/24"),
        ("-4", "192.0.2.0/24"),
        ("-6", "fd77::/64", "metric", "256"),
        ("-6", "2001:db8::/64"),
    ]

    def leave(verb: str) -> None:
        for version, *route in stale:
            net.node.run("ip", version, "route", verb, *route, "dev", "peer0", "table", TABLE, "proto", "70")
        assert table().count("dev peer0") == len(stale)

    leave("add")
    drive(net, tmp_path, "apply")
    fresh = table()
    assert "peer0" not in fresh and "10.77.0.0/24 dev svc0" in fresh and "fd77::/64 dev svc0" in fresh
    stale[:] = stale[2:]  # IPv6 knows several routes of one metric
    leave("append")
    drive(net, tmp_path, "apply")
    assert table() == fresh


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
    said = drive(
        net, tmp_path, "flushable", "apply", "missing", "flush-iptables", "missing", "apply", "missing"
    )
    noticed = [line for line in said.splitlines() if line.startswith("missing")]
    assert noticed == [
        "missing []",
        "missing ['IPv4 OUTPUT -> FTT-web-out', 'IPv6 INPUT -> FTT-web-in']",
        "missing []",
    ]


def test_a_rule_before_ours_is_noticed_where_it_matters(net: Net, tmp_path: Path) -> None:
    """Rules of iptables end with the first that accepts; and what conntrack is kept from, INVALID is."""
    said = drive(
        net, tmp_path, "flushable", "apply", "before-ours", "missing", "apply", "missing", "standing"
    )
    assert [line for line in said.splitlines() if line.startswith(("missing", "standing"))] == [
        "missing ['IPv4 OUTPUT -> FTT-web-out', 'IPv6 PREROUTING -> FTT-web-raw']",
        "missing []",
        "standing [True, False]",
    ]


def test_flushed_rules_of_routing_come_back(net: Net, tmp_path: Path) -> None:
    """Main's own rule is gone, too: what is not the service's is not ours, but the peer must be heard."""
    before = net.snapshot()
    steps = ["apply", "flush-ip-rule", "restored", "restored", "reach", "mended", "mended"]
    said = drive(net, tmp_path, *steps).splitlines()
    assert [line for line in said if line.startswith(("restored", "mended"))] == [
        f"restored ['ip rule from 10.77.0.100 lookup {TABLE}', 'ip rule from fd77::100 lookup {TABLE}', "
        "'ip rule to 10.78.0.2 lookup main', 'ip rule to fd78::2 lookup main']",
        "restored []",
        "mended ['10.77.0.100 on lo']",
        "mended []",
    ]
    reached = " ".join(said)
    assert "10.78.0.2 dev peer0" in reached and "fd78::2" in reached and "10.77.0.10 dev" not in reached
    for family in ("-4", "-6"):
        net.node.run("ip", family, "rule", "add", "lookup", "main", "pref", "32766")
    net.node.run("ip", "rule", "add", "lookup", "default", "pref", "32767")
    drive(net, tmp_path, "cleanup")
    assert net.snapshot() == before, "what was put back was ours to remove"


def test_sysctls_that_are_set_back_are_mended_and_in_the_end_as_before(net: Net, tmp_path: Path) -> None:
    before = net.snapshot()
    said = drive(net, tmp_path, "apply", "sysctls-back", "mended", "mended", "remove")
    assert [line for line in said.splitlines() if line.startswith("mended")] == [
        "mended ['net.ipv4.ip_early_demux = 0 (it is 1)', 'net.ipv4.conf.svc0.arp_announce = 2 (it is 0)', "
        "'net.ipv6.conf.peer0.keep_addr_on_down = 1 (it is 0)', "
        "'net.ipv4.conf.peer0.rp_filter = 2 (it is 0)']",
        "mended []",
    ]
    net.node.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.svc0.arp_announce=0")
    assert net.snapshot() == before


@pytest.mark.parametrize("firewall", ["kept", "flushable"])
@pytest.mark.parametrize(("service", "client"), [("10.77.0.100", "10.77.0.10"), ("fd77::100", "fd77::10")])
def test_what_is_for_this_hosts_stack_stays_here(
    net: Net, tmp_path: Path, firewall: str, service: str, client: str
) -> None:
    """A reset for a backup's own stack would end the connection on the primary."""
    net.node.run("ping", "-c", "1", "-W", "2", "10.77.0.10")
    with net.client.capture(
        "eth0", f"dst host {service} or (dst host {client} and (icmp or ip6[40] == 128))"
    ) as seen:
        drive(net, tmp_path, firewall, "apply", "address-gone", "inject")
        net.node.run("ping", "-c", "1", "-W", "2", client)
    assert "echo request" in seen[0]


def test_what_cannot_be_mended_refuses_a_change_and_is_told_else(net: Net, tmp_path: Path) -> None:
    """Rules that somebody flushed are put back whatever else is missing; a new group starts whole or not."""
    said = drive(net, tmp_path, "apply", "change", "harden", "apply", "ground", "change").splitlines()
    assert [line for line in said if line.startswith("change")] == ["change done", "change refused"]
    assert "fd77::100 on lo (cannot add fd77::100 to lo: Permission denied" in " ".join(said)


def test_routes_stay_while_main_has_none(net: Net, tmp_path: Path) -> None:
    said = drive(net, tmp_path, "apply", "main-empty", "ground", "main-empty")
    assert said.count("10.77.0.0/24 dev svc0") == said.count("default via 10.77.0.10 dev svc0") == 2
    assert "no way to 10.78.0.2 over peer0" in said


def test_tables_with_an_owner_cannot_be_flushed(net: Net, tmp_path: Path) -> None:
    said = drive(net, tmp_path, "kept", "apply", "flush", "missing").splitlines()
    assert said[-1] == "missing []"


@pytest.mark.parametrize("firewall", ["kept", "guarded"])
def test_the_guard_stops_what_comes_round_the_rules(net: Net, tmp_path: Path, firewall: str) -> None:
    """Without that which leads to the engine nothing has its token."""
    for own in ("10.77.0.10", "fd77::10"):
        net.node.succeeds("ping", "-c", "1", "-W", "1", own)  # the neighbours are known from here on
    round_the_rules = "flush" if firewall == "guarded" else "without-rules"
    steps = ["apply", "stopped", round_the_rules, "missing", "speak", "stopped", "apply", "missing"]
    with net.client.capture(
        "eth0", "src host 10.77.0.100 or src host fd77::100 or (icmp and src host 10.77.0.1)"
    ) as seen:
        said = drive(net, tmp_path, firewall, *steps).splitlines()
        assert net.node.succeeds("ping", "-c", "1", "-W", "2", "10.77.0.10")
    assert " 10.77.0.1 > " in seen[0], "the first packet seen must be the one that may pass"
    stopped = [line for line in said if line.startswith("stopped")]
    assert stopped == ["stopped 0", "stopped 2"]
    noticed = [line for line in said if line.startswith("missing")]
    assert "ip fttcp-rules-web: 0 rules of" in noticed[0] and noticed[1] == "missing []"


@pytest.mark.parametrize("firewall", ["kept", "guarded", "flushable"])
def test_a_dead_daemon_leaves_the_host_closed(net: Net, tmp_path: Path, firewall: str) -> None:
    before = net.snapshot()
    drive(net, tmp_path, firewall, "apply", "die", killed=True)
    net.node.succeeds("ping", "-c", "1", "-W", "1", "10.77.0.10")
    with net.client.capture("eth0", "src host 10.77.0.100 or (icmp and src host 10.77.0.1)") as seen:
        assert not net.node.succeeds("ping", "-c", "1", "-W", "1", "-I", "10.77.0.100", "10.77.0.10")
        assert net.node.succeeds("ping", "-c", "1", "-W", "2", "10.77.0.10")
    assert "10.77.0.100" not in seen[0]
    drive(net, tmp_path, "apply", "remove")  # adopts what is left
    assert net.snapshot() == before


@pytest.mark.parametrize("firewall", ["kept", "guarded"])
def test_a_dead_daemon_leaves_the_host_closed_to_a_flush(net: Net, tmp_path: Path, firewall: str) -> None:
    """The guard has an owner still; the next daemon, or cleanup, is not hindered by that."""
    before = net.snapshot()
    for own in ("10.77.0.10", "fd77::10"):
        net.node.succeeds("ping", "-c", "1", "-W", "1", own)
    drive(net, tmp_path, firewall, "apply", "die", killed=True)
    net.node.run("nft", "flush", "ruleset")
    with net.client.capture(
        "eth0", "src host 10.77.0.100 or src host fd77::100 or (icmp and src host 10.77.0.1)"
    ) as seen:
        assert not net.node.succeeds("ping", "-c", "1", "-W", "1", "-I", "10.77.0.100", "10.77.0.10")
        assert not net.node.succeeds("ping", "-c", "1", "-W", "1", "-I", "fd77::100", "fd77::10")
        assert net.node.succeeds("ping", "-c", "1", "-W", "2", "10.77.0.10")
    assert " 10.77.0.1 > " in seen[0], "the first packet seen must be the one that may pass"
    drive(net, tmp_path, firewall, "apply", "die", killed=True)
    assert drive(net, tmp_path, "cleanup") == "cleanup True\n"
    assert net.snapshot() == before


def test_another_daemon_of_the_host_changes_nothing(net: Net, tmp_path: Path) -> None:
    command = net.node.command(
        sys.executable, "-m", "tests.integration.network_driver", str(tmp_path / "one"), "apply", "wait"
    )
    with Process(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "apply None\n"
        during = net.snapshot()
        for step in ("apply", "refused"):
            said = drive(net, tmp_path / "other", f"try:{step}")
            assert "another fttcp node of this host has what this one needs" in said
            assert net.snapshot() == during
        (tmp_path / "stale").mkdir()
        (tmp_path / "stale" / "network.json").write_text((tmp_path / "one" / "network.json").read_text())
        assert "another fttcp node" in drive(net, tmp_path / "stale", "try:cleanup")
        assert net.snapshot() == during
        first.communicate("end")


@pytest.mark.parametrize("address", ["10.77.0.100", "fd77::100"])
def test_no_connection_outlives_the_rules(net: Net, tmp_path: Path, address: str) -> None:
    """A dead server's FIN or data would be retransmitted to a client that another node serves by now."""
    drive(net, tmp_path, "apply")
    mac = net.node.mac("svc0")
    net.client.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0")
    engine = subprocess.Popen(net.node.command(sys.executable, "-c", ACCEPT_ALL), stdout=subprocess.PIPE)
    assert engine.stdout is not None and engine.stdout.readline() == b"listening\n"
    with Process(net.node.command(sys.executable, "-c", SERVER), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"listening\n"
        client = subprocess.Popen(net.client.command(sys.executable, "-c", CLIENT, address))
        try:
            assert server.stdout.readline() == b"accepted\n"
            engine.kill()
            engine.wait()
            server.kill()
            server.wait()
            assert address in net.node.run("ss", "-Htan"), "the orphan, whose FIN nobody lets out"
            drive(net, tmp_path, "cleanup")
            assert address not in net.node.run("ss", "-Htan")
            assert client.poll() is None, "the client must not have noticed"
        finally:
            for process in (client, engine):
                process.kill()
                process.wait()


def test_strict_reverse_path_filtering_does_not_refuse_mirrored_segments(net: Net, tmp_path: Path) -> None:
    net.node.run("sysctl", "-q", "net.ipv4.conf.all.rp_filter=1")
    drive(net, tmp_path, "apply")
    command = net.node.command("timeout", "15", sys.executable, "-c", QUEUE_READER)
    with Process(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == b"listening\n"
        frame = net.peer.command(sys.executable, "-c", MIRRORED, net.node.mac("peer0"))
        subprocess.run(frame, check=True, timeout=30)
        assert reader.stdout.readline() == b"0a4d000a 0a4d0064\n"


def test_a_mac_address_that_cannot_work_is_refused_at_the_start(net: Net, tmp_path: Path) -> None:
    net.node.run(*["ip", "link", "add", "mv0", "link", "svc0", "type", "macvlan", "mode", "bridge"])

    def started(interface: str, mac: str) -> str:
        command = net.node.command(sys.executable, "-c", OWN_MAC, str(tmp_path), interface, mac)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = net.snapshot()
    assert "mv0 is a macvlan" in started("mv0", "02:00:00:00:01:07")
    for interface in ("svc0", "mv0"):
        assert f"is {interface}'s own" in started("svc0", net.node.mac(interface))
    assert net.snapshot() == before
    assert started("svc0", "02:00:00:00:01:07") == "started\n"
