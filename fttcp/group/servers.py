"""Makes what looks after a group's server, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from fttcp.config import Config, GroupSection
from fttcp.group import calls, lockstep
from fttcp.group.checkpoints import Checkpoints
from fttcp.group.group import GroupRuntime
from fttcp.group.readiness import Hinders, Reason
from fttcp.group.worker_death import WorkerDeath
from fttcp.server.agents.agent import agent_of
from fttcp.server.agents.resources import Resources
from fttcp.server.hooks import Hooks
from fttcp.server.monitor import Health
from fttcp.server.process import Supervisor
from fttcp.server.sampler import Place
from fttcp.server.server import Caretaker, Server
from fttcp.server.watch import Watcher, pid_in_file, pid_of_unit


def make_caretaker(config: Config, section: GroupSection, group: GroupRuntime) -> Caretaker:
    """Return what looks after a group's server or resources; nothing runs yet. Raises OSError without
    sock_diag."""
    environment = {
        "FTTCP_NODE": config.node.name,
        "FTTCP_GROUP": section.name,
        "FTTCP_ADDRESSES": " ".join(section.addresses),
        "FTTCP_PORTS": " ".join(section.ports),
    }
    hooks = Hooks(section.hooks, environment, group.note)
    if section.mode == "address":
        return Resources(
            [agent_of(one, environment) for one in section.resource],
            section.restart,
            hooks,
            group.serving.changed,
            group.note,
            group.serving.known,
            group.serving.stuck,
            lambda: [peer.name for peer in group.machine.view.peers if not peer.alive],
        )
    return _health(config, section, group, hooks)


def _health(config: Config, section: GroupSection, group: GroupRuntime, hooks: Hooks) -> Health:
    """Return the health of a server that is run, or watched."""
    if section.standby == "warm":
        grace_s = section.timing.open_timeout_ms / 1000
        group.checkpoints = Checkpoints(group, hooks, grace_s)
    server: Server
    if section.all_commands:
        file, log = lockstep.place(config, section), calls.place(config, section)
        if log is not None:
            group.calls.use(log)
        server = Supervisor(
            section.name,
            section.all_commands,
            section.restart,
            config.run_dir,
            hooks,
            group.note,
            {} if file is None else lockstep.environment(file),
            partial(_before_start, group),
            () if log is None else calls.THROUGH,
        )
    else:
        find = pid_of_unit(section.unit) if section.unit else pid_in_file(Path(section.pid_file or ""))
        server = Watcher(find, section.restart.watched_command, group.note)
    return Health(
        server,
        section.health,
        section.port_list,
        section.addresses[0],
        section.timing.hang_after_ms,
        hooks,
        group.serving.changed,
        group.note,
        group.serving.known,
        WorkerDeath(group).crashed,
        lambda ports: group.readiness.hold("bound", _bound(ports), told=False),
        [str(address) for address in section.ip_addresses],
        lambda places: group.readiness.hold("unheard", _unheard(places)),
        section.restart.start_within_s,
        group.serving.stuck,
        group.serving.doubted,
        group.common.rounds,
        lambda: group.calls.follows,
        group.calls.listens,
    )


async def _before_start(group: GroupRuntime) -> Mapping[str, str]:
    """A server is about to start: what is to be kept of it begins anew. Raises LaunchError."""
    if group.recorder is not None:
        await group.recorder.before_start()
    return await group.calls.begin()


def _bound(ports: Sequence[str]) -> list[Reason]:
    """Mirrored packets come in on the peer interface and on lo, where the kernel knows no such connection."""
    if not ports:
        return []
    what = "the server takes packets from one interface only, so no connection is protected"
    what += f": {', '.join(ports)}"
    return [Reason("server-bound", what, "have it bind to the service address (no SO_BINDTODEVICE, no VRF)")]


def _unheard(places: Sequence[Place]) -> list[Reason]:
    if not places:
        return []
    what = f"clients are refused where nobody listens: {'; '.join(map(str, places))}"
    todo = "have the server listen there (for IPv4 and IPv6), or take the address out of the group"
    return [Reason("not-listening", what, todo, Hinders.SERVICE)]
