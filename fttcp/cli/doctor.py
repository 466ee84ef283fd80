"""`fttcp doctor`: what the kernel and the machine have, what is missing, what to do.

Nothing of the machine is changed: what must be tried is tried in a network namespace that ends with
the command that tries it.
"""

import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from fttcp.cli.bpf import check_bpf, see_bpf
from fttcp.cli.checks import (
    Check,
    Interface,
    Machine,
    Site,
    Status,
    Trial,
    check_machine,
    check_site,
    ok,
    warn,
)
from fttcp.cli.client import AskError, ask, load_config
from fttcp.cli.failure import CommandError
from fttcp.cli.host_checks import check_host
from fttcp.cli.host_facts import see_host
from fttcp.cli.managers import check_managers, see_managers
from fttcp.cli.sync_checks import check_sync
from fttcp.cli.translations import check_translations, see_translations
from fttcp.cluster.placement import Host
from fttcp.config import Config
from fttcp.config.placement import hosts_of, shortages_of
from fttcp.node.arbiters import examine
from fttcp.server.reference import own_address

_CONF = Path("/proc/sys/net/ipv4/conf")
_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_BRIDGE = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_TIMEOUT_S = 20

_RAW_SOCKETS = (
    "import socket as s; s.socket(s.AF_INET, s.SOCK_RAW, s.IPPROTO_RAW); "
    "s.socket(s.AF_INET6, s.SOCK_RAW, s.IPPROTO_RAW); s.socket(s.AF_PACKET, s.SOCK_RAW, 0)"
)
_ENDED_CONNECTION = """
import socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
listener = socket.create_server(("127.0.0.1", 80))
client = socket.create_connection(("127.0.0.1", 80))
subprocess.run("ss --kill --tcp --numeric dport = 80".split(), check=True, stdout=subprocess.DEVNULL)
client.settimeout(0)
try:
    client.recv(1)
except ConnectionError:
    raise SystemExit
raise SystemExit("the kernel keeps it")
"""
_PACKET_QUEUE = (
    "from netfilterqueue import NetfilterQueue as Q; q = Q(); q.bind(7, lambda p: None); q.unbind()"
)
_OWNED = """
from fttcp.network.owner import Firewall, Owner
levels = list(Firewall)
owner = Owner()
if levels.index(owner.firewall) > levels.index(Firewall.{level}):
    raise SystemExit(owner.why)
"""
_HEADER_EDITS = """
import os
from fttcp._native import lib
error = lib.ftt_stamp_try()
raise SystemExit(error and os.strerror(error))
"""
_SOCK_DIAG = "from fttcp.server.sockets import Sockets; s = Sockets(); s.listeners(); s.close()"
# What is tried in a network namespace of its own: name -> command.
_IN_NAMESPACE: dict[str, list[str]] = {
    "network namespace": ["true"],
    "NFQUEUE (xt, IPv4)": ["sh", "-c", "iptables -t mangle -A INPUT -j NFQUEUE --queue-balance 1:2"],
    "NFQUEUE (xt, IPv6)": ["sh", "-c", "ip6tables -t mangle -A INPUT -j NFQUEUE --queue-balance 1:2"],
    "queue (nft)": ["sh", "-c", "nft 'add table ip t; add chain ip t c; add rule ip t c queue num 1'"],
    "TEE (IPv4)": ["sh", "-c", "iptables -t mangle -A PREROUTING -j TEE --gateway 192.0.2.1"],
    "TEE (IPv6)": ["sh", "-c", "ip6tables -t mangle -A PREROUTING -j TEE --gateway 2001:db8::1"],
    "CT --notrack": ["sh", "-c", "iptables -t raw -A PREROUTING -j CT --notrack"],
    "matches": [
        "sh",
        "-c",
        "iptables -t mangle -A INPUT -m mark --mark 1 -m socket -j RETURN && "
        "iptables -t mangle -A INPUT -p tcp -m multiport --dports 80,81 -j RETURN",
    ],
    "rules with an owner": [sys.executable, "-c", _OWNED.format(level="GUARDED")],
    "rules that persist": [sys.executable, "-c", _OWNED.format(level="KEPT")],
    "packet queues": [sys.executable, "-c", _PACKET_QUEUE],
    "header edits": [sys.executable, "-c", _HEADER_EDITS],
    "statistic": ["sh", "-c", "iptables -A INPUT -m statistic --mode random --probability 0.01 -j DROP"],
    "route metrics": [
        "sh",
        "-c",
        "ip link set lo up && ip route add 192.0.2.0/24 dev lo table 40000 quickack 1 rto_min 5ms && "
        "ip -6 route add 2001:db8::/64 dev lo table 40000 quickack 1 rto_min 5ms",
    ],
    "policy routing": [
        "sh",
        "-c",
        "ip rule add from 192.0.2.1 table 40000 && ip -6 rule add from ::1 table 40000",
    ],
    "raw sockets": [sys.executable, "-c", _RAW_SOCKETS],
    "ending connections": [sys.executable, "-c", _ENDED_CONNECTION],
}
# What is tried as it is: it changes nothing but itself.
_AS_IT_IS: dict[str, list[str]] = {
    "real-time priority": ["chrt", "--fifo", "50", "true"],
    "health of servers": [sys.executable, "-c", _SOCK_DIAG],
    "native core": [sys.executable, "-c", "import fttcp._ftt"],
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Check what this configuration names, too: interfaces, addresses, servers, units, programs, files.",
)
def doctor(as_json: bool, config: Path | None) -> None:
    """Say what this machine has, what is missing, and what to do.

    The exit status is 0 when nothing fails."""
    loaded = None if config is None else load_config(config)
    machine = see_machine()
    findings = list(check_machine(machine))
    findings.append(check_bpf(see_bpf(machine.release, machine.version, machine.capabilities, _unshare())))
    if loaded is None:
        findings += check_managers(see_managers())
    else:
        site = see_site(loaded)
        findings += [*check_site(site), *check_sources(loaded, site)]
        findings += check_host(see_host(loaded, machine.capabilities))
        findings += _check_others(loaded)
        findings += check_sync(loaded)
    failed = any(finding.status is Status.FAIL for finding in findings)
    if as_json:
        click.echo(
            json.dumps({"ok": not failed, "checks": [asdict(finding) for finding in findings]}, indent=1)
        )
    else:
        click.echo(report(findings))
    raise SystemExit(1 if failed else 0)


