"""What `fttcp doctor` makes of what it has seen: pure functions from facts to findings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from fttcp.planes.base import STAMPED_MAX

# Linux versions, first and last, in which a verdict for a queued packet can hit the wrong memory.
CVE_2026_43084 = (((6, 12, 75), (6, 12, 82)), ((6, 18, 14), (6, 18, 23)), ((6, 19, 4), (6, 19, 13)))
MEMLOCK_MIN = 256 << 20  # bytes; more than the daemon has ever needed
_BETTER_ARBITER = "run a witness on a third host, or use etcd: docs/arbiters.md"
CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_NICE, CAP_SYS_TIME = 12, 13, 14, 23, 25
SLOW_CLOCKS = {"hpet", "acpi_pm", "jiffies", "refined-jiffies"}

Address = IPv4Address | IPv6Address


class Status(StrEnum):
    """What a finding means for the service."""

    OK = "ok"
    WARN = "warn"  # it works, but something is lost or at risk
    FAIL = "fail"  # it cannot work


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, what was seen, and what to do unless all is well."""

    name: str
    status: Status
    seen: str
    todo: str = ""


def ok(name: str, seen: str) -> Check:
    """All is well."""
    return Check(name, Status.OK, seen)


def warn(name: str, seen: str, todo: str) -> Check:
    """See Status.WARN."""
    return Check(name, Status.WARN, seen, todo)


def fail(name: str, seen: str, todo: str) -> Check:
    """See Status.FAIL."""
    return Check(name, Status.FAIL, seen, todo)


@dataclass(frozen=True)
class Trial:
    """Something that was tried in a throw-away network namespace: `error` is '' when it worked."""

    name: str
    error: str


@dataclass(frozen=True)
class Machine:
    """The facts about this machine. `capabilities` is the effective set as a bit mask, limits are bytes."""

    release: str
    version: str
    capabilities: int
    memlock: int
    clock_source: str
    bridge_calls_iptables: bool
    trials: Mapping[str, Trial]


@dataclass(frozen=True)
class Interface:
    """An interface as it is; `rp_filter` and `arp_ignore` are the effective values."""

    mtu: int
    carrier: bool
    multicast: bool
    rp_filter: int
    addresses: frozenset[Address]
    arp_ignore: int = 0
    proxy_arp: bool = False


