"""The whole network side of a node: put in place, changed with the role, taken away without a trace.

What was changed is recorded in the run directory before it is changed, so that the next start (or
`cleanup`) can undo it when this process did not get the chance.
"""

import asyncio
import dataclasses
import errno
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from fttcp.network import ground, kernel, leftovers, routing, station, tables
from fttcp.network.ground import Ground
from fttcp.network.keeper import RuleKeeper
from fttcp.network.nft import NftError
from fttcp.network.owner import Firewall, Owner, Standing
from fttcp.network.record import RECORD, Record
from fttcp.network.routing import Route, Rule
from fttcp.network.rtnetlink import Netlink
from fttcp.network.rules import Address, GroupNet, RulesError, apply_rules, missing, move_mirror, remove_rules

P = ParamSpec("P")
R = TypeVar("R")


class NetworkSetup:
    """The network side of all groups of one node. Calls that overlap wait for each other. All raise
    KernelError or RulesError; a failed `apply` leaves the rules that it did install: the node is closed."""

    def __init__(self, groups: Sequence[GroupNet], run_dir: Path, firewall: Firewall | None = None) -> None:
        """``firewall``: less than the kernel can do, for tests."""
        self._groups = {group.name: group for group in groups}
        self._adapter: str | None = None
        self._path = run_dir / RECORD
        self._backup = dict.fromkeys(self._groups, False)
        self._lock = asyncio.Lock()
        self._firewall = firewall
        self._owner: Owner | None = None
        self._keeper: RuleKeeper | None = None
        self._record: Record | None = None
        """What is in the file; a cleaner of temporary files may take that."""
        self._tracked: dict[str, frozenset[int]] = {}
        """Group -> IP versions that conntrack could not be kept from."""
        self._routes: dict[str, frozenset[Route]] = {}
        """Group -> what its table held when it was left."""
        self._good: dict[str, frozenset[Route]] = {}
        """... and what it held last of each IP version that it had routes of."""
        self._had: dict[str, set[int]] = {}
        """Group -> IP versions of routes that its table has ever held."""

    @property
    def firewall(self) -> tuple[Firewall, str]:
        """What the rules withstand, and why not more; known from the first `apply` on."""
        assert self._owner is not None
        return self._owner.firewall, self._owner.why

    def use_adapter(self, name: str) -> None:
        """From now on the service addresses are at this adapter. `follow_adapter` has to come after it."""
        self._adapter = name

    def _used(self, group: GroupNet) -> str:
        return self._adapter or group.service_interface

    def follow_adapter(self, left: str) -> Coroutine[Any, Any, None]:
        """Has routes lead over the adapter that is used: those that are known from this call on, in a thread,
        and as it should be when what is returned is awaited. (What clients acknowledge meanwhile the stack
        would answer by the adapter that was left, and repeat when its timers say so.) What waits in the
        kernel for neighbours there goes. Raises KernelError, when it is awaited."""
        return self._followed(left, _begun(_with_socket, self._for_each_group, self._lead_over))

    async def _followed(self, left: str, leading: asyncio.Future[None]) -> None:
        try:
            await _ended(leading)
        finally:
            try:
                if interface := kernel.index_of(left):
                    await _in_kernel(kernel.drop_unresolved, interface)
            finally:
                async with self._lock:
                    await _in_kernel(self._for_each_group, self._sync_routes)

    def _for_each_group(self, socket: Netlink, work: Callable[[Netlink, GroupNet], object]) -> None:
        """Raises KernelError for the first group that it fails for, when all have had their turn."""
        failed: list[kernel.KernelError] = []
        for group in self._groups.values():
            try:
                work(socket, group)
            except kernel.KernelError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _lead_over(self, socket: Netlink, group: GroupNet) -> None:
        routing.lead_over(socket, group, self._used(group), self._good.get(group.name, ()))

    async def apply(self, insist: bool = False) -> None:
        """What the groups need is claimed: another daemon of this host is left alone (TakenError: nothing
        has changed then). Rules next: from then on nothing of a group passes without its engine. Then what
        was left of earlier configurations is undone, and sysctls, addresses and routes are set. May be
        repeated. What cannot be put in place raises KernelError at the
        start, and with ``insist``; else `ground` tells."""
        async with self._lock:
            kept: frozenset[Rule] = frozenset()
            if self._keeper is not None:
                kept = self._keeper.kept
                self._keeper.keep(())
            try:
                self._keep_rules(await self._put_in_place(insist))
            except Exception:
                if self._keeper is not None:
                    self._keeper.keep(kept)
                raise

    async def _put_in_place(self, insist: bool) -> set[Rule]:
        """Returns the rules of routing that are to be kept."""
        groups = self._groups.values()
        starting = self._keeper is None
        if starting:  # later an interface may be away for a while
            for group in groups:
                kernel.interface_index(self._used(group))
                kernel.interface_index(group.peer_interface)
                await _in_kernel(_check_mac, group)
        previous = await self._before()
        owner = await self._claim(previous)
        wanted = await _in_kernel(_wanted, groups, previous, owner.firewall)
        stale = previous.without(wanted)
        record = previous.joined(wanted)
        self._keep(record)
        for group in groups:
            self._tracked[group.name] = await install(owner, group)
        await _undo(stale, owner)
        self._keep(record.without(stale))
        await _in_thread(_claim, owner, groups)
        for group in groups:
            await _in_kernel(partial(routing.sync_rules, group))
            stood = await _in_kernel(self._look, group)
            if stood.failed and (starting or insist):
                raise kernel.KernelError("; ".join(lack.what for lack in stood.missing))
        return set().union(*map(routing.rules, groups))

    async def _before(self) -> Record:
        """What there is to undo. At the start that is in the file; if somebody has removed that, it is what
        bears our marks."""
        if self._record is not None:
            return self._record
        record = Record.load(self._path)
        return record if self._path.exists() else record.joined(await leftovers.found())

    def _keep(self, record: Record) -> None:
        record.save(self._path)
        self._record = record

    async def restore_record(self) -> bool:
        """Write the file again if it is gone; say whether it was."""
        async with self._lock:
            if self._record is None or self._path.exists():
                return False
            self._record.save(self._path)
            return True

    async def ground(self, group: str) -> Ground:
        """How the group stands besides its firewall, after what is ours to mend has been mended."""
        async with self._lock:
            while True:
                adapter = self._adapter
                found = await _in_kernel(self._look, self._groups[group])
                if self._adapter == adapter:  # else it was another one that was looked at
                    return found

    def _look(self, socket: Netlink, group: GroupNet) -> Ground:
        """In a thread, as all that is asked of rtnetlink."""
        previous = self._record or Record.load(self._path)
        before = {path: value for path, (value, _) in previous.sysctls.items()}
        sysctls = kernel.wanted_sysctls([group], before)
        record = previous.joined(_with_sysctls(Record(previous.place), sysctls))
        if record != previous:
            self._keep(record)
        had = self._had.setdefault(group.name, set())

        def sync(socket: Netlink) -> tuple[routing.Synced, set[int]]:
            synced = self._sync_routes(socket, group)
            had.update(synced.versions)
            return synced, had

        return ground.look(socket, ground.wants(group, self._used(group), sysctls, sync))

    def _sync_routes(self, socket: Netlink, group: GroupNet) -> routing.Synced:
        before = self._routes.get(group.name, frozenset())
        synced = routing.sync_routes(socket, group, self._used(group), self._backup[group.name], before)
        self._routes[group.name] = frozenset(synced.routes)
        good = self._good.get(group.name, frozenset())
        lost = {one for one in good if one.destination.version not in synced.versions}
        now = {one for one in synced.routes if one.destination.version in synced.versions}
        self._good[group.name] = frozenset(lost | now)
        return synced

    def _keep_rules(self, rules: set[Rule]) -> None:
        if self._keeper is None:
            self._keeper = RuleKeeper()
        self._keeper.keep(rules)

    def restored(self) -> dict[str, list[str]]:
        """Group -> its rules of routing that somebody has removed since this was asked last, and that are
        back."""
        back = [] if self._keeper is None else self._keeper.restored()
        told = {
            name: [str(rule) for rule in back if rule in routing.rules(net)]
            for name, net in self._groups.items()
        }
        return {name: rules for name, rules in told.items() if rules}

    async def _claim(self, previous: Record) -> Owner:
        """What the groups need, and what was left: nobody else may have it."""
        owner = self._owner
        if owner is None:
            owner = await _in_thread(Owner, self._firewall)
        try:
            await _in_thread(_claim, owner, self._groups.values(), previous.services)
        except Exception:
            if self._owner is None:
                await _in_thread(owner.close)
            raise
        self._owner = owner
        return owner

    async def change(self, groups: Sequence[GroupNet]) -> None:
        """From now on these are the groups: what others needed is undone, what stays is left alone. If it
        fails, the old groups are the groups again, and `apply` mends."""
        old, self._groups = self._groups, {group.name: group for group in groups}
        try:
            self._backup = {name: self._backup.get(name, False) for name in self._groups}
            await self.apply(insist=True)
        except Exception:
            self._groups = old
            self._backup = {name: self._backup.get(name, False) for name in old}
            raise

    async def mirror_to(self, group: GroupNet) -> None:
        """From now on the group, else as before, is mirrored to the gateways that it has now, and the kernel
        knows where they are. If that fails, `standing` tells, and `apply` mends."""
        gateways = [group.gateway(version) for version in group.families]
        async with self._lock:
            self._groups[group.name] = group
            assert self._owner is not None
            if self._owner.firewall is Firewall.FLUSHABLE:
                await move_mirror(group)
            else:
                await _in_thread(self._owner.move_mirror, group)
            await _in_kernel(
                kernel.resolve,
                kernel.interface_index(group.peer_interface),
                [gateway for gateway in gateways if gateway is not None],
            )

    async def remove(self) -> None:
        """Undoes everything, in reverse; connections that are left end unnoticed by their clients. The
        groups' servers should have ended. Nothing is done before an `apply` has begun: what an earlier
        process left stays closed, and what another one has is its own."""
        async with self._lock:
            if self._keeper is not None:
                self._keeper.close()
                self._keeper = None
            if self._owner is not None:
                await _undo(self._record or Record.load(self._path), self._owner)
                self._path.unlink(missing_ok=True)
                self._record = None
                owner, self._owner = self._owner, None
                await _in_thread(owner.close)

    async def set_role_metrics(self, group: str, backup: bool) -> None:
        """Gives the routes from the group's addresses the metrics of a role: to be called after a change of
        role, when what is urgent about it has been done."""
        self._backup[group] = backup
        async with self._lock:
            await _in_kernel(self._sync_routes, self._groups[group])

    async def keep_warm(self, group: str, clients: Iterable[bytes]) -> None:
        """Has the kernel resolve or confirm the neighbours through which `clients` are reached, so that a
        takeover need not ask for them first. To be called every few seconds, after `ground`, which has seen
        to the routes."""
        net = self._groups[group]
        async with self._lock:
            await _in_kernel(self._keep_warm, net, [*clients])

    def _keep_warm(self, socket: Netlink, group: GroupNet, clients: Collection[bytes]) -> None:
        routes = self._routes.get(group.name, frozenset())
        interface = kernel.index_of(self._used(group))
        if interface:
            addresses = map(IPv6Address, clients)
            hops = routing.next_hops(routes, (one.ipv4_mapped or one for one in addresses))
            kernel.resolve(socket, interface, hops)

    async def known_neighbours(self, group: str) -> Mapping[Address, str]:
        """Address -> MAC address of the known neighbours on the group's adapters (the one that is used has
        the last word), but for services of this node: their owner asks in their name."""
        net = self._groups[group]
        known: dict[Address, str] = {}
        for name in sorted(net.adapters, key=lambda name: name == self._used(net)):
            if interface := kernel.index_of(name):
                known |= await _in_kernel(kernel.known_neighbours, interface)
        services = {address for net in self._groups.values() for address in net.addresses}
        return {address: mac for address, mac in known.items() if address not in services}

    async def drop_unresolved(self, group: str) -> None:
        """Throws away what waits in the kernel for a neighbour of the service interface: when its carrier
        is gone, and once more when the lease has run out, for until then packets pass the engine's gate."""
        interface = kernel.index_of(self._used(self._groups[group]))
        if interface:  # else it has taken with it what waited
            await _in_kernel(kernel.drop_unresolved, interface)

    async def end_connections(self, group: str) -> None:
        """Destroys what the kernel holds of the group's TCP connections (listening sockets stay): for a node
        that has just started or has lost the role, while its engine lets nothing out."""
        await kernel.end_connections(self._groups[group].addresses)

    async def standing(self, group: str) -> Standing:
        """How the group's firewall rules stand now: what somebody else has removed, and what came round them.
        `apply` mends."""
        net = self._groups[group]
        async with self._lock:
            assert self._owner is not None
            if self._owner.firewall is Firewall.FLUSHABLE:
                lost = await missing(net, self._tracked.get(group, frozenset()))
                return Standing(*self.firewall, not lost, False, lost, 0)
            return await _in_thread(self._owner.standing, net)


