"""More of what `fttcp doctor` makes of what it has seen: servers, units, files and limits of a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fttcp.cli.checks import Check, fail, ok, warn
from fttcp.config.program import Obstacle
from fttcp.planes.wallclock import QUARTZ_PPM

_CROWDED = 0.8
_BEATS_OF_A_GUEST_MS = 30
"""docs/heartbeats.md: a hypervisor stops a processor for longer than a shorter D bears."""
VOLATILE = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True)
class Unit:
    """A systemd unit that a group names; ``error``: why systemd could not be asked."""

    group: str
    name: str
    error: str = ""
    load: str = ""
    active: str = ""
    enabled: str = ""
    main_pid: int = 0
    restarted_by: str | None = None
    """The group's restart.watched_command."""


@dataclass(frozen=True)
class PidFile:
    """A pid file that a group names; ``trouble``: why no living process is behind it."""

    group: str
    path: str
    trouble: str
    restarted_by: str | None = None


@dataclass(frozen=True)
class Program:
    """A program that the configuration starts; ``trouble``: why that cannot be."""

    key: str
    name: str
    trouble: str


@dataclass(frozen=True)
class Followed:
    """A server that is to be kept in lock step, and what is in the way of that; ``where``: what names it."""

    where: str
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True)
class Outward:
    """Connections to ports of a group's `opens` that are not from one of its addresses, of which ``address``
    is the first; ``error``: why they could not be listed."""

    group: str
    connections: tuple[str, ...]
    address: str
    error: str = ""


@dataclass(frozen=True)
class Signing:
    """A group whose sockets sign segments (TCP-MD5); ``unknown``: peers whose key none of its `md5` has;
    ``blind``: without CAP_NET_ADMIN the kernel tells of none."""

    group: str
    unknown: tuple[str, ...]
    error: str = ""
    blind: bool = False


@dataclass(frozen=True)
class Secret:
    """A file that nobody else may read or replace. ``mode`` and ``directory_mode`` are permission bits,
    ``owner`` a user's name; ``reader``: the user that the daemon's unit runs as, if there is one."""

    key: str
    path: str
    mode: int | None
    directory_mode: int = 0o755
    owner: str = ""
    reader: str | None = None


@dataclass(frozen=True)
class Spool:
    """A directory of logs that are too long for memory; ``trouble``: why it cannot be used."""

    directory: str
    kind: str
    trouble: str


@dataclass(frozen=True)
class Times:
    """A group's real-time wishes; ``lease_ms`` is D."""

    group: str
    rt_priority: int
    lease_ms: int


@dataclass(frozen=True)
class Host:
    """The facts of this module. ``rt_runtime_us``: sched_rt_runtime_us; ``rt_limit``: RLIMIT_RTPRIO, None
    with CAP_SYS_NICE; ``file_systems``: kind of file system of each directory that must outlive a boot;
    ``in_memory``: of each that had better not; ``clock_kept``: a time service keeps the wall clock, None
    if the kernel does not tell; ``clock_followed``: else it follows the primary's; ``clock_led``: it may;
    ``slews_ppm``: how fast chrony may make it, None without chrony; ``drift_ppm``: the least of all groups,
    and the arbiter's;
    ``macs``: of each group with `mac`, what is in the way, and what to do."""

    units: tuple[Unit, ...]
    pid_files: tuple[PidFile, ...]
    programs: tuple[Program, ...]
    secrets: tuple[Secret, ...]
    times: tuple[Times, ...]
    file_systems: Mapping[str, str]
    in_memory: Mapping[str, str]
    rt_runtime_us: int
    rt_limit: int | None
    guest: bool
    connections: int
    connections_most: int
    large_receive: tuple[str, ...]
    without_ipv6: tuple[str, ...]
    followed: tuple[Followed, ...] = ()
    spools: tuple[Spool, ...] = ()
    outward: tuple[Outward, ...] = ()
    signing: tuple[Signing, ...] = ()
    clock_kept: bool | None = True
    clock_followed: bool = False
    clock_led: bool = True
    slews_ppm: float | None = None
    drift_ppm: int = 1000
    macs: Mapping[str, tuple[str, str] | None] = field(default_factory=dict)
    confined: tuple[str, ...] = ()
    """What in the unit of the daemon is in the way of resources."""


