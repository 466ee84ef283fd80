"""Looks at servers, units, files and limits of this host, for `fttcp doctor`. Changes nothing."""

from __future__ import annotations

import pwd
import re
import resource
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import pairwise
from pathlib import Path

from fttcp.cli.checks import CAP_NET_ADMIN, CAP_SYS_NICE, CAP_SYS_TIME
from fttcp.cli.host_checks import (
    Followed,
    Host,
    Outward,
    PidFile,
    Program,
    Secret,
    Signing,
    Spool,
    Times,
    Unit,
)
from fttcp.config import Config, GroupSection
from fttcp.config.present import agents_of, commands_of, trouble_of_program, trouble_of_spool
from fttcp.config.program import obstacles
from fttcp.network.kernel import netlink
from fttcp.network.station import obstacle
from fttcp.node.assembly import service_mac
from fttcp.planes import wallclock
from fttcp.wire import keyfile
from fttcp.wire.addresses import network_of
from fttcp.wire.ports import numbers

_TIMEOUT_S = 5
_CHRONY_FILES, _CHRONY_FOLDER = (
    (Path("/etc/chrony/chrony.conf"), Path("/etc/chrony.conf")),
    Path("/etc/chrony/conf.d"),
)
_CHRONY_SLEWS_PPM = 83333.333
"""By default (chrony.conf(5), maxslewrate)."""
_MAX_SLEW = re.compile(r"^\s*maxslewrate\s+([0-9]+(?:\.[0-9]+)?)\s*$", re.M | re.I)
_OUR_UNIT = "fttcp.service"
_MD5_PEER = re.compile(r"(?:md5keys:|,)([0-9a-f.:]+/\d+)=")