async def _in_kernel(work: Callable[Concatenate[Netlink, P], R], *args: P.args, **kw: P.kwargs) -> R:
    """Has something asked of rtnetlink, or told to it, in a thread."""
    return await _in_thread(lambda: _with_socket(work, *args, **kw))


def _with_socket(work: Callable[Concatenate[Netlink, P], R], *args: P.args, **kw: P.kwargs) -> R:
    with kernel.netlink() as socket:
        return work(socket, *args, **kw)


async def _in_thread(work: Callable[P, R], *args: P.args, **kw: P.kwargs) -> R:
    """Has something done in a thread, see ``_ended``."""
    return await _ended(_begun(work, *args, **kw))


def _begun(work: Callable[P, R], *args: P.args, **kw: P.kwargs) -> asyncio.Future[R]:
    """Begin something in a thread, at once."""
    return asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kw))


async def _ended(thread: asyncio.Future[R]) -> R:
    """Waits for its end also when nobody wants it any more: it goes on, and must not put in place what is
    undone next."""
    try:
        return await asyncio.shield(thread)
    finally:
        while not thread.done():
            with suppress(asyncio.CancelledError):  # it has come already, and goes on when the thread ends
                await asyncio.wait({thread})


def _claim(owner: Owner, groups: Collection[GroupNet], left: Iterable[str] = ()) -> None:
    addresses = {address for group in groups for address in group.addresses} | set(map(ip_address, left))
    owner.claim(addresses, [group.queue_in for group in groups])