def _check_others(config: Config) -> Iterator[Check]:
    """What else manages this host, and what it has to do with the configuration."""
    services = [address for group in config.group for address in group.ip_addresses]
    interfaces = (*config.node.adapters, config.node.peer_interface)
    yield from check_capacity(shortages_of(config), hosts_of(config))
    yield from check_managers(see_managers(services, interfaces, config.node.peer_interface))
    rules = [
        rule for group in config.group for rule in see_translations(group.ip_addresses, group.engine_ports)
    ]
    yield from check_translations(list(dict.fromkeys(rules)))


def check_sources(config: Config, site: Site) -> Iterator[Check]:
    """Each of several adapters needs an address of its own to ask reference addresses from, with ICMP."""
    if config.reference is None or config.reference.method != "icmp" or len(site.adapters) == 1:
        return
    asked = list(map(ip_address, config.reference.addresses))
    for name in site.adapters:
        own = site.interfaces[name].addresses if name in site.interfaces else ()
        if not any(own_address(own, address) for address in asked):
            seen = "no address of its own to ask reference addresses from: they are not asked over it"
            yield warn(f"reference over {name}", seen, 'give it one, or reference.method = "neighbour"')


def check_capacity(lacking: Sequence[str], hosts: Sequence[Host]) -> Iterator[Check]:
    """Hosts with a bound carry all groups, also when one of them is lost. ``lacking``: what they do not."""
    if all(host.capacity is None for host in hosts):
        return
    todo = "raise `capacity`, or take groups out of some files: `fttcp plan --without HOST` shows all"
    for what in lacking:
        yield warn("capacity", what, todo)
    if not lacking:
        yield ok("capacity", "every group has its units, also without any one host")


