"""The composition root: builds a node from its configuration, runs it, and takes it down again.

Start: rules (closed), addresses, then per group the engine, the server, the machine. Stop: roles are
handed over, servers ended, engines closed, and the network put back as it was.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from fttcp.arbiter import open_arbiter
from fttcp.arbiter.base import ArbiterClient, ArbiterError
from fttcp.config import Config, ConfigError, GroupSection, load_to_run
from fttcp.face.control import RequestError
from fttcp.face.frontend import Frontend
from fttcp.group import calls, lockstep
from fttcp.group.common import Common
from fttcp.group.epochs import EpochFile
from fttcp.group.group import GroupRuntime
from fttcp.group.recording import Recorder
from fttcp.group.secrets import Secrets
from fttcp.group.servers import make_caretaker
from fttcp.network.kernel import KernelError
from fttcp.network.network import NetworkSetup
from fttcp.network.rules import GroupNet, RulesError
from fttcp.node.adapters import AdapterKeeper
from fttcp.node.arbiters import arbiter_settings, change_keys
from fttcp.node.assembly import (
    EngineFactory,
    NodeError,
    core_settings,
    engine_settings,
    group_net,
    liveness_settings,
    make_clocks,
    open_engine,
)
from fttcp.node.housekeeping import Housekeeper
from fttcp.node.maintenance import MaintenanceFile
from fttcp.node.members import MembersKeeper
from fttcp.node.ownfiles import OwnFiles, own_files
from fttcp.node.reload import Plan, compare
from fttcp.node.room import Room
from fttcp.node.roster import Roster
from fttcp.node.rundir import BusyError, Lock, only_one
from fttcp.ownership import events as ev
from fttcp.ownership.pair import PairMachine
from fttcp.planes.error import EngineError
from fttcp.planes.liveness import Liveness
from fttcp.planes.mirror import MirrorProbe
from fttcp.report.notify import NotifyError
from fttcp.report.reporting import Reporting
from fttcp.wire import clock
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing

_SWITCH_INTERVAL_S = 0.0005

START_ERRORS = (
    EngineError,
    KernelError,
    RulesError,
    WireError,
    NotifyError,
    NodeError,
    ArbiterError,
    OSError,
)
"""What keeps a node or a group from starting; the text is for people."""


class Node:
    """One daemon."""

    def __init__(
        self, config: Config, file: Path, reporting: Reporting, engine_factory: EngineFactory | None = None
    ) -> None:
        """``file``: what ``config`` was read from, for a reload; ``engine_factory`` replaces the configured
        engines, for tests."""
        self._config, self._file = config, file
        self._factory = engine_factory
        self._history = reporting.history
        self._network = NetworkSetup([group_net(config, group) for group in config.group], config.run_dir)
        self._groups: dict[str, GroupRuntime] = {}
        self._secrets = Secrets(KeyRing(()))
        self._tasks: set[asyncio.Task[bool]] = set()
        self._arbiter: ArbiterClient | None = None
        self._liveness: Liveness | None = None
        self._maintenance = MaintenanceFile(Path(config.node.state_dir))
        self._changing = asyncio.Lock()
        """Held while groups come and go."""
        self._room = Room(lambda: self._config, self._groups)
        self._roster = Roster(config, self._groups)
        self._members = MembersKeeper(config, self._groups, self._history)
        self._house = Housekeeper(
            lambda: self._config,
            lambda: self._secrets,
            self._network,
            self._groups,
            self._history,
            self._changing,
            self._feed_ground,
        )
        self._adapters = AdapterKeeper(
            *(config, self._network, self._groups, self._history, self._spawn),
            self._house.look_after_network,
        )
        self._frontend = Frontend(config, self._groups, reporting, self.reload, self._adapters)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; SIGHUP reloads. Raises one of START_ERRORS if the node cannot start;
        then everything that was changed has been put back."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_unasked()))
        self._config.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            with only_one(self._config.run_dir) as lock:
                await self._run_until(stop, lock)
        except BusyError as error:
            raise NodeError(f"{error}: stop it, or use another run_dir") from error

    async def _run_until(self, stop: asyncio.Event, lock: Lock) -> None:
        files: OwnFiles | None = None
        try:
            async with self._changing:
                await self._start()
            own = own_files(lock, self._config.socket_path, self._frontend, self._network, self._groups)
            files = OwnFiles(self._config.run_dir, own, self._history)
            self._spawn(files.keep())
            self._frontend.ready()
            await stop.wait()
            self._frontend.stopping()
            self._room.close()
            ending = {name: group.ending() for name, group in self._groups.items()}
            why = {name: _why_they_end(self._groups[name]) for name, number in ending.items() if number}
            told: dict[str, Any] = {"why": why} if why else {}
            self._history.add("stopping", "warning" if why else "info", ending=ending, **told)
            await self._hand_over()
        finally:
            await self._take_down()
            if files is not None:
                files.close()

    # ------------------------------------------------------------------ up

    async def _start(self) -> None:
        self._secrets = Secrets.read(self._config)
        self._common = Common()
        self._adapters.start()
        self._arbiter_settings = arbiter_settings(lambda: self._config, lambda: self._adapters.used)
        self._arbiter = await open_arbiter(self._arbiter_settings, self._arbiter_changed)
        self._members.load()
        await self._network.apply()  # first of all that this host has once: it tells of another daemon
        self._liveness = Liveness(liveness_settings(self._config, self._secrets.keys))
        self._house.clocks = self._frontend.clocks = make_clocks(
            lambda: self._config, self._liveness, self._history
        )
        await asyncio.to_thread(lockstep.remove_others, self._config)
        await asyncio.to_thread(calls.remove_left, self._config)
        for section in self._config.group:
            await self._prepare(section, self._secrets)
        await self._frontend.start()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._room.look()  # before any server starts
        for name in self._groups:
            await self._begin(name)
        self._adapters.ask_references()
        self._spawn(self._members.keep(self._arbiter))
        gc.collect()
        gc.freeze()
        self._spawn(self._house.keep())
        self._history.add("started", pid=os.getpid(), carrier=self._adapters.carrier)
        self._house.tell_firewall()
        self._house.tell_capacity()

    async def _prepare(self, section: GroupSection, secrets: Secrets) -> None:
        """Open a group's engine and make its parts; nothing runs yet."""
        # what a killed server left in the kernel must not speak when this node owns the service again
        await self._network.end_connections(section.name)
        factory = self._factory or open_engine(section.engine)
        name = section.name
        epochs = EpochFile(Path(self._config.node.state_dir), name)
        stored = await asyncio.to_thread(epochs.load)  # other groups may run already, here and below
        await asyncio.to_thread(lockstep.prepare, self._config, section, secrets.keys)
        config, members = self._roster.numbered(self._config), self._members.record
        wanted = engine_settings(config, section, secrets, self._adapters.used)
        settings = core_settings(config, section, secrets, stored, wanted.boot_id, members)
        assert self._arbiter is not None and self._liveness is not None
        engine = factory(wanted, self._liveness)  # last: nobody closes it before it is among the groups
        machine = PairMachine(settings, clock.now_ns())
        group = GroupRuntime(
            machine,
            engine,
            self._history,
            self._arbiter,
            lambda backup: self._shape_routes(name, backup),
            lambda peer: self._spawn(self._mirror_to(name, peer)),
            lambda count: self._maintenance.save(name, count),
            epochs.save,
            secrets.keys,
            self._adapters.used,
            MirrorProbe(group_net(self._config, section), wanted) if section.mode == "connection" else None,
            lambda: self._spawn(self._network.drop_unresolved(name)),
            self._common,
        )
        group.use(wanted, section.timing.detector == "phi")
        group.clocks = self._house.clocks
        self._groups[name] = group
        group.firewall = await self._network.standing(name)
        if section.history_dir is not None:
            group.recorder = Recorder(self._config.node.name, section, group.engine, group.note)
        group.server = make_caretaker(self._config, section, group)
        group.lockstep = lockstep.place(self._config, section)
        self._house.take_ground(name, await self._network.ground(name))

    async def _begin(self, name: str) -> None:
        """Start a group; one that has to read what is stored, once it has: others do not wait for that."""
        group = self._groups[name]
        if group.stored.read.is_set():
            await self._start_group(name)
        else:
            self._spawn(self._begin_late(group))

    async def _begin_late(self, group: GroupRuntime) -> None:
        await group.stored.read.wait()
        async with self._changing:
            if self._groups.get(group.name) is not group or group.finished.is_set():
                return
            try:
                await self._start_group(group.name)
                section = next(one for one in self._config.group if one.name == group.name)
                self._configure(group, self._config, section, self._secrets)  # it may have changed meanwhile
            except START_ERRORS as error:
                group.fail(str(error))

    async def _start_group(self, name: str) -> None:
        group = self._groups[name]
        assert group.server is not None
        pauses = await asyncio.to_thread(self._maintenance.load, name)
        rests = group.machine.settings.cold or (bool(group.serving.shed) and group.server.ours)
        if not rests:
            group.server.start()
        group.start(self._roster.named, *self._members.news)
        if rests:  # how its server is, is known at once
            group.serving.rest()
            group.server.start()
        group.on_news = self._room.news
        self._spawn(self._house.know_neighbours(name))
        group.feed(ev.MaintenanceChanged(pauses))
        self._adapters.greet(group)
        self._members.greet(group)
        self._feed_ground(name)

    # ------------------------------------------------------------------ down

    async def _hand_over(self) -> None:
        """Give every role up; the peer takes over what it can."""
        await asyncio.gather(*(self._stop(group) for group in self._groups.values()))
        await self._last_word()

    async def _stop(self, group: GroupRuntime) -> None:
        group.stop()
        await group.finished.wait()

    async def _last_word(self) -> None:
        """It travels in a heartbeat; nothing tells when it has left but the next beat's time."""
        await asyncio.sleep(max(section.timing.heartbeat_ms for section in self._config.group) / 1000)

    async def _take_down(self) -> None:
        """Undo the start, in reverse, as far as it came. What fails keeps nothing else from being undone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        groups = list(self._groups.values())
        async with AsyncExitStack() as down:  # the last that is named goes first
            down.push_async_callback(self._network.remove)
            if self._arbiter is not None:
                down.push_async_callback(self._arbiter.close)
            if self._liveness is not None:
                down.callback(self._liveness.close)
            for group in groups:
                down.callback(group.close)
            down.push_async_callback(self._stop_servers, groups)
            down.push_async_callback(self._frontend.close)
            down.push_async_callback(self._adapters.close)
            down.callback(self._room.close)
        self._history.add("stopped")

    @staticmethod
    async def _stop_servers(groups: list[GroupRuntime]) -> None:
        servers = [group.server.stop() for group in groups if group.server is not None]
        ended = await asyncio.gather(*servers, return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error

    # ------------------------------------------------------------------ reload

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again and change what it changes. Raises RequestError with the reasons if
        that cannot be done; then everything is as before."""
        async with self._changing:
            self._frontend.reloading()
            try:
                done = await self._reload()
            except RequestError as refusal:
                self._history.add("reload-refused", "warning", why=str(refusal), **refusal.details)
                raise
            finally:
                self._frontend.ready()
        self._history.add("reloaded", **done)
        self._house.tell_capacity()
        return done

    async def _reload_unasked(self) -> None:
        """On SIGHUP; a refusal is in the history."""
        with suppress(RequestError):
            await self.reload()

    async def _reload(self) -> dict[str, Any]:
        try:
            config = await asyncio.to_thread(load_to_run, self._file)
            secrets = await asyncio.to_thread(Secrets.read, config)
        except ConfigError as error:
            why = "the configuration is wrong"
            raise RequestError(why, "wrong-configuration", errors=error.errors) from error
        except WireError as error:
            raise RequestError(f"{error}; nothing was changed", "impossible") from error
        plan = compare(self._config, config)
        if plan.restart:
            raise RequestError(
                "these changes need a restart of the daemon: nothing was changed",
                "needs-restart",
                restart=[f"{change}; {change.advice}" for change in plan.restart],
            )
        if plan.peers and (objection := self._roster.objection(config, self._arbiter)):
            raise RequestError(f"{objection}; nothing was changed", "impossible")
        try:
            await self._arrange(config, secrets, plan)
        except START_ERRORS as error:
            await self._undo(plan)
            why = f"it cannot be done: {error}; everything is as before"
            raise RequestError(why, "impossible") from error
        before, self._config, self._secrets = self._secrets.keys, config, secrets
        self._room.forget()
        self._members.name(config)
        changed = (str(change) for change in plan.live)
        return {
            "changed": [*plan.peers, *changed, *self._change_keys(before)],
            "added": list(plan.added),
            "removed": list(plan.removed),
        }

    def _arbiter_changed(self, reachable: bool, note: str) -> None:
        """The arbiter began or ceased to answer; the roles stay as they are."""
        kind = "arbiter-up" if reachable else "arbiter-lost"
        self._history.add(kind, "info" if reachable else "warning", note=note)

    def _change_keys(self, before: KeyRing) -> list[str]:
        """Give all engines the keys that are in use now; return a line for people if they are others."""
        keys = self._secrets.keys
        if keys == before:
            return []
        assert self._liveness is not None
        self._liveness.set_keys(keys)
        for group in self._groups.values():
            group.set_keys(keys)
        lockstep.change_keys(self._config, keys)
        change_keys(self._arbiter_settings, self._secrets.witness)
        return [f"keys: {before} -> {keys}"]

    async def _undo(self, plan: Plan) -> None:
        """Be as the configuration in use says, from what is in hand; what was added goes first."""
        for name in filter(self._groups.__contains__, plan.added):
            await self._leave(name)
        await self._arrange(self._config, self._secrets, Plan((), (), (), plan.added, plan.peers))

    async def _arrange(self, config: Config, secrets: Secrets, plan: Plan) -> None:
        """Make the node what the configuration says; new groups first, since they may fail."""
        await self._frontend.change(config)
        if plan.peers:
            assert self._liveness is not None
            self._roster.adopt(config, self._liveness, self._house.clocks)
            await self._network.change([self._net(config, section) for section in self._config.group])
        if plan.added:
            joined = [*config.group, *(old for old in self._config.group if old.name in plan.removed)]
            await self._network.change([self._net(config, section) for section in joined])
            for section in config.group:
                if section.name in plan.added:
                    await self._join(config, section, secrets)
        for section in config.group:
            group = self._groups.get(section.name)
            if group is not None:
                self._configure(group, config, section, secrets)
        for name in plan.removed:
            if name in self._groups:
                await self._leave(name)
        if plan.removed:
            await self._network.change([self._net(config, section) for section in config.group])
            await asyncio.to_thread(lockstep.remove_others, config)

    @staticmethod
    def _configure(group: GroupRuntime, config: Config, section: GroupSection, secrets: Secrets) -> None:
        """Let a group that stays use its section's settings, those that ``reload.LIVE`` lists."""
        core, engine = core_settings(config, section, secrets), engine_settings(config, section, secrets)
        group.configure(core, engine, learning=section.timing.detector == "phi")
        if group.server is not None:
            hang_after_ms = section.timing.hang_after_ms
            group.server.configure(section.health, section.restart, section.hooks, hang_after_ms)

    async def _join(self, config: Config, section: GroupSection, secrets: Secrets) -> None:
        try:
            await self._prepare(section, secrets)
            self._room.look(config)
            await self._begin(section.name)
        except START_ERRORS:
            await self._discard(section.name)
            raise

    async def _leave(self, name: str) -> None:
        """Give the role of a group up, and close everything of it."""
        group = self._groups[name]
        await self._stop(group)
        await self._last_word()
        await self._discard(name)

    async def _discard(self, name: str) -> None:
        group = self._groups.pop(name, None)
        if group is not None:
            try:
                if group.server is not None:
                    await group.server.stop()
            finally:
                group.close()

    # ------------------------------------------------------------------ while running

    def _feed_ground(self, name: str) -> None:
        group = self._groups[name]
        if group.ground is not None:
            group.feed(ev.GroundChanged(group.ground.serving))

    def _shape_routes(self, group: str, backup: bool) -> None:
        if group in self._groups:
            self._spawn(self._network.set_role_metrics(group, backup))

    def _net(self, config: Config, section: GroupSection) -> GroupNet:
        """Return the network side of a group, with the mirror to its present partner."""
        group = self._groups.get(section.name)
        return group_net(config, section, self._roster[group.machine.mirrored] if group is not None else None)

    async def _mirror_to(self, name: str, peer: int) -> None:
        """Lead a group's mirror to another peer; one of several moves that overlap comes last."""
        group = self._groups.get(name)
        section = next((one for one in self._config.group if one.name == name), None)
        if group is not None and section is not None and group.machine.mirrored == peer:
            await self._network.mirror_to(group_net(self._config, section, self._roster[peer]))
            group.note("mirror", peer=self._roster[peer].name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the loop's main work; a failure is logged, the node goes on."""
        task = asyncio.get_running_loop().create_task(self._house.guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _why_they_end(group: GroupRuntime) -> str:
    """Why connections do not outlive this primary's end."""
    if group.machine.paused:
        return "maintenance: nobody takes over"
    if not group.machine.in_step:
        return "no backup is in step"
    return "the backup does not hold them, or its server has said something else"


def run(config: Config, file: Path, engine_factory: EngineFactory | None = None) -> None:
    """Run a node, with its events, until it is told to end; see ``Node``. Raises one of START_ERRORS."""
    reporting = Reporting(config.node)
    try:
        asyncio.run(Node(config, file, reporting, engine_factory).run())
    finally:
        reporting.close()