def check_host(host: Host) -> Iterator[Check]:
    """All findings of this module."""
    for unit in host.units:
        yield check_unit(unit)
        yield from _check_restart(unit.group, unit.restarted_by, f"systemctl restart {unit.name}")
    for pid_file in host.pid_files:
        yield check_pid_file(pid_file)
        yield from _check_restart(pid_file.group, pid_file.restarted_by, "a program that restarts it")
    for program in host.programs:
        yield check_program(program)
    if host.confined:
        seen = f"the daemon's unit has {', '.join(host.confined)}: they can hardly start, or mount, here"
        todo = 'add the drop-in of "Simple takeover" (docs/operations.md), if they mount or need root'
        yield warn("resources", seen, todo)
    for followed in host.followed:
        yield from check_followed(followed)
    for outward in host.outward:
        yield check_outward(outward)
    for signing in host.signing:
        yield check_signing(signing)
    for secret in host.secrets:
        yield check_secret(secret)
    for directory, kind in host.file_systems.items():
        yield check_file_system(directory, kind)
    for directory, kind in host.in_memory.items():
        yield check_in_memory(directory, kind)
    for spool in host.spools:
        yield check_spool(spool)
    yield check_real_time(host)
    yield from check_guest(host)
    yield check_conntrack(host)
    yield check_clock(host)
    yield from _check_slew(host)
    yield from _check_interfaces(host)


def check_unit(unit: Unit) -> Check:
    """A server that systemd runs."""
    name = f"unit {unit.name}"
    if unit.error:
        todo = f"run it with systemd, or give group {unit.group} a command or a pid_file"
        return fail(name, unit.error, todo)
    if unit.load != "loaded":
        todo = (
            f"correct unit of group {unit.group}; `systemctl list-units --type=service` names those there are"
        )
        return fail(name, f"systemd says: {unit.load or 'nothing'}", todo)
    if unit.active != "active":
        return warn(name, f"it is {unit.active}", f"systemctl enable --now {unit.name}")
    if not unit.main_pid:
        todo = "a service with one main process is needed (not Type=oneshot); or name its pid_file"
        return fail(name, "it has no main process", todo)
    if unit.enabled not in ("enabled", "static", "alias", "generated", "indirect", "linked"):
        seen = f"runs (pid {unit.main_pid}), but is not started at boot ({unit.enabled or 'unknown'})"
        return warn(name, seen, f"systemctl enable {unit.name}")
    return ok(name, f"runs, pid {unit.main_pid}")


def check_pid_file(pid_file: PidFile) -> Check:
    """A server that somebody else runs, named by its pid file."""
    name = f"pid file {pid_file.path}"
    if pid_file.trouble:
        todo = f"start the server of group {pid_file.group}; see that it writes this file"
        return warn(name, pid_file.trouble, todo)
    return ok(name, "names a process that lives")


def _check_restart(group: str, restarted_by: str | None, how: str) -> Iterator[Check]:
    if restarted_by is None:
        seen = "nobody restarts the server when this node loses the role: it keeps connections of no use"
        todo = f'in [group.restart]: watched_command = "{how}"; the daemon\'s user must be allowed to'
        yield warn(f"restart of {group}", seen, todo)


def check_program(program: Program) -> Check:
    """A program that the configuration names."""
    if program.trouble:
        todo = f"install it, or correct {program.key}"
        return fail(f"program {program.name}", f"{program.key}: {program.trouble}", todo)
    return ok(f"program {program.name}", f"there ({program.key})")


def check_followed(followed: Followed) -> Iterator[Check]:
    """A server in lock step: the library must get between it and the C library."""
    name = f"lock step of {followed.where}"
    if not followed.obstacles:
        yield ok(name, "its program can be followed, as far as the file tells")
    for obstacle in followed.obstacles:
        yield (fail if obstacle.fatal else warn)(name, obstacle.why, obstacle.todo)