@dataclass(frozen=True)
class Site:
    """What a configuration names, and how the machine stands to it.

    `links`: interface and our address of those that have one; `multicast`, `ethernet`: interfaces of the
    others; `serial`: devices, with what is wrong with each, or ''; `stamped`: pairs of address and port of
    each group whose long mirrored packets the kernel could edit; `firewalls`: how the rules of each group
    stand, `not_ready`: why a group is not ready, `lanes`: connections of its bulk lane, from the daemon, if
    one runs."""

    service_interface: str
    standby_interfaces: tuple[str, ...]
    peer_interface: str
    links: tuple[tuple[str, Address], ...]
    multicast: frozenset[str]
    ethernet: frozenset[str]
    serial: Mapping[str, str]
    service_addresses: frozenset[Address]
    default_interfaces: frozenset[str]
    interfaces: Mapping[str, Interface]
    arbiter: Mapping[str, Any]
    stamped: Mapping[str, int]
    firewalls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    not_ready: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    lanes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Where clients may come from."""
        return (self.service_interface, *self.standby_interfaces)


# Trial -> (what it is for, what to do, how bad it is without)
_TRIALS: dict[str, tuple[str, str, Status]] = {
    "network namespace": ("trying things out, and the lab", "run as root", Status.WARN),
    "NFQUEUE (xt, IPv4)": (
        "asking the engine about each packet",
        "apt-get install iptables; kernel: CONFIG_NETFILTER_XT_TARGET_NFQUEUE and _NETLINK_QUEUE",
        Status.FAIL,
    ),
    "NFQUEUE (xt, IPv6)": (
        "the same for IPv6",
        "kernel: CONFIG_IP6_NF_MANGLE or CONFIG_NFT_COMPAT",
        Status.WARN,
    ),
    "queue (nft)": ("nothing while NFQUEUE works through xt", "", Status.OK),
    "TEE (IPv4)": (
        "mirroring to the peer",
        "kernel: CONFIG_NETFILTER_XT_TARGET_TEE, CONFIG_NF_DUP_IPV4",
        Status.FAIL,
    ),
    "TEE (IPv6)": ("mirroring IPv6 to the peer", "kernel: CONFIG_NF_DUP_IPV6", Status.WARN),
    "CT --notrack": (
        "keeping conntrack away from flows that it sees one side of",
        "kernel: CONFIG_NETFILTER_XT_TARGET_CT; without it, drop no packets for being INVALID",
        Status.WARN,
    ),
    "matches": (
        "telling packets of the service from others (mark, multiport, socket)",
        "kernel: CONFIG_NETFILTER_XT_MATCH_MARK, _MULTIPORT, _SOCKET, CONFIG_NF_SOCKET_IPV4",
        Status.FAIL,
    ),
    "rules with an owner": (
        "rules that nobody else can flush, and a guard behind everything",
        "kernel 5.12 or later with CONFIG_NF_TABLES, CONFIG_NFT_COMPAT; "
        "without it whoever flushes the firewall lets a backup speak for some seconds: let nothing flush it",
        Status.WARN,
    ),
    "rules that persist": (
        "rules that stay whoever dies, and that nobody can flush",
        "kernel 6.9 or later; without it a flush closes the service for a moment",
        Status.WARN,
    ),
    "packet queues": (
        "handing packets to the engine",
        "kernel: CONFIG_NETFILTER_NETLINK_QUEUE (modprobe nfnetlink_queue)",
        Status.FAIL,
    ),
    "header edits": (
        "a backup's engine that need not see all that clients upload",
        "kernel 5.18 or later with CONFIG_NF_TABLES and _NF_TABLES_INET; without it uploads cost more time",
        Status.WARN,
    ),
    "statistic": ("packet loss in the lab", "kernel: CONFIG_NETFILTER_XT_MATCH_STATISTIC", Status.WARN),
    "route metrics": (
        "a backup that acknowledges at once (quickack, rto_min)",
        "apt-get install iproute2; without it protected connections are slow",
        Status.FAIL,
    ),
    "policy routing": (
        "routes of the service's own",
        "kernel: CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES",
        Status.FAIL,
    ),
    "raw sockets": (
        "delivering mirrored packets, announcing the address",
        "kernel: CONFIG_PACKET",
        Status.FAIL,
    ),
    "ending connections": (
        "a stopped node's kernel that does not retransmit to clients of the other",
        "kernel: CONFIG_INET_DIAG_DESTROY; apt-get install iproute2",
        Status.WARN,
    ),
    "real-time priority": (
        "heartbeats in time on a busy machine",
        "run as root, or allow it: LimitRTPRIO=50 in the unit; in a container: --cap-add SYS_NICE",
        Status.WARN,
    ),
    "health of servers": (
        "seeing which process listens, and what waits in its sockets",
        "kernel: CONFIG_INET_DIAG, CONFIG_INET_UDP_DIAG",
        Status.FAIL,
    ),
    "native core": ("everything", "make build (libmnl-dev and libsodium-dev must be there)", Status.FAIL),
}


def check_machine(machine: Machine) -> Iterator[Check]:
    """All findings about a machine."""
    yield check_kernel(machine)
    yield check_capabilities(machine)
    for name, (purpose, todo, without) in _TRIALS.items():
        if name in machine.trials:
            yield check_trial(machine.trials[name], purpose, todo, without)
    yield check_memlock(machine)
    yield check_clock(machine)
    if machine.bridge_calls_iptables:
        yield warn(
            "bridges",
            "bridged frames pass iptables (net.bridge.bridge-nf-call-iptables=1)",
            "sysctl net.bridge.bridge-nf-call-iptables=0, unless something needs it",
        )


def check_site(site: Site) -> Iterator[Check]:
    """All findings about how a machine suits a configuration."""
    by_frames = sorted(site.multicast | site.ethernet)
    for name in dict.fromkeys(
        (*site.adapters, site.peer_interface, *(name for name, _ in site.links), *by_frames)
    ):
        yield check_interface(site, name)
    for name, address in site.links:
        yield check_link_address(site, name, address)
    for name in sorted(site.multicast):
        yield check_multicast(site, name)
    for device, trouble in sorted(site.serial.items()):
        yield check_serial(device, trouble)
    for address in sorted(site.service_addresses, key=str):
        yield check_service_address(site, address)
    yield check_mtu(site)
    yield check_reverse_path(site)
    yield check_arp(site)
    yield check_default_route(site)
    for group, pairs in site.stamped.items():
        yield check_stamped(site, group, pairs)
    for group, firewall in site.firewalls.items():
        yield check_firewall(group, firewall)
    for group, reasons in site.not_ready.items():
        for reason in reasons:
            yield warn(f"ready {group}", reason["what"], reason["todo"])
    for group, lane in site.lanes.items():
        yield check_lane(group, lane)
    yield from check_arbiter(site.arbiter)


def check_arbiter(arbiter: Mapping[str, Any]) -> Iterator[Check]:
    """Who decides when the nodes cannot hear each other. Facts: those of ``node.arbiters.examine``."""
    kind = arbiter["kind"]
    if arbiter.get("error"):
        yield fail("arbiter", f"{kind}: {arbiter['error']}", "correct [arbiter]")
    elif kind == "none":
        yield warn("arbiter", f"none: {arbiter['residual_risk']}", _BETTER_ARBITER)
        if arbiter["reachable"] is False:
            todo = "look at the service network, or correct the reference addresses"
            yield fail("reference address", arbiter["last_error"], todo)
    elif not arbiter["reachable"]:
        todo = "start it, and look at its log; until it answers, no node can take over"
        yield fail("arbiter", f"{kind}: {arbiter['last_error']}", todo)
    elif arbiter.get("mismatch"):
        todo = "set arbiter.lease_ms here, or lease_ms there"
        yield fail("arbiter", f"{kind}: {arbiter['mismatch']}", todo)
    else:
        places = ", ".join(arbiter["endpoints"])
        yield ok("arbiter", f"{kind} at {places} answers. {arbiter['residual_risk']}")


def kernel_version(release: str, version: str) -> tuple[int, ...]:
    """The upstream version of a kernel: Debian gives it in `version` (uname -v), others in `release`."""
    match = re.search(r"(?<=Debian )\d+(\.\d+)+", version) or re.match(r"\d+(\.\d+)+", release)
    return tuple(map(int, match.group().split("."))) if match else ()


def check_kernel(machine: Machine) -> Check:
    """Known faults of this kernel version."""
    found = kernel_version(machine.release, machine.version)
    if any(first <= found <= last for first, last in CVE_2026_43084):
        return warn(
            "kernel",
            f"{machine.release} has CVE-2026-43084 (memory corruption in nfnetlink_queue)",
            "update the kernel; distributions may have fixed it under the same number",
        )
    return ok("kernel", machine.release)


def check_capabilities(machine: Machine) -> Check:
    """What a node must be allowed to do."""
    needed = {"CAP_NET_ADMIN": CAP_NET_ADMIN, "CAP_NET_RAW": CAP_NET_RAW}
    lacking = [name for name, bit in needed.items() if not machine.capabilities >> bit & 1]
    if lacking:
        return fail(
            "capabilities", f"without {' and '.join(lacking)}", "run as root, or as the systemd unit does"
        )
    wished = {"CAP_IPC_LOCK": CAP_IPC_LOCK, "CAP_SYS_NICE": CAP_SYS_NICE}
    missed = [name for name, bit in wished.items() if not machine.capabilities >> bit & 1]
    if missed:
        return warn(
            "capabilities",
            f"without {' and '.join(missed)}: heartbeats may be late on a busy machine",
            "run as root, or as the systemd unit does",
        )
    return ok("capabilities", ", ".join([*needed, *wished]))


def check_trial(trial: Trial, purpose: str, todo: str, without: Status) -> Check:
    """One thing that was tried."""
    if not trial.error:
        return ok(trial.name, "works")
    if without is Status.OK:
        return ok(trial.name, f"does not work, needed for {purpose}")
    return Check(trial.name, without, f"{trial.error} (needed for {purpose})", todo)


def check_memlock(machine: Machine) -> Check:
    """Whether the daemon can keep its memory from being swapped out."""
    if machine.capabilities >> CAP_IPC_LOCK & 1 or machine.memlock < 0 or machine.memlock >= MEMLOCK_MIN:
        return ok("locked memory", "allowed")
    return warn(
        "locked memory",
        f"limited to {machine.memlock >> 10} KiB: under memory pressure heartbeats may be late",
        "run as root, or LimitMEMLOCK=infinity in the unit",
    )


def check_clock(machine: Machine) -> Check:
    """Whether reading the clock for each packet is cheap."""
    if machine.clock_source in SLOW_CLOCKS:
        return warn(
            "clock source",
            f"{machine.clock_source}: each reading is a system call",
            "find out why the kernel distrusts the TSC (dmesg | grep -i tsc)",
        )
    return ok("clock source", machine.clock_source or "unknown")


def check_interface(site: Site, name: str) -> Check:
    """An interface that the configuration names."""
    interface = site.interfaces.get(name)
    if interface is None:
        return fail(
            f"interface {name}",
            f"not there; there are {', '.join(sorted(site.interfaces))}",
            "correct service_interface, peer_interface or the link in the configuration",
        )
    if not interface.carrier:
        return warn(f"interface {name}", "no carrier", "look at the cable, or: ip link set up")
    return ok(f"interface {name}", f"up, MTU {interface.mtu}")


def check_link_address(site: Site, name: str, address: Address) -> Check:
    """Our own address on a link."""
    interface = site.interfaces.get(name)
    if interface is not None and address in interface.addresses:
        return ok(f"link {name}", f"has {address}")
    return fail(f"link {name}", f"{address} is not on {name}", f"ip addr add {address}/LEN dev {name}")


def check_multicast(site: Site, name: str) -> Check:
    """An interface over which heartbeats go to a multicast group."""
    interface = site.interfaces.get(name)
    if interface is not None and not interface.multicast:
        return fail(
            f"multicast {name}",
            "the interface does no multicast",
            f"ip link set {name} multicast on, or use another transport for this link",
        )
    return ok(f"multicast {name}", "the interface does multicast" if interface else "not there")


def check_serial(device: str, trouble: str) -> Check:
    """A serial line for heartbeats."""
    if trouble:
        return fail(
            f"serial {device}",
            trouble,
            "correct the link's device; the daemon's user must be in its group (dialout), "
            "and no getty may run on it",
        )
    return ok(f"serial {device}", "a terminal device that can be read and written")


def check_service_address(site: Site, address: Address) -> Check:
    """A service address must not be where the kernel answers ARP or ND for it."""
    at = sorted(n for n, interface in site.interfaces.items() if n != "lo" and address in interface.addresses)
    if at:
        return fail(
            f"address {address}",
            f"it is on {', '.join(at)}: the kernel would answer for it on both nodes",
            f"ip addr del {address} dev {at[0]}, and remove it from the network configuration",
        )
    return ok(f"address {address}", "on no interface but lo")


def check_mtu(site: Site) -> Check:
    """A mirrored packet must fit the peer link as it is."""
    there = [(name, site.interfaces.get(name)) for name in (*site.adapters, site.peer_interface)]
    mtus = {name: interface.mtu for name, interface in there if interface is not None}
    if len(mtus) < len(dict(there)):
        return fail("MTU", "an interface is missing", "see above")
    seen = ", ".join(f"{name} {mtu}" for name, mtu in mtus.items())
    if mtus[site.peer_interface] < max(mtus.values()):
        todo = f"ip link set {site.peer_interface} mtu {max(mtus.values())}, on both nodes"
        return fail("MTU", f"{seen}: full-sized client packets cannot be mirrored", todo)
    return ok("MTU", seen)


def check_reverse_path(site: Site) -> Check:
    """Strict reverse path filtering would refuse mirrored packets, and answers over a standby adapter."""
    names = (site.peer_interface, *(site.adapters if site.standby_interfaces else ()))
    there = {name: site.interfaces[name] for name in names if name in site.interfaces}
    strict = [name for name, interface in there.items() if interface.rp_filter == 1]
    if strict:
        seen = f"strict on {', '.join(strict)}; the node makes it loose while it runs"
        return ok("reverse path filter", seen)
    return ok("reverse path filter", "not strict on the peer link")


def check_arp(site: Site) -> Check:
    """Who answers ARP, and for what: the engine for service addresses, the kernel for the node's own."""
    conf = "net.ipv4.conf"
    for name in (*site.adapters, site.peer_interface):
        interface = site.interfaces.get(name)
        if interface is not None and interface.arp_ignore > 2:
            seen = f"arp_ignore is {interface.arp_ignore} on {name}: its own address may not be answered for"
            todo = f"sysctl {conf}.all.arp_ignore=0 {conf}.{name}.arp_ignore=0; the node sets what it needs"
            return warn("ARP", seen, todo)
    for name in site.adapters:
        service = site.interfaces.get(name)
        if service is not None and service.proxy_arp:
            seen = f"proxy_arp is on for {name}: without a daemon the kernel may answer"
            return warn("ARP", seen, f"sysctl {conf}.{name}.proxy_arp=0")
    return ok("ARP", "the kernel answers for the node's own addresses only")


