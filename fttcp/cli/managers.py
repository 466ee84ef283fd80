"""What else on this host manages rules, addresses, routes and sysctls, for `fttcp doctor`: found by what is
there, a process, a unit that is enabled, a file; with systemd or without. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from fttcp.cli.checks import Address, Check, fail, ok, warn

_RULES_OUTLIVE = "fttcp's own rules outlive that where `rules that persist` works"


@dataclass(frozen=True)
class Manager:
    """A program that manages the host's network. ``processes``: names in /proc/PID/comm (the first 15
    letters); ``units``: enabled ones count; ``files``: any of them is enough. ``harmless``: a file and a
    pattern in it that says that it has been told to keep away."""

    name: str
    consequence: str
    todo: str = ""
    processes: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    harmless: tuple[tuple[str, str], ...] = ()


MANAGERS = (
    Manager(
        "NetworkManager",
        "a connection that goes down or is changed takes addresses and routes off its interface: the "
        "peer link "
        "loses its address, and with it the pair",
        "keep it from the peer link: unmanaged-devices=interface-name:IFACE in "
        "/etc/NetworkManager/conf.d; do not "
        "give it lo",
        ("NetworkManager",),
        ("NetworkManager.service",),
        harmless=(("etc/NetworkManager/conf.d/*.conf", r"^\s*unmanaged-devices\s*="),),
    ),
    Manager(
        "systemd-networkd",
        "its start and reload remove routes and rules of routing that are not its own; fttcp puts back "
        "what it "
        "needs, and clients wait so long",
        "ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no in "
        "/etc/systemd/networkd.conf.d/fttcp.conf",
        ("systemd-network",),
        ("systemd-networkd.service",),
        harmless=(
            ("etc/systemd/networkd.conf*", r"^\s*ManageForeignRoutingPolicyRules\s*=\s*(no|false|0)"),
            ("etc/systemd/networkd.conf.d/*.conf", r"^\s*ManageForeignRoutingPolicyRules\s*=\s*(no|false|0)"),
        ),
    ),
    Manager(
        "ifupdown",
        "ifdown and ifup take the addresses off an interface, IPv6 ones with it: on the peer link that "
        "parts the "
        "nodes, on the service interface it is a cable that is out",
        "`fttcp pause --all` before them, or stop this node; no service address in /etc/network/interfaces",
        (),
        ("networking.service",),
        ("sbin/ifup", "usr/sbin/ifup"),
        harmless=(("etc/network/interfaces", r"\A(?!(?s:.*)^\s*iface (?!lo\b))"),),
    ),
    Manager(
        "cloud-init",
        "it writes the network configuration anew at a boot, from what the provider says; one that lists the "
        "service address puts it on an interface, where the kernel answers for it",
        'write "network: {config: disabled}" to /etc/cloud/cloud.cfg.d/99-network.cfg',
        (),
        ("cloud-init.service", "cloud-init-network.service"),
        ("etc/cloud/cloud.cfg",),
        harmless=(
            ("etc/cloud/cloud.cfg.d/*.cfg", r"^\s*network:\s*\{\s*config:\s*disabled"),
            ("etc/cloud/cloud-init.disabled", r""),
        ),
    ),
    Manager(
        "cloud agent",
        "it puts addresses that the provider forwards to this host on an interface, the service address "
        "too, and "
        "routes and rules of routing with them",
        "keep it from the network: [NetworkInterfaces] setup=false, [IpForwarding] ethernet_proto_id of "
        "google-guest-agent; the like of others",
        ("google_guest_ag", "google_guest_co", "waagent", "azure-network-", "ec2net"),
        ("google-guest-agent.service", "policy-routes@.service", "walinuxagent.service"),
    ),
    Manager(
        "firewalld",
        f"its start and reload set all its rules anew ({_RULES_OUTLIVE}); IPv6_rpfilter drops mirrored "
        "packets",
        "IPv6_rpfilter=no in /etc/firewalld/firewalld.conf; the peer link in zone trusted; service "
        "ports open",
        ("firewalld",),
        ("firewalld.service",),
        harmless=(("etc/firewalld/firewalld.conf", r"^\s*IPv6_rpfilter\s*=\s*(no|loose)"),),
    ),
    Manager(
        "ufw",
        "`ufw enable` lets nothing in for some tenths of a second, longer than the default D: the pair "
        "parts; "
        "what it does not allow on the peer link is no heartbeat and no mirror",
        "enable it before the node starts; `ufw allow in on PEER_INTERFACE`, and the service's ports",
        units=("ufw.service",),
        files=("etc/ufw/ufw.conf",),
        harmless=(("etc/ufw/ufw.conf", r"^\s*ENABLED\s*=\s*no"),),
    ),
    Manager(
        "Docker",
        "it drops what is forwarded, and a port that it publishes does not work at a service address: "
        "packets of "
        "those are not tracked, so nothing is translated",
        "publish ports at the host's own addresses (-p ADDRESS:PORT:PORT); let the server itself listen "
        "at the "
        "service address (--network host)",
        ("dockerd",),
        ("docker.service",),
    ),
    Manager(
        "Podman",
        "as root it adds rules of nftables or iptables for each container, and a port that it publishes "
        "does not "
        "work at a service address: packets of those are not tracked",
        "publish ports at the host's own addresses; --network host for the server of a group",
        ("netavark", "aardvark-dns", "conmon"),
        ("podman.service", "podman.socket", "podman-restart.service"),
    ),
    Manager(
        "nftables.service",
        f"its start and reload flush the whole ruleset ({_RULES_OUTLIVE})",
        "in /etc/nftables.conf flush your own tables in place of the ruleset",
        units=("nftables.service",),
        harmless=(("etc/nftables.conf", r"\A(?!(?s:.*)^\s*flush ruleset)"),),
    ),
    Manager(
        "netfilter-persistent",
        f"its start replaces the rules of iptables by those that were saved ({_RULES_OUTLIVE})",
        "save none of fttcp's (chains FTT-): save while the daemon is stopped",
        units=("netfilter-persistent.service", "iptables.service", "ip6tables.service"),
        files=("etc/iptables/rules.v4", "etc/iptables/rules.v6", "etc/sysconfig/iptables"),
    ),
    Manager(
        "keepalived",
        "it moves addresses between hosts by VRRP; it must never have a service address of fttcp",
        "give each its own addresses",
        ("keepalived",),
        ("keepalived.service",),
    ),
    Manager(
        "Pacemaker",
        "it moves addresses and services between hosts; it must have neither a service address nor a "
        "server of "
        "fttcp",
        "take them out of its resources",
        ("pacemakerd",),
        ("pacemaker.service",),
    ),
    Manager(
        "Kubernetes",
        "kube-proxy and the network plug-in change rules and routes all the time, and translate what is "
        "sent to "
        "ports of nodes and services: not at a service address, whose packets are not tracked",
        "no NodePort and no external address of Kubernetes among the group's",
        ("kube-proxy", "kubelet", "calico-node", "cilium-agent", "k3s-server", "k3s-agent"),
        ("kubelet.service", "k3s.service"),
    ),
)
_SAVED_RULES = ("etc/nftables.conf", "etc/nftables.d/*", "etc/iptables/rules.v?", "etc/sysconfig/ip*tables")
_OWN_RULES = re.compile(r"\bfttcp-(rules|guard|address|queue)-|^[:-].*\bFTT-", re.M)
_ADDRESS_FILES = (
    "etc/keepalived/*.conf", "etc/network/interfaces", "etc/network/interfaces.d/*", "etc/netplan/*.yaml",
    "etc/systemd/network/*.network", "etc/NetworkManager/system-connections/*",
    "etc/sysconfig/network-scripts/ifcfg-*",
)  # fmt: skip
"""Who would put an address on an interface."""
_SYSCTL_DIRECTORIES = (
    "etc/sysctl.d",
    "run/sysctl.d",
    "usr/local/lib/sysctl.d",
    "usr/lib/sysctl.d",
    "lib/sysctl.d",
)
_SYSCTLS = (
    (r"net\.ipv4\.conf\.(all|{peer})\.rp_filter", "1", "refuses mirrored packets: flows are detached"),
    (r"net\.ipv4\.conf\.({names})\.arp_ignore", "0", "lets the kernel answer ARP for service addresses"),
    (r"net\.ipv4\.conf\.({names})\.arp_announce", "0 1", "lets the kernel ask in the service's name"),
    (r"net\.ipv4\.conf\.(all|{names})\.proxy_arp", "1", "lets the kernel answer ARP for service addresses"),
    (r"net\.ipv6\.conf\.(all|lo|{names})\.disable_ipv6", "1", "takes IPv6 addresses away"),
    (r"net\.bridge\.bridge-nf-call-iptables", "1", "sends bridged frames through the host's rules"),
    (r"kernel\.sched_rt_runtime_us", "0", "gives no thread real-time priority: heartbeats may be late"),
    (r"net\.ipv4\.tcp_(timestamps|window_scaling|sack|syncookies)", "0 2",
     "must be the same on all nodes: else connections are `unsupported`"),
)  # fmt: skip
"""Key, values that hurt, and what they do."""


@dataclass(frozen=True)
class Found:
    """A manager that is here. ``by``: how that is known; ``quiet``: it has been told to keep away."""

    manager: Manager
    by: str
    quiet: bool


@dataclass(frozen=True)
class Surroundings:
    """The facts. ``saved``: files of rules with some of fttcp's; ``addresses``: a file and the address
    in it; ``sysctls``: file, the line, and what it does."""

    managers: tuple[Found, ...]
    saved: tuple[str, ...]
    addresses: tuple[tuple[str, Address], ...]
    sysctls: tuple[tuple[str, str, str], ...]


def see_managers(
    services: Sequence[Address] = (), interfaces: Sequence[str] = (), peer: str = "", root: Path = Path("/")
) -> Surroundings:
    """Look. ``interfaces``: those of the configuration, ``peer`` the peer link's among them."""
    running = _processes(root)
    enabled = _enabled_units(root)
    found = []
    for manager in MANAGERS:
        by = _seen(manager, running, enabled, root)
        if by:
            quiet = any(_says(root, pattern, text) for pattern, text in manager.harmless)
            found.append(Found(manager, by, quiet))
    return Surroundings(
        tuple(found),
        tuple(_shown(root, path) for path, text in _texts(root, _SAVED_RULES) if _OWN_RULES.search(text)),
        tuple(_named_addresses(root, services)),
        tuple(_hurtful_sysctls(root, interfaces, peer)),
    )