async def install(owner: Owner, group: GroupNet) -> frozenset[int]:
    """Puts the group's rules in place, unless they stand: what waits in queues is lost with a chain. Returns
    the IP versions that conntrack is not kept from."""
    if owner.firewall is Firewall.FLUSHABLE:
        if group.mac:
            raise _without_mac(group, owner.why)
        return await apply_rules(group)
    if await _in_thread(owner.stands, group):
        return frozenset()
    try:
        await _in_thread(owner.make, group)
    except NftError as error:
        if group.mac and error.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            raise _without_mac(group, str(error)) from error
        raise
    return frozenset()


def _check_mac(socket: Netlink, group: GroupNet) -> None:
    """Raises KernelError."""
    for interface in group.adapters if group.mac else ():
        if why := station.obstacle(socket, interface, group.mac):
            raise kernel.KernelError(f"group {group.name}: {': '.join(why)}")


def _without_mac(group: GroupNet, why: str) -> RulesError:
    return RulesError(
        f"group {group.name}: this kernel cannot give it a MAC address of its own ({why}): remove `mac` on "
        "all nodes, or take Linux 5.16 with nf_tables"
    )


def _wanted(socket: Netlink, groups: Collection[GroupNet], previous: Record, firewall: Firewall) -> Record:
    """What the groups need to be changed, on top of what is found now and `previous` tells of."""
    before = {path: value for path, (value, _) in previous.sysctls.items()}
    flushable = firewall is Firewall.FLUSHABLE
    foreign = kernel.addresses_on_lo(socket) - set(map(ip_address, previous.addresses))
    wanted = Record(
        previous.place,
        {},
        frozenset(str(address) for group in groups for address in {*group.addresses} - foreign),
        frozenset(map(routing.table_of, groups)),
        frozenset((group.name, version) for group in groups for version in group.families if flushable),
        frozenset(str(address) for group in groups for address in group.addresses),
        frozenset(table for group in groups for table in tables.plan(group) if not flushable),
        frozenset(str(address) for group in groups for address in group.peers),
    )
    return _with_sysctls(wanted, kernel.wanted_sysctls(groups, before))