def check_outward(outward: Outward) -> Check:
    """A program that does not bind connects from the host's own address: no group protects that."""
    name, (some, more) = f"opens of {outward.group}", (outward.connections[:3], outward.connections[3:])
    if outward.error:
        return warn(name, f"connections cannot be listed: {outward.error}", "apt-get install iproute2")
    if not some:
        return ok(name, "no connection to these ports from another address than the service's")
    seen = f"not protected: {', '.join(some)}" + (f" and {len(more)} more" if more else "")
    todo = f"if the server opened it: have it bind to {outward.address} (its manual), or set opens_bind"
    return warn(name, seen, todo)


def check_signing(signing: Signing) -> Check:
    """What nobody but the server can sign is not protected."""
    name = f"md5 of {signing.group}"
    if signing.error:
        return warn(name, f"sockets cannot be listed: {signing.error}", "apt-get install iproute2")
    if signing.blind:
        seen = "without CAP_NET_ADMIN nobody is told with whom sockets sign"
        return warn(name, seen, "run as root, or as the systemd unit does")
    if not signing.unknown:
        return ok(name, "there is a key of each peer with whom sockets of the service sign")
    seen = f"the server signs with {', '.join(signing.unknown)}, whose key is not there: not protected"
    return warn(
        name, seen, f"on all nodes: a [[group.md5]] of {signing.group} with that peer and its key_file"
    )


def check_secret(secret: Secret) -> Check:
    """A key, or a password."""
    name, path = secret.key, secret.path
    if secret.mode is None:
        todo = f"fttcp keygen {path}; all nodes have the same" if "key" in name else "write it"
        return fail(name, f"{path} does not exist, or cannot be looked at", todo)
    if secret.mode & 0o077:
        seen = f"{path} has mode {secret.mode:04o}: others can read it"
        return fail(name, seen, f"chmod 600 {path}, and make a new one for all that have it")
    if secret.directory_mode & 0o022 and not secret.directory_mode & 0o1000:
        seen = f"others can replace {path}: its directory has mode {secret.directory_mode:04o}"
        return fail(name, seen, f"chmod go-w {path.rpartition('/')[0] or '/'}")
    if secret.reader is not None and secret.owner not in ("", secret.reader):
        seen = f"{path} is {secret.owner}'s, and the unit fttcp.service runs as {secret.reader}"
        return fail(name, seen, f"chown {secret.reader} {path}")
    return ok(name, path)


def check_file_system(directory: str, kind: str) -> Check:
    """What must outlive a crash of the host."""
    name = f"directory {directory}"
    if kind in VOLATILE:
        seen = f"on {kind}: the epochs that were used are forgotten when the host starts again"
        return fail(name, seen, "name a state_dir on a disk")
    return ok(name, f"on {kind or 'an unknown file system'}")


def check_in_memory(directory: str, kind: str) -> Check:
    """Where servers in lock step find the seeds of their connections."""
    name = f"directory {directory}"
    if kind in VOLATILE:
        return ok(name, f"on {kind}")
    seen = f"on {kind}: seeds of connections get to a disk, and each connection waits for its file system"
    return warn(name, seen, "name a run_dir in memory (tmpfs), as /run is")


def check_spool(spool: Spool) -> Check:
    """What is too long for memory goes there."""
    name = f"directory {spool.directory}"
    if spool.trouble:
        todo = "make it, for the daemon's user alone, or correct renew_spool_dir"
        return fail(name, spool.trouble, todo)
    if spool.kind in VOLATILE:
        return warn(name, f"on {spool.kind}, which is memory", "name a renew_spool_dir on a disk")
    return ok(name, f"on {spool.kind or 'an unknown file system'}")


