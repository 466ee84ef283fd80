"""Looks at a server's processes and sockets: what Progress and the checks of resources judge. Runs in a
thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from fttcp.server import procfs
from fttcp.server.progress import Progress, Sample
from fttcp.server.rounds import Facts
from fttcp.server.sockets import Connection, Listener, Sockets
from fttcp.server.waits import Thread, awake, look
from fttcp.wire.ports import numbers, shown


@dataclass(frozen=True, slots=True)
class Place:
    """Where nobody listens, and where the same ports are listened on."""

    address: str
    ports: tuple[int, ...]
    proto: str
    elsewhere: tuple[str, ...]

    def __str__(self) -> str:
        ports = ", ".join(f"{port}/{self.proto}" for port in self.ports)
        return f"{self.address} port {ports}, only on {', '.join(self.elsewhere)}"


class Sampler:
    """Takes samples. To be used by one thread at a time."""

    def __init__(self, ports: Sequence[tuple[int, int, str]], addresses: Sequence[str] = ()) -> None:
        """``ports`` and ``addresses``: those of the group. Raises OSError if the kernel lacks sock_diag.

        A server need not listen on all of a range, or at any time. In a group of ranges only one port of
        each is enough."""
        self._addresses = tuple(addresses)
        self._single = frozenset((first, proto) for first, last, proto in ports if first == last)
        self._ranges = tuple(one for one in ports if one[0] != one[1])
        self._all = {proto: numbers(ports, proto) for proto in ("tcp", "udp")}
        self._tcp = self._all["tcp"]
        self._sockets = Sockets()
        self._asked_s = 0.0
        self._waiting = False
        self._awake: dict[int, int] = {}
        """Of each process the thread that was last seen to wait for no other."""
        self.blind = ""
        """Why threads or files of the server cannot be seen; empty when they can."""

    def close(self) -> None:
        """Close the netlink socket."""
        self._sockets.close()

    def not_served(self, pids: Sequence[int], facts: Facts | None = None) -> tuple[str, list[Listener]]:
        """Return why these processes do not serve the group's ports, empty when they do; and the sockets
        of these ports that are known to be theirs.
        """
        listening = self.listeners(facts)
        held: set[int] = set()
        for pid in procfs.family(pids):
            inodes = procfs.sockets_of(pid)
            if inodes is None:
                return self._missing({(one.port, one.proto) for one in listening}), []
            held |= inodes
        ours = [one for one in listening if one.inode in held]
        served = {(one.port, one.proto) for one in ours}
        foreign = sorted({(one.port, one.proto) for one in listening} & self._single - served)
        if foreign:
            port, proto = foreign[0]
            inode = next(one.inode for one in listening if (one.port, one.proto) == (port, proto))
            return f"{_holder(inode)} listens on {port}/{proto}, not this server", ours
        return self._missing(served) or self._deaf(ours), ours

    def _deaf(self, listening: Sequence[Listener]) -> str:
        """Why the server does not serve: it listens, where no client of IPv4 speaks. One of IPv4 alone is
        common, and serves: what it lacks `unheard` tells."""
        for place in self.unheard(listening):
            if ip_address(place.address).version == 4 and place.proto == "tcp":
                return f"nobody listens on {place}"
        return ""

    def unheard(self, listening: Iterable[Listener]) -> list[Place]:
        """Where nobody listens although clients may speak there: of TCP each port of each address; of UDP
        addresses with no port at all, since a UDP server may have one port for each version of IP. Ports of
        ranges come and go."""
        there: dict[tuple[int, str], list[Listener]] = {}
        for one in listening:
            there.setdefault((one.port, one.proto), []).append(one)
        groups = [([port], proto) for port, proto in sorted(self._single) if proto == "tcp"]
        groups.append(([port for port, proto in sorted(self._single) if proto == "udp"], "udp"))
        found = []
        for ports, proto in groups:
            heard = [one for port in ports for one in there.get((port, proto), ())]
            for address in self._addresses if heard else ():
                if not any(one.hears(address) for one in heard):
                    elsewhere = sorted({one.address for one in heard})
                    found.append(Place(address, tuple(ports), proto, tuple(elsewhere)))
        return found

    def _missing(self, served: set[tuple[int, str]]) -> str:
        missing = [f"{port}/{proto}" for port, proto in sorted(self._single - served)]
        if not self._single:
            missing = [
                f"any of {shown(one)}"
                for one in self._ranges
                if not any(one[0] <= port <= one[1] and proto == one[2] for port, proto in served)
            ]
        return f"nobody listens on {', '.join(missing)} yet" if missing else ""

    def sample(self, pids: Sequence[int], progress: Progress, facts: Facts | None = None) -> Sample:
        """Look once. Threads are looked at only when there is reason to, and so are connections."""
        facts = facts or Facts()
        relatives = facts.once(("tree", *pids), lambda: procfs.tree(pids))
        stopped = facts.once(("stopped", *pids), lambda: _stopped(relatives))
        family = list(relatives)
        if stopped or not self._tcp or not self._worth_asking(relatives, progress, facts):
            return Sample(None, stopped=stopped, family=family)  # what for the stopped one need not be asked
        unread = self._sockets.unread(self._tcp, facts.once("unread", self._sockets.all_unread))
        self._asked_s, self._waiting = time.monotonic(), progress.waiting(unread)
        if not self._waiting:
            return Sample(unread, family=family)
        owners = self._owners(unread, family)
        seen: dict[int, list[Thread]] = {}
        for pid in {pid for pids_of in owners.values() for pid in pids_of}:
            found = look(pid)
            if found is None:
                self._cannot_see(pid)
                continue
            seen[pid] = found
        return Sample(unread, owners, seen, stopped, family)

    def _worth_asking(self, relatives: Mapping[int, Sequence[int]], progress: Progress, facts: Facts) -> bool:
        """The kernel walks all buckets of the host's connections to answer, milliseconds where they are many.
        A server is hung only if a process of it without children has no thread awake, and it stalls for
        long. For that all groups ask in the same rounds."""
        patience_s, now_s = progress.patience_s, time.monotonic()
        if self._waiting or not patience_s or now_s // patience_s > self._asked_s // patience_s:
            return True
        found = {pid: self._one_awake(pid, facts) for pid, own in relatives.items() if not own}
        self._awake = {pid: tid for pid, tid in found.items() if tid is not None}
        return len(self._awake) < len(found)

    def _one_awake(self, pid: int, facts: Facts) -> int | None:
        """See ``awake``; of a process that we may not look at nobody can say that it hangs."""
        first = self._awake.get(pid, pid)
        found = facts.once(("awake", pid), lambda: _awake(pid, first))
        if isinstance(found, PermissionError):
            self._cannot_see(pid)
            return first
        return found

    def _cannot_see(self, pid: int) -> None:
        self.blind = f"the threads of process {pid} cannot be seen (CAP_SYS_PTRACE is missing)"

    def _owners(self, unread: Sequence[Connection], relatives: Sequence[int]) -> dict[int, frozenset[int]]:
        wanted = {connection.inode for connection in unread}
        owners: dict[int, set[int]] = {}
        for pid in relatives:
            inodes = procfs.sockets_of(pid)
            if inodes is None:
                self.blind = f"the files of process {pid} cannot be seen (CAP_SYS_PTRACE is missing)"
                continue
            if mine := inodes & wanted:
                relations = procfs.family([pid])  # it may have a thread for each connection: once
                for inode in mine:
                    owners.setdefault(inode, set()).update(relations)
        return {inode: frozenset(pids) for inode, pids in owners.items()}

    def listeners(self, facts: Facts | None = None) -> list[Listener]:
        """The listening sockets of the group's ports."""
        everybody = (facts or Facts()).once("listeners", self._sockets.listeners)
        return [one for one in everybody if one.port in self._all[one.proto]]


def _stopped(pids: Iterable[int]) -> dict[int, str]:
    stats = {pid: procfs.process_stat(pid) for pid in pids}
    return {pid: stat.name for pid, stat in stats.items() if stat is not None and stat.state in "Tt"}


def _awake(pid: int, first: int) -> int | PermissionError | None:
    try:
        return awake(pid, first)
    except PermissionError as error:
        return error


def bound(listeners: Sequence[Listener]) -> list[str]:
    """The ports on which one of these takes packets from one interface only: `80/tcp to eth0`."""
    return sorted(
        {f"{one.port}/{one.proto} to {_interface_name(one.interface)}" for one in listeners if one.interface}
    )


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"interface {index}"


def _holder(inode: int) -> str:
    """Who has a socket open: `process 7 (nginx)`."""
    for pid in procfs.processes():
        if inode in (procfs.sockets_of(pid) or ()):
            stat = procfs.process_stat(pid)
            return f"process {pid} ({stat.name if stat else '?'})"
    return "somebody else"
