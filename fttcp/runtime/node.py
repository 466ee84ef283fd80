"""The composition root: builds a node from its configuration, runs it, and takes it down again.

Start: rules (closed), addresses, then per group the engine, the server, the machine. Stop: roles are
handed over, servers ended, engines closed, and the network put back as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import importlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from fttcp.address.announce import announcement
from fttcp.address.carrier import CarrierMonitor
from fttcp.address.interface import hardware_address
from fttcp.arbiter.none import NoArbiter
from fttcp.core import events as ev
from fttcp.core.model import NS_PER_MS, Settings
from fttcp.core.pair import PairMachine
from fttcp.datapath.base import Engine, EngineSettings, LinkAddress
from fttcp.datapath.network import NetworkSetup
from fttcp.datapath.rules import DEFAULT_MARK, GroupNet
from fttcp.health.process import OnChange, Supervisor
from fttcp.health.watch import Watcher, pid_in_file, pid_of_unit
from fttcp.runtime.config import QUEUE_OUT_OFFSET, Config, GroupSection
from fttcp.runtime.control import ControlServer
from fttcp.runtime.events import History
from fttcp.runtime.group import GroupRuntime, Server
from fttcp.wire import identity, keyfile

EngineFactory = Callable[[EngineSettings], Engine]

_ENGINES = {
    "nfqueue": "fttcp.datapath.nfqueue:NfqueueEngine",
    "programmable": "fttcp.datapath.programmable:ProgrammableEngine",
}
_HOUSEKEEPING_S = 5.0
_SWITCH_INTERVAL_S = 0.0005
_CLIENTS_KEPT_WARM = 4096


class NodeError(Exception):
    """The node cannot start; the sentence says what to do."""


def open_engine(kind: str) -> EngineFactory:
    """Return the engine of this name; its libraries are loaded only now. Raises NodeError."""
    module, _, name = _ENGINES[kind].partition(":")
    try:
        factory: EngineFactory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise NodeError(
            f"engine {kind!r} cannot be loaded: {error} (is it built? run: make build)"
        ) from error
    return factory


def core_settings(config: Config, group: GroupSection) -> Settings:
    """Return what the role machine of a group needs to know."""
    timing = group.timing
    return Settings(
        group=group.name,
        name=config.node.name,
        peer_name=config.peer.name,
        priority=group.priority,
        lease_ns=timing.lease_ms * NS_PER_MS,
        drift_ppm=timing.drift_ppm,
        startup_wait_ns=timing.startup_ms * NS_PER_MS,
    )


def engine_settings(config: Config, group: GroupSection, key: bytes) -> EngineSettings:
    """Return what the engine of a group needs to know."""
    node, timing, limits = config.node, group.timing, group.limits
    return EngineSettings(
        key=key,
        cluster_id=identity.cluster_id(node.cluster, group.name),
        node_id=identity.node_id(node.name),
        peer_node_id=identity.node_id(config.peer.name),
        boot_id=secrets.randbits(64) or 1,
        links=tuple(LinkAddress(link.interface, link.local, link.remote) for link in config.link),
        service_interface=node.service_interface,
        peer_interface=node.peer_interface,
        service_addresses=tuple(group.addresses),
        ports=group.port_list,
        channel_port=group.channel_port,
        queue_in=group.queue,
        queue_out=group.queue + QUEUE_OUT_OFFSET,
        workers=group.workers,
        mark=DEFAULT_MARK,
        beat_interval_ns=timing.heartbeat_ms * NS_PER_MS,
        lease_ns=timing.lease_ms * NS_PER_MS,
        drift_ppm=timing.drift_ppm,
        rt_priority=timing.rt_priority,
        detach_after_ns=timing.detach_after_ms * NS_PER_MS,
        end_grace_ns=timing.end_grace_ms * NS_PER_MS,
        open_timeout_ns=timing.open_timeout_ms * NS_PER_MS,
        idle_timeout_ns=timing.idle_timeout_s * 1000 * NS_PER_MS,
        udp_idle_timeout_ns=timing.udp_idle_timeout_s * 1000 * NS_PER_MS,
        max_flows=limits.max_flows,
        max_half_open=limits.max_half_open,
        max_held=limits.max_held,
        max_held_total=limits.max_held_total,
        max_udp_bytes=limits.max_udp_bytes,
        max_retained=limits.max_retained_bytes,
        queue_maxlen=limits.queue_maxlen,
        compare=group.compare,
        detach_divergent=group.divergence == "detach",
        service_iss=group.experiment.service_iss,
        service_ts=group.experiment.service_ts,
        callback=group.experiment.callback,
    )


def group_net(config: Config, group: GroupSection) -> GroupNet:
    """Return what the rules and routes of a group need to know."""
    link = config.link[0]
    remote = ip_address(link.remote)
    v6 = link.remote_v6 or (link.remote if isinstance(remote, IPv6Address) else None)
    return GroupNet(
        name=group.name,
        addresses=group.ip_addresses,
        ports=group.port_list,
        service_interface=config.node.service_interface,
        peer_interface=config.node.peer_interface,
        mirror_gateway4=remote if isinstance(remote, IPv4Address) else None,
        mirror_gateway6=IPv6Address(v6) if v6 is not None else None,
        queue_in=group.queue,
        queue_out=group.queue + QUEUE_OUT_OFFSET,
        workers=group.workers,
        mark=DEFAULT_MARK,
    )


class Node:
    """One daemon."""

    def __init__(self, config: Config, engine_factory: EngineFactory | None = None) -> None:
        """``engine_factory`` replaces the configured engines, for tests."""
        self._config = config
        self._factory = engine_factory
        self._history = History(config.node.name, config.node.log_level)
        self._network = NetworkSetup([group_net(config, group) for group in config.group], config.run_dir)
        self._groups: dict[str, GroupRuntime] = {}
        self._control = ControlServer(config.node.name, self._groups, self._history)
        self._carrier = CarrierMonitor(config.node.service_interface, self._carrier_changed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._frames: dict[str, tuple[bytes, ...]] = {}

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises WireError, KernelError, RulesError, EngineError, OSError
        if the node cannot start; then everything that was changed has been put back."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._config.run_dir.mkdir(parents=True, exist_ok=True)
        with _only_one(self._config.run_dir):
            try:
                await self._start()
                await stop.wait()
                self._history.add("stopping")
                await self._hand_over()
            finally:
                await self._take_down()

    # ------------------------------------------------------------------ up

    async def _start(self) -> None:
        key = keyfile.load(Path(self._config.node.key_file))
        await self._network.apply()
        for section in self._config.group:
            # what a killed server left in the kernel must not speak when this node owns the service again
            await self._network.end_connections(section.name)
            await self._prepare(section, key)
        await self._control.start(self._config.socket_path)
        carrier = self._carrier.start()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        for name, group in self._groups.items():
            assert group.server is not None
            group.server.start()
            group.start(self._frames[name])
            group.feed(ev.CarrierChanged(carrier))
        gc.collect()
        gc.freeze()
        self._spawn(self._keep_house())
        self._history.add("started", pid=os.getpid(), carrier=carrier)

    async def _prepare(self, section: GroupSection, key: bytes) -> None:
        """Open a group's engine and make its parts; nothing runs yet."""
        factory = self._factory or open_engine(section.engine)
        engine = factory(engine_settings(self._config, section, key))
        settings = core_settings(self._config, section)
        machine = PairMachine(settings, NoArbiter(settings.settle_ns), time.monotonic_ns())
        name = section.name
        group = GroupRuntime(machine, engine, self._history, lambda backup: self._shape_routes(name, backup))
        self._groups[name] = group
        group.server = self._make_server(section, group.server_changed)
        self._frames[name] = await self._announcement(section)

    def _make_server(self, section: GroupSection, on_change: OnChange) -> Server:
        hang_ms = section.timing.hang_after_ms
        if section.all_commands:
            return Supervisor(
                section.name,
                section.all_commands,
                section.port_list,
                hang_ms,
                self._config.run_dir,
                on_change,
            )
        find = pid_of_unit(section.unit) if section.unit else pid_in_file(Path(section.pid_file or ""))
        return Watcher(find, section.port_list, hang_ms, on_change)

    # ------------------------------------------------------------------ down

    async def _hand_over(self) -> None:
        """Give every role up; the peer takes over what it can."""
        for group in self._groups.values():
            group.stop()
        await asyncio.gather(*(group.finished.wait() for group in self._groups.values()))
        # The last word travels in a heartbeat; nothing tells when it has left but the next beat's time.
        await asyncio.sleep(max(section.timing.heartbeat_ms for section in self._config.group) / 1000)

    async def _take_down(self) -> None:
        """Undo the start, in reverse, as far as it came."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._carrier.close()
        await self._control.close()
        servers = [group.server.stop() for group in self._groups.values() if group.server is not None]
        await asyncio.gather(*servers)
        for group in self._groups.values():
            group.close()
        await self._network.remove()
        self._history.add("stopped")

    # ------------------------------------------------------------------ while running

    def _carrier_changed(self, up: bool) -> None:
        for group in self._groups.values():
            group.feed(ev.CarrierChanged(up))
        self._history.add("carrier", "info" if up else "warning", up=up)
        if up:
            self._spawn(self._look_after_network())
        else:
            for name in self._groups:
                self._spawn(self._network.drop_unresolved(name))

    def _shape_routes(self, group: str, backup: bool) -> None:
        self._spawn(self._network.set_role_metrics(group, backup))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the loop's main work; a failure is logged, the node goes on."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._history.add("background-failed", "error", why=f"{type(error).__name__}: {error}")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            await self._guard(self._look_after_network())

    async def _look_after_network(self) -> None:
        """Keep neighbours known, announcements up to date, and the rules in place."""
        for section in self._config.group:
            group = self._groups[section.name]
            clients = {ip_address(flow["client"]) for flow in group.connections(_CLIENTS_KEPT_WARM)}
            await self._network.keep_warm(section.name, clients)
            await self._refresh_announcement(section)
            missing = await self._network.missing_rules(section.name)
            if missing:
                self._history.add("rules-missing", "error", section.name, missing=missing)
                await self._network.apply()

    async def _refresh_announcement(self, section: GroupSection) -> None:
        """Give the engine new frames if the neighbours have changed."""
        frames = await self._announcement(section)
        group = self._groups[section.name]
        if frames != self._frames[section.name] and not group.finished.is_set():
            self._frames[section.name] = frames
            group.engine.set_announcement(frames)

    async def _announcement(self, section: GroupSection) -> tuple[bytes, ...]:
        """Return the frames that tell every neighbour known now; made in a thread."""
        mac = hardware_address(self._config.node.service_interface)
        neighbours = await self._network.known_neighbours(section.name)
        return tuple(await asyncio.to_thread(announcement, mac, section.ip_addresses, neighbours))


@contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock and pid file. Raises NodeError if another daemon has them."""
    path = run_dir / "fttcp.pid"
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="ascii"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read(20).strip()
            raise NodeError(
                f"{run_dir}: another fttcp node runs here (pid {pid}): stop it, or use another run_dir"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
