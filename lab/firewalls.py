"""What other programs do to the firewall and the rules of routing of a node, and how it is undone.

Files of ufw are as packaged, those of firewalld the lab's own, in the host's directory. Both let in what
docs/operations.md says that a node needs, and refuse what they take for invalid, as they do by default.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from lab.errors import LabError
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab, fttcp_program

IPTABLES = ("iptables", "ip6tables")
NETWORKS = {4: ("10.77.0.0/24", "10.78.0.0/24"), 6: ("fd77::/64", "fd78::/64")}
_TABLES = ("mangle", "raw", "filter")
_EMPTY = "".join(f"*{table}\nCOMMIT\n" for table in _TABLES)
_START_S = 20.0
_FOREIGN = "/run/foreign-rules"
"""In a host: there while its rules are to be undone."""

_UNDO = f"""
for pid in $(cat /run/firewalld.pid /run/dbus.pid 2>/dev/null); do kill $pid; done
rm -f /run/firewalld.pid /run/dbus.pid
nft flush ruleset
for tool in iptables ip6tables; do
    for chain in INPUT FORWARD OUTPUT; do $tool -P $chain ACCEPT; done
    for table in mangle raw filter; do $tool -t $table -F; $tool -t $table -X; done
done
for family in -4 -6; do
    ip $family rule show pref 32766 | grep -q 'from all lookup main' ||
        ip $family rule add lookup main pref 32766
done
ip rule show pref 32767 | grep -q . || ip rule add lookup default pref 32767
ip link delete docker0 2>/dev/null
sysctl -q net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
rm -f {_FOREIGN}
"""

# What dockerd 28 has when one container publishes a port (iptables-save, without its counters).
_DOCKER4 = """*raw
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
"""
_DOCKER6 = """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j DOCKER
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
COMMIT
"""
_DOCKER_BRIDGE = """
ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up
sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
"""

_UFW = """
mount --bind "$1"/etc /etc/ufw
mount --bind "$1"/default /etc/default/ufw
shift
for network; do ufw allow from $network; done
ufw --force enable
ufw reload
"""

_ZONE = """<?xml version="1.0" encoding="utf-8"?>
<zone>
  <interface name="svc0"/>
  <interface name="peer0"/>
{rules}
</zone>
"""
_BUS = """<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/>
  </policy>
