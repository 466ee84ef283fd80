"""Whose the tables of groups are: one socket of this process, which nobody else can take them from.

What a kernel can do about that differs (`Firewall`). What the tables hold is in tables.py; who owns them
after a kill of the process, in guardian.py.
"""

import errno
import threading
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from fttcp.network import nft, station
from fttcp.network.guardian import Guardian, end_of
from fttcp.network.nft import Message, NftError, Table
from fttcp.network.rules import Address, GroupNet, RulesError
from fttcp.network.tables import contents, is_guard, mirror, plan, trial

_SHOWN = {nft.IPV4: "ip", nft.IPV6: "ip6", nft.ARP: "arp", nft.NETDEV: "netdev"}


class Firewall(Enum):
    """What the rules of this host withstand."""

    KEPT = "kept"
    """A flush by others, the death of the daemon, and the one after the other."""
    GUARDED = "guarded"
    """The same, as long as the guardian lives: before Linux 6.9 a table dies with its owner. The rules have
    none: they stay whatever dies, and a flush removes them, but not the guard."""
    FLUSHABLE = "flushable"
    """Nothing: rules of iptables, without a guard, where nf_tables cannot do it."""


class Standing(NamedTuple):
    """How a group's rules stand at a moment."""

    level: Firewall
    why: str
    """Why not more, '' if there is no more."""
    rules: bool
    """What leads packets to the engine is all there."""
    guard: bool
    """What stands behind everything is all there."""
    missing: list[str]
    stopped: int
    """Packets that came round the rules, and that the guard has stopped since it stands."""
    elsewhere: int = 0
    """Packets for the service that came in by another interface since the rules stand."""


class TakenError(RulesError):
    """Another daemon of this host has what a group needs; the text says what."""


class Owner:
    """Makes and keeps the tables of this process's groups, by one socket that owns them, and that outlives a
    kill of the process. The methods block for some milliseconds. They are called in threads, which go on when
    nobody waits for them any more: one at a time."""

    def __init__(self, firewall: Firewall | None = None) -> None:
        """``firewall``: less than the kernel can do, for tests."""
        self._one_at_a_time = threading.Lock()
        self._socket = nft.Socket()
        self._guardian = Guardian(self._socket.fileno())
        self._claiming = nft.Socket()
        """Owner of what ends with this process."""
        self.firewall, self.why = (firewall, "as asked for") if firewall else _possible(self._socket)
        self._claims: set[Table] = set()
        self._made: dict[str, GroupNet] = {}

    def close(self) -> None:
        """Claims end, and with them whatever dies with its owner. Waits for what another thread is about."""
        with self._one_at_a_time:
            self._guardian.end()
            self._socket.close()
            self._claiming.close()

    def claim(self, addresses: Iterable[Address], queues: Iterable[int]) -> None:
        """Take sole charge of addresses and queues in this network namespace, and of none else; it ends with
        this process. Raises TakenError when another process has one of them; then nothing has changed."""
        names = [*(f"fttcp-address-{one}" for one in addresses), *(f"fttcp-queue-{one}" for one in queues)]
        wanted = {Table(nft.INET, name) for name in names}
        with self._one_at_a_time:
            new, old = sorted(wanted - self._claims), sorted(self._claims - wanted)
            try:
                self._claiming.change(
                    [*(nft.make_table(one, nft.OWNER) for one in new), *(nft.drop_table(one) for one in old)]
                )
            except NftError as error:
                if error.errno == errno.EPERM:
                    raise TakenError(
                        f"another fttcp node of this host has what this one needs ({error})"
                    ) from error
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                    return  # before Linux 5.12: no table has an owner
                raise
            self._claims = wanted

    def make(self, group: GroupNet) -> None:
        """Put a group's tables in place of those that there are of it, in one step. Raises NftError."""
        with self._one_at_a_time:
            self._release(plan(group))
            self._guardian.keep()
            messages: list[Message] = []
            for table in plan(group):
                if self._socket.exists(table):
                    messages.append(nft.drop_table(table))
                if not _hooked(table, group):
                    continue
                messages += [nft.make_table(table, self._flags(table)), *contents(group, table)]
            self._socket.change(messages)
            self._made[group.name] = group

    def move_mirror(self, group: GroupNet) -> None:
        """Lead the group's mirror to the gateways that it has now; all else stays, and what is queued."""
        messages: list[Message] = []
        for table in plan(group):
            if not is_guard(table) and table.family != nft.NETDEV:
                messages += [nft.empty_chain(table, "mirror"), *mirror(table, group)]
        with self._one_at_a_time:
            self._socket.change(messages)
            self._made[group.name] = group

    def stands(self, group: GroupNet) -> bool:
        """Whether the group's tables are those that `make` made of it."""
        return self._made.get(group.name) == group and not self.standing(group).missing

    def standing(self, group: GroupNet) -> Standing:
        """What is there of the group's tables, and what its guard has stopped."""
        lost: dict[Table, str] = {}
        stopped = elsewhere = 0
        with self._one_at_a_time:
            self._guardian.keep()
            found = {table: self._socket.rules(table) for table in plan(group)}
        for table, there in found.items():
            wanted = [step for step in contents(group, table) if step.what.startswith("add a rule")]
            if there.lengths.total() != len(wanted) and _hooked(table, group):
                have = f"{there.lengths.total()} rules of {len(wanted)}"
                lost[table] = f"{_SHOWN[table.family]} {table.name}: {have}"
            stopped += there.counted.total() if is_guard(table) else 0
            elsewhere += 0 if is_guard(table) else there.counted["input"]
        guards = set(map(is_guard, lost))
        return Standing(
            *(self.firewall, self.why, False not in guards, True not in guards),
            *([*lost.values()], stopped, elsewhere),
        )

    def remove(self, tables: Sequence[Table]) -> None:
        """Remove those that exist, in one step. Raises NftError."""
        with self._one_at_a_time:
            self._release(tables)
            self._socket.change([nft.drop_table(table) for table in tables if self._socket.exists(table)])
            self._made = {name: of for name, of in self._made.items() if not set(plan(of)) & set(tables)}

    def _release(self, tables: Iterable[Table]) -> None:
        """Let nobody own them but us: a killed daemon's guardian may. Raises TakenError for a living one."""
        for table in tables:
            port = self._socket.owner(table)
            if not port or port == self._socket.port or end_of(port):
                continue
            if self._socket.owner(table) == port:  # it has not ended meanwhile
                raise TakenError(f"table {table.name} belongs to another program of this host")

    def _flags(self, table: Table) -> int:
        if self.firewall is Firewall.KEPT:
            return nft.OWNER | nft.PERSIST
        return nft.OWNER if is_guard(table) else 0


def _hooked(table: Table, group: GroupNet) -> bool:
    """Whether there is something that the table can be hooked to: an interface may be away for a while, and
    takes its chains with it."""
    return table.family != nft.NETDEV or bool(station.hooked(group))


def _possible(owner: nft.Socket) -> tuple[Firewall, str]:
    """What the kernel can do, and why not more: tried with a table that is gone at once."""
    table = Table(nft.IPV4, "fttcp-trial")
    gone = [nft.drop_table(table)]
    try:
        owner.change([nft.make_table(table, nft.OWNER), *trial(table), *gone])
    except NftError as error:
        return Firewall.FLUSHABLE, str(error)
    try:
        owner.change([nft.make_table(table, nft.OWNER | nft.PERSIST), *gone])
    except NftError as error:
        return Firewall.GUARDED, str(error)
    return Firewall.KEPT, ""
