"""Makes what looks after a group's server, from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fttcp.health.hooks import Hooks
from fttcp.health.monitor import Health
from fttcp.health.process import Supervisor
from fttcp.health.server import Server
from fttcp.health.verdict import Note, OnChange
from fttcp.health.watch import Watcher, pid_in_file, pid_of_unit
from fttcp.runtime.config import Config, GroupSection


def make_health(
    config: Config,
    section: GroupSection,
    on_change: OnChange,
    note: Note,
    on_known: Callable[[int, bool], None],
) -> Health:
    """Return the health of a group's server; nothing runs yet. Raises OSError without sock_diag."""
    environment = {
        "FTTCP_NODE": config.node.name,
        "FTTCP_GROUP": section.name,
        "FTTCP_ADDRESSES": " ".join(section.addresses),
        "FTTCP_PORTS": " ".join(section.ports),
    }
    hooks = Hooks(section.hooks, environment, note)
    server: Server
    if section.all_commands:
        server = Supervisor(section.name, section.all_commands, section.restart, config.run_dir, hooks)
    else:
        find = pid_of_unit(section.unit) if section.unit else pid_in_file(Path(section.pid_file or ""))
        server = Watcher(find, section.restart.watched_command, note)
    return Health(
        server,
        section.health,
        section.port_list,
        section.addresses[0],
        section.timing.hang_after_ms,
        hooks,
        on_change,
        note,
        on_known,
    )