def check_real_time(host: Host) -> Check:
    """Heartbeats in time on a busy host."""
    wanted = max((times.rt_priority for times in host.times), default=0)
    if not wanted:
        return ok("real-time limits", "not wanted (rt_priority = 0)")
    if host.rt_runtime_us == 0:
        seen = "kernel.sched_rt_runtime_us = 0: no thread gets real-time priority"
        return warn("real-time limits", seen, "sysctl kernel.sched_rt_runtime_us=950000")
    if host.rt_limit is not None and host.rt_limit < wanted:
        seen = f"rt_priority {wanted} is above the limit {host.rt_limit} (RLIMIT_RTPRIO)"
        return warn("real-time limits", seen, f"LimitRTPRIO={wanted} in the unit, or CAP_SYS_NICE")
    return ok("real-time limits", f"rt_priority {wanted} is allowed")


def check_guest(host: Host) -> Iterator[Check]:
    """A virtual machine's processors stop now and then."""
    for times in host.times:
        if host.guest and times.lease_ms < _BEATS_OF_A_GUEST_MS:
            seen = f"D = {times.lease_ms} ms on a virtual machine: the hypervisor may hold it up for longer"
            todo = (
                f"let heartbeat_ms * heartbeat_misses be {_BEATS_OF_A_GUEST_MS} or more; look at beats_late"
            )
            yield warn(f"heartbeats of {times.group}", seen, todo)


def check_clock(host: Host) -> Check:
    """Wall clocks of the nodes are near each other if each is near the time of day."""
    if host.clock_kept:
        return ok("wall clock", "kept by a time service")
    if host.clock_kept is None:
        return warn("wall clock", "the kernel does not tell", "let adjtimex(2) be called here (seccomp)")
    seen = "no time service keeps it: the kernel calls it unsynchronised"
    if host.clock_followed and not host.clock_led:
        return fail("wall clock", f"{seen}; follow_clock lacks CAP_SYS_TIME", "`fttcp settings follow_clock`")
    if host.clock_followed:
        return ok("wall clock", f"{seen}; it follows the primary's")
    return warn("wall clock", seen, "on each node: apt install chrony; `chronyc tracking` tells how it is")


def _check_slew(host: Host) -> Iterator[Check]:
    """CLOCK_BOOTTIME, by which leases are counted, is slewed together with the wall clock."""
    if host.slews_ppm is None:
        return
    most = (host.drift_ppm - QUARTZ_PPM) // 2  # one clock may be hurried while the other is held back
    if host.slews_ppm <= most:
        yield ok("chrony", f"slews the clock by {host.slews_ppm:g} ppm at most")
        return
    seen = f"may slew the clock, and that of leases with it, by {host.slews_ppm:g} ppm"
    seen += f", on each of two nodes: too much for drift_ppm, which is {host.drift_ppm}"
    todo = f"on each node: `maxslewrate {max(most, 1)}` in /etc/chrony/conf.d/fttcp.conf, and restart chrony"
    yield warn("chrony", seen, todo)


def check_conntrack(host: Host) -> Check:
    """Connection tracking: flows of the service are exempt, heartbeats and the arbiter's are not."""
    if not host.connections_most:
        return ok("conntrack", "not in use")
    seen = f"{host.connections} of {host.connections_most} connections tracked"
    if host.connections >= _CROWDED * host.connections_most:
        seen += ": when the table is full, heartbeats of new links and questions to the arbiter are dropped"
        todo = f"sysctl net.netfilter.nf_conntrack_max={2 * host.connections_most}"
        return warn("conntrack", seen, todo)
    return ok("conntrack", seen)


def _check_interfaces(host: Host) -> Iterator[Check]:
    for group, obstacle in host.macs.items():
        yield fail(f"mac {group}", *obstacle) if obstacle else ok(f"mac {group}", "no interface has it")
    for name in host.large_receive:
        seen = "large-receive-offload is on: what is merged cannot be mirrored as it was"
        yield warn(f"offload {name}", seen, f"ethtool -K {name} lro off (GRO may stay)")
    for name in host.without_ipv6:
        seen = "IPv6 is off there, and a group has IPv6 addresses"
        yield fail(f"IPv6 {name}", seen, f"sysctl net.ipv6.conf.{name}.disable_ipv6=0")