def _seen(manager: Manager, running: frozenset[str], enabled: frozenset[str], root: Path) -> str:
    for name in manager.processes:
        if name[:15] in running:
            return f"process {name} runs"
    for name in manager.units:
        if name in enabled:
            return f"unit {name} is enabled"
    for name in manager.files:
        if (root / name).exists():
            return f"/{name} is there"
    return ""


def _processes(root: Path) -> frozenset[str]:
    """The names of all processes."""
    names = set()
    for path in (root / "proc").glob("[0-9]*/comm"):
        try:
            names.add(path.read_text().strip())
        except OSError:
            continue  # it has just ended
    return frozenset(names)


def _enabled_units(root: Path) -> frozenset[str]:
    """Units that systemd starts at a boot, and scripts that others do."""
    places = [root / "etc/systemd/system", root / "run/systemd/generator"]
    names = {
        link.name for place in places for kind in ("wants", "requires") for link in place.glob(f"*.{kind}/*")
    }
    for link in (root / "etc").glob("rc[2345S].d/S[0-9][0-9]*"):
        names.add(f"{link.name[3:]}.service")
    for link in (root / "etc/runlevels").glob("*/*"):  # OpenRC
        names.add(f"{link.name}.service")
    return frozenset(names)


def _texts(root: Path, patterns: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield files that match and can be read, with what they say."""
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            try:
                yield path, path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # a directory, or not for us


def _says(root: Path, pattern: str, text: str) -> bool:
    return any(re.search(text, told, re.M) for _, told in _texts(root, [pattern]))


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"


def _named_addresses(root: Path, services: Sequence[Address]) -> Iterator[tuple[str, Address]]:
    for path, text in _texts(root, _ADDRESS_FILES):
        lines = "\n".join(line.partition("#")[0] for line in text.splitlines())
        words = set(re.findall(r"[0-9A-Fa-f:.]{3,}", lines))
        named = set()
        for word in words:
            try:
                named.add(ip_address(word.strip(".:") if "." in word else word))
            except ValueError:
                continue  # some other number
        for address in services:
            if address in named:
                yield _shown(root, path), address


def _hurtful_sysctls(root: Path, interfaces: Sequence[str], peer: str) -> Iterator[tuple[str, str, str]]:
    """Yield what would be set by `sysctl --system`: of several files of one name the first counts, and of
    several lines the last."""
    files: dict[str, Path] = {}
    for directory in _SYSCTL_DIRECTORIES:
        for path in (root / directory).glob("*.conf"):
            files.setdefault(path.name, path)
    chosen = [files[name] for name in sorted(files)] + [root / "etc/sysctl.conf"]
    names = "|".join(re.escape(name) for name in interfaces) or "(?!)"
    last: dict[str, tuple[str, str]] = {}
    for path, text in ((path, path.read_text(errors="replace")) for path in chosen if path.is_file()):
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            key = key.strip().lstrip("-").strip()
            if equals and not key.startswith(("#", ";")):
                last[_dotted(key)] = (_shown(root, path), value.strip())
    for pattern, values, what in _SYSCTLS:
        wanted = re.compile(pattern.format(names=names, peer=re.escape(peer) if peer else "(?!)"))
        for key, (file, value) in last.items():
            if wanted.fullmatch(key) and value in values.split():
                yield file, f"{key} = {value}", what


def _dotted(key: str) -> str:
    """Keys may be written with slashes, then dots are part of names."""
    return key.translate(str.maketrans("/.", "./")) if "/" in key.partition(".")[0] else key


# ---------------------------------------------------------------------- findings


def check_managers(seen: Surroundings) -> Iterator[Check]:
    """All findings of this module; never a failure, but for what cannot work."""
    for found in seen.managers:
        manager = found.manager
        told = f"{found.by}: {manager.consequence}"
        if found.quiet:
            yield ok(manager.name, f"{found.by}, and is told to keep away")
        else:
            yield warn(manager.name, told, manager.todo)
    if not seen.managers:
        yield ok("other managers", "nothing else that is known manages rules and addresses of this host")
    for file in seen.saved:
        told = f"{file} holds rules of fttcp: at a boot they stand without a daemon that keeps them"
        yield warn("saved rules", told, f"take them out of {file}; save while the daemon is stopped")
    for file, address in seen.addresses:
        told = f"{file} names {address}: that would be on an interface, and the kernel answer for it"
        yield fail(f"address {address}", told, f"take it out of {file}: fttcp puts it on lo")
    for file, line, what in seen.sysctls:
        todo = f"change it in {file}: `sysctl --system` and some daemons set it while the node runs"
        yield warn("sysctl", f"{file}: {line}: {what}", todo)