</busconfig>
"""

Act = Callable[[Lab, Host], None]
Commands = list[tuple[list[str], str]]
"""Programs with their arguments, and what they read."""


def _run(lab: Lab, host: Host, argv: list[str], text: str = "") -> str:
    done = lab.exec(host.name, argv, input=text)
    if done.returncode:
        raise LabError(f"host {host.name}: {' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _commands(commands: Commands) -> Act:
    def act(lab: Lab, host: Host) -> None:
        for argv, text in commands:
            _run(lab, host, argv, text)

    return act


def _ufw(lab: Lab, host: Host) -> None:
    """Enable ufw, and reload it."""
    files = host.home / "ufw"
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree("/usr/share/ufw", files / "etc")  # as packaged: the machine's may be read by root only
    shutil.copyfile("/etc/ufw/sysctl.conf", files / "etc" / "sysctl.conf")
    (files / "etc" / "applications.d").mkdir()
    shutil.copyfile("/etc/default/ufw", files / "default")
    script = ["unshare", "--mount", "sh", "-ec", _UFW, "ufw", str(files)]
    _run(lab, host, [*script, *NETWORKS[4], *NETWORKS[6]])


def _firewalld(lab: Lab, host: Host) -> None:
    """Start firewalld, which needs a bus of its own here, and reload it."""
    files = host.home / "firewalld"
    shutil.rmtree(files, ignore_errors=True)
    (files / "zones").mkdir(parents=True)
    (files / "firewalld.conf").write_text("DefaultZone=public\nIPv6_rpfilter=no\n")
    accepted = [
        f'  <rule family="ipv{version}"><source address="{network}"/><accept/></rule>'
        for version, networks in NETWORKS.items()
        for network in networks
    ]
    (files / "zones" / "public.xml").write_text(_ZONE.format(rules="\n".join(accepted)))
    (files / "bus.conf").write_text(_BUS)
    _run(lab, host, ["mkdir", "-p", "/run/dbus"])
    _background(lab, host, ["dbus-daemon", f"--config-file={files}/bus.conf", "--nofork"], "dbus")
    socket = host.path("/run/dbus/system_bus_socket")
    await_condition(socket.exists, _START_S, f"host {host.name}: start of D-Bus")
    command = ["firewalld", "--nofork", "--nopid", "--system-config", str(files)]
    _background(lab, host, [*command, "--log-file", str(files / "log")], "firewalld")
    await_condition(
        lambda: lab.exec(host.name, ["firewall-cmd", "--state"]).returncode == 0,
        _START_S,
        f"host {host.name}: start of firewalld, see {files}/log",
        0.1,
    )
    for word in ("--reload", "--complete-reload"):
        _run(lab, host, ["firewall-cmd", word])


def _background(lab: Lab, host: Host, argv: list[str], name: str) -> None:
    process = host.popen(
        argv,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    lab.keep_child(process)
    host.path(f"/run/{name}.pid").write_text(f"{host.inner_pid(process.pid)}\n")


def _second_node(lab: Lab, host: Host) -> None:
    """Start another daemon for the same service; it must not come up."""
    file = host.home / "second.toml"
    text = (host.home / "node.toml").read_text()
    file.write_text(text.replace('run_dir = "/run/fttcp"', 'run_dir = "/run/second"'))
    if file.read_text() == text:
        raise LabError(f"{host.home}/node.toml: its run_dir is not where it was expected")
    command = [fttcp_program(), "node", "--config", str(file)]
    done = lab.exec(host.name, command, cwd="/", timeout=_START_S)
    if done.returncode == 0 or "another fttcp node" not in done.stderr:
        raise LabError(f"host {host.name}: a second daemon ended with {done.returncode}: {done.stderr}")


RULE_ACTS: dict[str, Act] = {
    "nft": _commands([(["nft", "flush", "ruleset"], "")]),
    "iptables": _commands(
        [([tool, "-t", table, what], "") for tool in IPTABLES for what in ("-F", "-X") for table in _TABLES]
    ),
    "restore": _commands([([f"{tool}-restore"], _EMPTY) for tool in IPTABLES]),
    "accept": _commands([([tool, "-t", "mangle", "-I", "OUTPUT", "-j", "ACCEPT"], "") for tool in IPTABLES]),
    "raw": _commands(
        [
            ([tool, *words], "")
            for tool in IPTABLES
            for words in (
                ("-I", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"),
                ("-I", "OUTPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"),
                ("-t", "raw", "-F"),
            )
        ]
    ),
    "ip-rule": _commands([(["ip", family, "rule", "flush"], "") for family in ("-4", "-6")]),
    "second-node": _second_node,
    "docker": _commands(
        [
            (["sh", "-ec", _DOCKER_BRIDGE], ""),
            (["iptables-restore", "--noflush"], _DOCKER4),
            (["ip6tables-restore", "--noflush"], _DOCKER6),
        ]
    ),
    "firewalld": _firewalld,
    "ufw": _ufw,
}
"""In an order in which they can be done one after the other: a policy of DROP is ufw's last word."""


SLOW_ACTS = ("second-node", "firewalld", "ufw")
"""Those that take seconds."""


def act(lab: Lab, name: str, host: Host) -> None:
    """Do one of RULE_ACTS to a host. Raises LabError."""
    host.path(_FOREIGN).touch()
    RULE_ACTS[name](lab, host)


def undo(lab: Lab, host: Host) -> None:
    """Take away what acts have left."""
    if host.path(_FOREIGN).exists():
        lab.exec(host.name, ["sh", "-c", _UNDO])
