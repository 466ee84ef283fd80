"""What a killed daemon has left in the kernel, found by the marks on it: when its record is gone.

Tables of nf_tables and chains of iptables bear our names; routes, rules of routing and addresses our protocol
number. What a living daemon has is not touched: it has its queues open, and owns tables that die with
it. Sysctls bear no mark, and what they were before nobody knows any more: they stay.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from fttcp.network import kernel, nft, routing
from fttcp.network.guardian import is_left
from fttcp.network.nft import NftError, Table
from fttcp.network.record import Record, place_here
from fttcp.network.rules import saved_rules
from fttcp.network.tables import groups_of

_QUEUES = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
_ADDRESS, _QUEUE = "fttcp-address-", "fttcp-queue-"
_OURS = re.compile(r"fttcp-(rules|guard)-")
_CHAIN = re.compile(r"^-A FTT-([A-Za-z0-9_.~-]+)-(?:out|in) (.*)$", re.MULTILINE)
_QUEUED = re.compile(r"--queue-(?:num|balance) (\d+)")


async def found() -> Record:
    """All of it, as what is to be undone. Raises KernelError or RulesError."""
    tables = await asyncio.to_thread(_tables)
    queues = {int(table.name[len(_QUEUE) :]) for table in tables if table.name.startswith(_QUEUE)}
    queues |= _open_queues()
    living = {table.name[len(_ADDRESS) :] for table in tables if table.name.startswith(_ADDRESS)}
    record = await asyncio.to_thread(_routes, living, queues)
    chains = {(name, version) for version in (4, 6) for name in await _chains(version, queues)}
    left = await asyncio.to_thread(_left, tables)
    return record.joined(Record(place_here(), rules=frozenset(chains), nft=frozenset(left)))


def _tables() -> dict[Table, int]:
    """And the ports of their owners; none where the kernel has no nf_tables."""
    try:
        socket = nft.Socket()
        try:
            return socket.tables()
        finally:
            socket.close()
    except NftError:
        return {}


def _open_queues() -> set[int]:
    """The queues of NFQUEUE that somebody reads; root may see that. Where a daemon need not be root, its
    claims tell as much."""
    try:
        lines = _QUEUES.read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return set()
    return {int(line.split()[0]) for line in lines}


def _left(tables: dict[Table, int]) -> set[Table]:
    """Those of groups none of whose tables belongs to a living daemon."""
    ours = {table: port for table, port in tables.items() if _OURS.match(table.name)}
    dead = {port for port in set(ours.values()) if port and is_left(port)}
    living = groups_of(table for table, port in ours.items() if port and port not in dead)
    return {table for table in ours if not groups_of([table]) & living}


def _routes(living: set[str], queues: Iterable[int]) -> Record:
    """Rules and tables of routing, and addresses: not those of a living daemon."""
    busy = {routing.TABLE_BASE + queue for queue in queues}
    with kernel.netlink() as socket:
        rules = routing.our_rules(socket)
        dead = {rule for rule in rules if rule.side == "from" and rule.table not in busy}
        services = {rule.address for rule in dead} - living
        addresses = kernel.our_addresses(socket, set(map(ip_address, services)))
        tables = (routing.our_tables(socket) | {rule.table for rule in dead}) - busy
    theirs = living | {rule.address for rule in rules if rule.side == "from" and rule.table in busy}
    own = {str(address) for address in addresses} - theirs
    return Record(
        place_here(),
        addresses=frozenset(own),
        tables=frozenset(tables),
        services=frozenset(services | own),
        peers=frozenset() if theirs else frozenset(rule.address for rule in rules if rule.side == "to"),
    )


async def _chains(version: int, queues: set[int]) -> set[str]:
    """The groups that have chains of iptables which lead to queues that nobody reads."""
    if shutil.which("iptables-save" if version == 4 else "ip6tables-save") is None:
        return set()
    named = _CHAIN.findall(await saved_rules(version))
    busy = {name for name, rule in named if any(int(queue) in queues for queue in _QUEUED.findall(rule))}
    return {name for name, _ in named} - busy