def report(findings: Iterable[Check]) -> str:
    """The findings as lines of text; what to do stands below what it is about."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<4}  {finding.name:<20}  {finding.seen}")
        if finding.status is not Status.OK:
            lines.append(f"{'':<28}-> {finding.todo}")
    return "\n".join(lines)


def see_machine() -> Machine:
    """Looks at this machine. Takes about a second."""
    trials = [_try(name, [*_unshare(), *command]) for name, command in _IN_NAMESPACE.items()]
    if trials[0].error:  # no namespace: nothing was tried in one
        trials = trials[:1]
    trials += [_try(name, command) for name, command in _AS_IT_IS.items()]
    return Machine(
        release=platform.release(),
        version=platform.version(),
        capabilities=_capabilities(),
        memlock=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        clock_source=_CLOCK.read_text().strip() if _CLOCK.exists() else "",
        bridge_calls_iptables=_BRIDGE.exists() and _BRIDGE.read_text().strip() == "1",
        trials={trial.name: trial for trial in trials},
    )


def see_site(config: Config) -> Site:
    """Looks at what a configuration names."""
    firewalls, not_ready, lanes = _told(config.socket_path)
    links = [link for peer in config.peer for link in peer.link]
    return Site(
        service_interface=config.node.service_interface,
        standby_interfaces=tuple(config.node.standby_interfaces),
        peer_interface=config.node.peer_interface,
        links=tuple(
            dict.fromkeys(
                (link.interface or "", ip_address(link.local)) for link in links if link.local is not None
            )
        ),
        multicast=frozenset(
            link.interface for link in links if link.transport == "multicast" and link.interface
        ),
        ethernet=frozenset(
            link.interface for link in links if link.transport == "ethernet" and link.interface
        ),
        serial={link.device: _serial_trouble(link.device) for link in links if link.device is not None},
        service_addresses=frozenset(ip_address(text) for group in config.group for text in group.addresses),
        default_interfaces=frozenset(
            route["dev"]
            for family in ("-4", "-6")
            for route in _ip(family, "route", "show", "default")
            if "dev" in route
        ),
        interfaces={link["ifname"]: _interface(link) for link in _ip("addr", "show")},
        arbiter=asyncio.run(examine(config)),
        stamped={
            group.name: len(group.addresses) * len(group.ports)
            for group in config.group
            if group.engine == "nfqueue" and all(text.endswith("/tcp") for text in group.ports)
        },
        firewalls=firewalls,
        not_ready=not_ready,
        lanes=lanes,
    )


def _told(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """How the rules of each group stand, why it is not ready, and its bulk lane if it is in step; nothing if
    no daemon runs."""
    try:
        groups = ask(path, op="status")["groups"]
    except AskError:
        return {}, {}, {}
    firewalls = {group["name"]: group["firewall"] for group in groups if group.get("firewall")}
    not_ready = {group["name"]: group.get("not_ready", []) for group in groups}
    lanes = {
        group["name"]: group["bulk_lane"] for group in groups if group["synced"] and "bulk_lane" in group
    }
    return firewalls, not_ready, lanes


def _serial_trouble(device: str) -> str:
    """Say why heartbeats cannot go over this tty; '' if they can."""
    try:
        handle = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        return error.strerror or str(error)
    try:
        return "" if os.isatty(handle) else "not a terminal device"
    finally:
        os.close(handle)


def _interface(link: dict[str, Any]) -> Interface:
    return Interface(
        mtu=link["mtu"],
        carrier="LOWER_UP" in link["flags"],
        multicast="MULTICAST" in link["flags"],
        rp_filter=_conf(link["ifname"], "rp_filter"),
        arp_ignore=_conf(link["ifname"], "arp_ignore"),
        proxy_arp=bool(_conf(link["ifname"], "proxy_arp")),
        addresses=frozenset(
            ip_address(address["local"]) for address in link["addr_info"] if "local" in address
        ),
    )


def _conf(interface: str, key: str) -> int:
    """The effective value of a setting of an interface: the larger one of its own and that of all."""
    values = [_CONF / name / key for name in ("all", interface)]
    return max(int(path.read_text()) if path.exists() else 0 for path in values)


def _ip(*words: str) -> list[dict[str, Any]]:
    """What `ip -json` shows. Raises CommandError."""
    try:
        done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandError(f"{error}: apt-get install iproute2", "no-iproute2") from error
    shown: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return shown


def _unshare() -> list[str]:
    """A network namespace for a command; without root, inside a user namespace, where kernels allow it."""
    return ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


def _try(name: str, command: list[str]) -> Trial:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError as error:
        return Trial(name, f"{error.filename} is not installed")
    except subprocess.TimeoutExpired:
        return Trial(name, f"no answer within {_TIMEOUT_S} s")
    return Trial(name, "" if done.returncode == 0 else _gist(done.stderr) or f"status {done.returncode}")


def _gist(said: str) -> str:
    """The line that tells most: the first that speaks of an error, else the last."""
    lines = [line for line in said.splitlines() if line.strip()]
    return next(
        (line for line in lines if "rror: " in line or "Warning: " in line), lines[-1] if lines else ""
    )


def _capabilities() -> int:
    """The effective capabilities as a bit mask."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
