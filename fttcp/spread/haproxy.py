"""Groups as servers of an HAProxy backend, over its runtime API (HAProxy's management guide, section 9.3)."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from fttcp.spread.member import Member, SpreadError

_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 24
_FORCED_MAINTENANCE = 1
"""SRV_ADMF_FMAINT in `srv_admin_state`."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of a backend, as HAProxy has it."""

    address: str
    port: int
    serves: bool

    def is_at(self, member: Member) -> bool:
        """True if it has the member's address and port."""
        try:
            same = ip_address(self.address) == ip_address(member.address)
        except ValueError:  # `-`: none yet
            same = False
        return same and self.port == member.port


@dataclass(frozen=True, slots=True)
class HaproxyBackend:
    """A backend with a server for each group, of the group's name.

    ``place``: path of a `stats socket` of level admin, or address and port of one.
    """

    backend: str
    place: str | tuple[str, int]

    def lines(self, members: Sequence[Member]) -> list[str]:
        """Return commands for the runtime API; none for what is not known, nor for an address of no group:
        which servers have it HAProxy knows."""
        named = [member for member in _certain(members) if member.group]
        return [line for member in named for line in self._commands(member, None)]

    def apply(self, members: Sequence[Member]) -> None:
        """Set addresses and states; what was set is read again. Raises SpreadError."""
        before, said = self._servers(), list[str]()
        members = [one for member in members for one in _named(member, before)]
        if missing := [member for member in members if member.group not in before]:
            todo = "; ".join(f"server {one.group} {one.address}:{one.port}" for one in missing)
            lacks = f"backend {self.backend} has no server {', '.join(one.group for one in missing)}"
            raise SpreadError(f"{self._where}: {lacks}: put into it: {todo}")
        certain = _certain(members)
        for member in certain:
            for command in self._commands(member, before[member.group]):
                said.append(f"`{command}`: {self._ask(command).strip() or 'no answer'}")
        after = self._servers() if said else before
        for member in certain:
            if member.group not in after or any(self._commands(member, after[member.group])):
                raise SpreadError(f"{self._where}: {'; '.join(said)}: is its socket of `level admin`?")

    def _commands(self, member: Member, server: Server | None) -> Iterator[str]:
        """Yield what makes a server be as a member is. None: it may be anything."""
        place = f"set server {self.backend}/{member.group}"
        if member.by and not (server and server.is_at(member)):
            yield f"{place} addr {member.address} port {member.port}"
        if server is None or server.serves is not bool(member.by):
            yield f"{place} state {'ready' if member.by else 'maint'}"

    def _servers(self) -> dict[str, Server]:
        answer = self._ask(f"show servers state {self.backend}")
        try:
            return read_servers(answer)
        except ValueError as error:
            said = answer.strip().partition("\n")[0][:200] or "nothing"
            raise SpreadError(
                f"{self._where}: backend {self.backend}: it says: {said} (is there such a backend?)"
            ) from error

    @property
    def _where(self) -> str:
        place = self.place if isinstance(self.place, str) else " port ".join(map(str, self.place))
        return f"HAProxy at {place}"

    def _ask(self, command: str) -> str:
        """Return the answer to one command; HAProxy closes the connection behind it. Raises SpreadError."""
        try:
            with self._connected() as channel:
                channel.sendall(command.encode() + b"\n")
                answer = b""
                while (more := channel.recv(65536)) and len(answer) < _MOST_BYTES:
                    answer += more
        except TimeoutError as error:
            raise SpreadError(f"{self._where}: no answer within {_TIMEOUT_S:g} s") from error
        except OSError as error:
            todo = "`stats socket` in its configuration, and rights to it"
            raise SpreadError(f"{self._where}: {error.strerror or error}: {todo}") from error
        return answer.decode(errors="replace")

    def _connected(self) -> socket.socket:
        if not isinstance(self.place, str):
            return socket.create_connection(self.place, _TIMEOUT_S)
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(_TIMEOUT_S)
        try:
            channel.connect(self.place)
        except OSError:
            channel.close()
            raise
        return channel


def _named(member: Member, servers: Mapping[str, Server]) -> list[Member]:
    """Return a member as it is; an address of no group as the servers that have it."""
    if member.group:
        return [member]
    return [
        replace(member, group=name, port=server.port)
        for name, server in servers.items()
        if server.is_at(replace(member, port=server.port))
    ]


def _certain(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.by or member.certain]


def read_servers(answer: str) -> dict[str, Server]:
    """Return the servers of one backend by name, from `show servers state`. Raises ValueError."""
    version, head, *rows = answer.strip().splitlines() or [""]
    if version != "1" or not head.startswith("# "):
        raise ValueError(f"not `show servers state` of version 1: {version:.80}")
    columns = head[2:].split()
    named = [dict(zip(columns, row.split(), strict=False)) for row in rows]
    try:
        return {
            row["srv_name"]: Server(
                row["srv_addr"],
                int(row["srv_port"]),
                not int(row["srv_admin_state"]) & _FORCED_MAINTENANCE,
            )
            for row in named
        }
    except KeyError as error:
        raise ValueError(f"no column {error}") from error