def check_default_route(site: Site) -> Check:
    """Answers to clients beyond the link should leave by the service interface."""
    if site.default_interfaces and site.service_interface not in site.default_interfaces:
        return warn(
            "default route",
            f"over {', '.join(sorted(site.default_interfaces))}, not {site.service_interface}: "
            "clients beyond the link are answered through another interface",
            f"give {site.service_interface} a route to the clients",
        )
    return ok("default route", f"over {site.service_interface}" if site.default_interfaces else "none")


def check_firewall(group: str, firewall: Mapping[str, Any]) -> Check:
    """How a running daemon's rules stand; what the kernel can do is a matter of the trials."""
    name = f"firewall {group}"
    if firewall["missing"]:
        seen = f"not there: {'; '.join(firewall['missing'])}"
        todo = "find out who changes the host; why it is not put back, the event background-failed tells"
        return fail(name, seen, todo)
    layers = "rules and guard stand" if firewall["guard"] else "rules stand, without a guard"
    seen = f"{layers} ({firewall['level']})"
    if firewall["stopped"]:
        seen += f"; the guard has stopped {firewall['stopped']} packets that came round the rules"
        return warn(name, seen, "find out who changes the firewall, or sends by another way")
    if not firewall["guard"]:
        return warn(name, f"{seen}: {firewall['why']}", "see `rules with an owner` above")
    return ok(name, seen)


def check_lane(group: str, lane: Mapping[str, int]) -> Check:
    """Whether TCP passes on the peer link."""
    name, seen = f"bulk lane {group}", f"{lane['up']} of {lane['wanted']} connections"
    if lane["up"] < lane["wanted"]:
        todo = "let TCP pass on the peer link, on both nodes: ports channel_port + 1 and of further workers"
        return warn(name, f"{seen}: living connections get no new backup", todo)
    return ok(name, seen)


def check_stamped(site: Site, group: str, pairs: int) -> Check:
    """Whether an engine has the kernel edit long mirrored packets, if the kernel can: see ftt_stamp_try()."""
    name, slower = f"header edits of {group}", "until then uploads cost more time"
    if site.service_interface == site.peer_interface:
        seen = f"the mirror comes in where the clients are, on {site.peer_interface}: not by the kernel"
        return warn(name, seen, f"give the peer link an interface of its own; {slower}")
    if pairs > STAMPED_MAX:
        seen = f"{pairs} pairs of address and port, more than {STAMPED_MAX}: not by the kernel"
        return warn(name, seen, f"divide the group; {slower}")
    return ok(name, "by the kernel, if it can")