def see_host(config: Config, capabilities: int) -> Host:
    """Return the facts. ``capabilities``: the effective ones, a bit mask."""
    groups = config.group
    interfaces = (*config.node.adapters, config.node.peer_interface)
    allowed = capabilities >> CAP_SYS_NICE & 1
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    v6 = any(":" in address for group in groups for address in group.addresses)
    return Host(
        units=tuple(_unit(group, group.unit) for group in groups if group.unit is not None),
        pid_files=tuple(_pid_file(group, group.pid_file) for group in groups if group.pid_file is not None),
        programs=tuple(_programs(config)),
        followed=tuple(one for group in groups if group.lockstep != "off" for one in _followed(group)),
        outward=tuple(one for group in groups if group.opens for one in _outward(group)),
        signing=tuple(
            one for group in groups for one in _signing(group, not capabilities >> CAP_NET_ADMIN & 1)
        ),
        secrets=tuple(_secrets(config)),
        times=tuple(Times(g.name, g.timing.rt_priority, g.timing.lease_ms) for g in groups),
        file_systems={config.node.state_dir: _file_system(Path(config.node.state_dir))},
        in_memory={
            str(config.run_dir): _file_system(config.run_dir)
            for _ in filter(lambda group: group.lockstep != "off", config.group)
        },
        spools=tuple(
            Spool(one, _file_system(Path(one)), trouble_of_spool(one))
            for one in dict.fromkeys(group.renew_spool_dir for group in groups)
            if one is not None
        ),
        rt_runtime_us=_number("/proc/sys/kernel/sched_rt_runtime_us", -1),
        rt_limit=None if allowed or limit == resource.RLIM_INFINITY else limit,
        guest=any("hypervisor" in line.split() for line in Path("/proc/cpuinfo").read_text().splitlines()),
        clock_kept=_clock_kept(),
        clock_led=bool(capabilities >> CAP_SYS_TIME & 1),
        slews_ppm=_slews_ppm(),
        drift_ppm=min(_drifts(config)),
        clock_followed=config.node.follow_clock,
        connections=_number("/proc/sys/net/netfilter/nf_conntrack_count", 0),
        connections_most=_number("/proc/sys/net/netfilter/nf_conntrack_max", 0),
        large_receive=tuple(name for name in dict.fromkeys(interfaces) if _large_receive(name)),
        without_ipv6=tuple(
            name
            for name in dict.fromkeys(("lo", *interfaces))
            if v6 and _number(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", 0)
        ),
        macs=_macs(config),
        confined=tuple(_confined(config)),
    )


def _confined(config: Config) -> Iterator[str]:
    """Yield what in our unit, if there is one, is in the way of units and agents as resources."""
    resources = [one for group in config.group for one in group.resource]
    unit = _properties(_OUR_UNIT)[0] if any(one.unit or one.agent for one in resources) else {}
    if unit.get("LoadState") != "loaded":
        return
    if (user := unit.get("User", "")) not in ("", "root"):
        yield f"User={user}"
    strict = unit.get("ProtectSystem", "no")
    if strict != "no" and any(one.agent for one in resources):
        yield f"ProtectSystem={strict}"


def _macs(config: Config) -> dict[str, tuple[str, str] | None]:
    macs = {group.name: mac for group in config.group if (mac := service_mac(config, group))}
    with netlink() as kernel:
        return {
            name: next(filter(None, (obstacle(kernel, one, mac) for one in config.node.adapters)), None)
            for name, mac in macs.items()
        }


def _clock_kept() -> bool | None:
    try:
        return wallclock.is_kept()
    except OSError:
        return None


def _drifts(config: Config) -> Iterator[int]:
    """Yield what is allowed for: of heartbeats, and of the arbiter's leases."""
    yield from (group.timing.drift_ppm for group in config.group)
    if config.arbiter.kind != "none":
        yield config.arbiter.drift_ppm


def _slews_ppm() -> float | None:
    """Return how fast chrony may slew the clock; None if there is no chrony. Of several values the
    fastest counts: which is the last one is chrony's business."""
    files = [*_CHRONY_FILES, *sorted(_CHRONY_FOLDER.glob("*.conf"))]
    texts = [file.read_text(errors="replace") for file in files if file.is_file()]
    said = [ppm for text in texts for ppm in _MAX_SLEW.findall(text)]
    return (max(map(float, said)) if said else _CHRONY_SLEWS_PPM) if texts else None


def _number(path: str, otherwise: int) -> int:
    try:
        return int(Path(path).read_text())
    except FileNotFoundError:
        return otherwise


def asked(command: list[str], within_s: float = _TIMEOUT_S) -> tuple[str, str]:
    """Run a program; return what it says, and why it failed ('' if not)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s)
    except FileNotFoundError:
        return "", f"there is no {command[0]} on this host"
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} did not answer within {within_s:g} s"
    said = done.stderr.strip().splitlines()
    return done.stdout, "" if done.returncode == 0 else (said or [f"status {done.returncode}"])[0]


def _properties(unit: str) -> tuple[dict[str, str], str]:
    wanted = "LoadState,ActiveState,UnitFileState,MainPID,User,ProtectSystem"
    shown, error = asked(["systemctl", "show", f"--property={wanted}", "--", unit])
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line), error


def _unit(group: GroupSection, name: str) -> Unit:
    found, error = _properties(name)
    return Unit(
        group=group.name,
        name=name,
        error=error,
        load=found.get("LoadState", ""),
        active=found.get("ActiveState", ""),
        enabled=found.get("UnitFileState", ""),
        main_pid=int(found.get("MainPID") or 0),
        restarted_by=group.restart.watched_command,
    )


def _pid_file(group: GroupSection, path: str) -> PidFile:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
        alive = text.isdecimal() and Path(f"/proc/{text}").exists()
        trouble = "" if alive else f"{text[:40]!r} is no process that lives"
    except (OSError, UnicodeDecodeError) as error:
        trouble = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return PidFile(group.name, path, trouble, group.restart.watched_command)


def _programs(config: Config) -> Iterator[Program]:
    for key, line in commands_of(config):
        name = shlex.split(line)[0]
        yield Program(key, name, trouble_of_program(name))
    for key, name, trouble in agents_of(config):
        yield Program(key, name, trouble)


def _followed(group: GroupSection) -> Iterator[Followed]:
    """The servers of a group, and what is in the way of their lock step."""
    by_calls = group.lockstep == "calls"
    for line in group.all_commands:
        yield Followed(f"{group.name}: {shlex.split(line)[0]}", tuple(obstacles(line, by_calls)))
    if group.unit is not None:
        shown, _ = asked(["systemctl", "show", "--property=ExecStart", "--", group.unit])
        for path in re.findall(r"\bpath=(\S+) ;", shown):
            yield Followed(f"{group.name}: {path}", tuple(obstacles(shlex.quote(path))))
    if group.pid_file is not None and (program := _program_of(Path(group.pid_file))):
        yield Followed(f"{group.name}: {program}", tuple(obstacles(shlex.quote(program))))


def _outward(group: GroupSection) -> Iterator[Outward]:
    """Connections that would be protected if they came from a service address."""
    ours, ports = set(group.ip_addresses), numbers(group.opened_ports, "tcp")
    listed, error = asked(["ss", "-Htn", "state", "established"])
    others = []
    for line in listed.splitlines():
        (local, _), (remote, port) = (end.rsplit(":", 1) for end in line.split()[2:4])
        address = ip_address(local.partition("%")[0].strip("[]").removeprefix("::ffff:"))
        if int(port) in ports and address not in ours and not address.is_loopback:
            others.append(f"{address} to {remote}:{port}")
    yield Outward(group.name, tuple(sorted(others)), group.addresses[0], error)


def _signing(group: GroupSection, blind: bool) -> Iterator[Signing]:
    """With whom sockets of the service sign; ``blind``: the kernel does not tell this process. `ss` tells the
    keys, too, perhaps before all else: they are nobody's business."""
    listed, error = asked(["ss", "-Htani"])
    peers = {peer for peer in _peers_signed_with(group, listed) if not _has_key(group, peer)}
    if peers or group.md5:
        yield Signing(group.name, tuple(sorted(map(str, peers))), error, blind)


def _peers_signed_with(group: GroupSection, listed: str) -> Iterator[IPv4Network | IPv6Network]:
    own, opened = numbers(group.port_list, "tcp"), numbers(group.opened_ports, "tcp")
    for socket, details in pairwise(listed.splitlines()):
        if "md5keys:" not in details or socket[:1].isspace():
            continue
        local, remote = (end.rpartition(":")[2] for end in socket.split()[3:5])
        if int(local) not in own and not (remote.isdecimal() and int(remote) in opened):
            continue
        for peer in _MD5_PEER.findall(details):
            with suppress(ValueError):  # a piece of a key
                yield network_of(peer, strict=False)


def _has_key(group: GroupSection, peer: IPv4Network | IPv6Network) -> bool:
    return any(
        int(entry.network.network_address) == int(peer.supernet(new_prefix=entry.network.prefixlen)[0])
        for entry in group.md5
        if entry.network.version == peer.version and entry.network.prefixlen <= peer.prefixlen
    )


def _program_of(pid_file: Path) -> str:
    """Which program the process behind a pid file runs; '' if that cannot be told."""
    try:
        return str(Path(f"/proc/{int(pid_file.read_text(encoding='ascii'))}/exe").readlink())
    except (OSError, ValueError):  # check_pid_file tells
        return ""


def _secrets(config: Config) -> Iterator[Secret]:
    reader = _properties(_OUR_UNIT)[0]
    user = reader.get("User") if reader.get("LoadState") == "loaded" else None
    if not keyfile.is_credential(config.node.key_file):
        yield _secret("key", config.node.key_file, user)
    for entry in (entry for group in config.group for entry in group.md5):
        if not keyfile.is_credential(entry.key_file):
            yield _secret(f"password of {entry.peer}", entry.key_file, user)
    witness, etcd = config.arbiter.witness, config.arbiter.etcd
    shared = witness.key_file if config.arbiter.kind == "witness" and witness is not None else None
    if shared is not None and not keyfile.is_credential(shared):
        yield _secret("witness's key", shared, user)
    if config.arbiter.kind == "etcd" and etcd is not None:
        for name, path in (("etcd's password", etcd.password_file), ("etcd's TLS key", etcd.key_file)):
            if path is not None:
                yield _secret(name, path, user)


def _secret(key: str, path: str, user: str | None) -> Secret:
    try:
        found, directory = Path(path).stat(), Path(path).resolve().parent.stat()
    except OSError:
        return Secret(key, path, None)
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    return Secret(key, path, found.st_mode & 0o7777, directory.st_mode & 0o7777, owner, user or None)


def _file_system(directory: Path) -> str:
    """Return the kind of file system that a directory is on, or will be on when it is made."""
    path = directory.resolve()
    while not path.exists():
        path = path.parent
    best, kind = "", ""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, shown, *_ = line.split()
        place = place.replace("\\040", " ")
        if (path == Path(place) or Path(place) in path.parents) and len(place) >= len(best):
            best, kind = place, shown
    return kind


def _large_receive(interface: str) -> bool:
    shown, _ = asked(["ethtool", "--show-features", interface])
    return any(
        line.split(":")[0].strip() == "large-receive-offload" and ": on" in line
        for line in shown.splitlines()
    )