def _with_sysctls(record: Record, wanted: Mapping[str, str]) -> Record:
    """And the values that sysctls have before ours."""
    sysctls = {path: (kernel.read_sysctl(path), value) for path, value in wanted.items()}
    return dataclasses.replace(record, sysctls=sysctls)


async def cleanup(run_dir: Path) -> Record:
    """Undoes what the record in `run_dir` tells of (a killed node's, too), and what else bears our marks and
    belongs to no living daemon: somebody may have removed the record. Says what there was. Raises
    KernelError or RulesError; the record then stays, and it can be tried again. It is refused (TakenError)
    while a daemon with another run directory serves what the record tells of."""
    path = run_dir / RECORD
    record = Record.load(path).joined(await leftovers.found())
    owner = await _in_thread(Owner)
    try:
        await _in_thread(_claim, owner, (), record.services)
        await _undo(record, owner)
        path.unlink(missing_ok=True)
        return record
    finally:
        await _in_thread(owner.close)


async def _undo(record: Record, owner: Owner) -> None:
    """Routes, addresses, connections, sysctls, rules: closed until the end. A sysctl that somebody else has
    changed since, or whose interface is gone, is left alone."""
    await _in_kernel(_undo_routes, record)
    await kernel.end_connections(map(ip_address, sorted(record.services)))
    for path, (before, ours) in record.sysctls.items():
        if kernel.read_sysctl(path) == ours != before:
            kernel.write_sysctl(path, before)
    for name, version in sorted(record.rules):
        await remove_rules(name, version)
    if record.nft:
        await _in_thread(owner.remove, sorted(record.nft))


def _undo_routes(socket: Netlink, record: Record) -> None:
    """And addresses."""
    for table in sorted(record.tables):
        routing.remove_routes(socket, table)
    peers = routing.rules_to(map(ip_address, record.peers))
    routing.remove_rules(socket, peers & routing.our_rules(socket))
    for address in sorted(record.addresses):
        kernel.remove_address(socket, ip_address(address))
