"""What a changed configuration means for a running node: what can change now, and what needs a restart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import msgspec

from fttcp.config import Config

LIVE = (
    "node.log_level",
    "node.history_kib",
    "node.clocks_apart_ms",
    "node.follow_clock",
    "node.notify",
    "node.http",
    "node.capacity",
    "peer.*.capacity",
    "group.*.priority",
    "group.*.prefer",
    "group.*.importance",
    "group.*.units",
    "group.*.divergence",
    "group.*.unverified",
    "group.*.order",
    "group.*.timing.detach_after_ms",
    "group.*.timing.output_lag_ms",
    "group.*.timing.end_grace_ms",
    "group.*.timing.open_timeout_ms",
    "group.*.timing.opens_wait_ms",
    "group.*.timing.idle_timeout_s",
    "group.*.timing.udp_idle_timeout_s",
    "group.*.timing.startup_wait_ms",
    "group.*.timing.handover_wait_ms",
    "group.*.timing.hang_after_ms",
    "group.*.timing.announce_refresh_s",
    "group.*.timing.detector",
    "group.*.limits.max_half_open",
    "group.*.limits.max_held",
    "group.*.limits.max_held_total",
    "group.*.limits.max_udp_bytes",
    "group.*.limits.max_retained_bytes",
    "group.*.limits.renew_flow_bytes",
    "group.*.limits.renew_bytes",
    "group.*.limits.renew_spool_bytes",
    "group.*.limits.history_bytes",
    "group.*.health",
    "group.*.restart",
    "group.*.hooks",
    "group.*.md5",
    "sync",
    "spread",
)
"""Keys, and tables with all their keys, that change while the node runs; ``*`` is any group's name.
Whole groups and other nodes come and go as well. All else needs a restart of the daemon."""

_ALL_NODES = "all nodes must have the same: change every file, then restart every daemon, the primary's last"
_RESTART = "restart the daemon, the backup's first; then `fttcp switchover` and the other one"
_HINTS = (
    ("node.cluster", _ALL_NODES),
    ("node.heartbeat_port", _ALL_NODES),
    ("group.*.stored_replies", _ALL_NODES),
    ("group.*.timing.heartbeat_ms", _ALL_NODES),
    ("group.*.timing.heartbeat_misses", _ALL_NODES),
    ("group.*.timing.drift_ppm", _ALL_NODES),
    ("group.*.channel_port", _ALL_NODES),
    ("group.*.addresses", _ALL_NODES),
    ("group.*.ports", _ALL_NODES),
    ("group.*.mac", _ALL_NODES),
    ("group.*.mode", _ALL_NODES),
    ("group.*.opens", _ALL_NODES),
    ("group.*.opens_bind", _ALL_NODES),
    ("group.*.state", _ALL_NODES),
    ("group.*.workers", _ALL_NODES),
    ("group.*.lockstep", _ALL_NODES),
    ("group.*.standby", _ALL_NODES),
    ("group.*.renew", _ALL_NODES),
    ("arbiter", _ALL_NODES),
    ("node.name", "this would be another node: stop the daemon, clean up, start it under the new name"),
    ("node.run_dir", "stop the daemon before the file changes, else its commands do not find it"),
)
"""What to do about a key that needs a restart; for all others ``_RESTART``."""


def changes_live(section: str, key: str) -> bool:
    """Tell whether a key of a section (`group.timing`) can change while the node runs."""
    path = re.sub(r"^(group|peer)\.", r"\1.*.", f"{section}.{key}.")
    return any(path.startswith(f"{one}.") for one in LIVE)


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value is another now; None where it is not set."""

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(self.path).replace(".[", "[")

    @property
    def live(self) -> bool:
        """True if it can change while the node runs."""
        return any(self._below(pattern) for pattern in LIVE)

    @property
    def advice(self) -> str:
        """What an operator is to do for it to take effect, if it needs a restart."""
        return next((hint for pattern, hint in _HINTS if self._below(pattern)), _RESTART)

    def _below(self, pattern: str) -> bool:
        words = pattern.split(".")
        same = all(want in ("*", part) for want, part in zip(words, self.path, strict=False))
        return len(words) <= len(self.path) and same

    def __str__(self) -> str:
        """Return a line for people, with values as the file has them."""
        if isinstance(self.before, dict) or isinstance(self.after, dict):  # an entry of a list of tables
            return f"{self.key}: {'removed' if self.after is None else 'added'}"
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between two configurations."""

    live: tuple[Change, ...]
    restart: tuple[Change, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    peers: tuple[str, ...] = ()
    """What happens to other nodes, for people."""

    @property
    def empty(self) -> bool:
        """True if there is nothing to do."""
        return not (self.live or self.restart or self.added or self.removed or self.peers)


def compare(before: Config, after: Config) -> Plan:
    """Return what has changed; the keys of a group are ``group.NAME.key``, of a peer ``peer.NAME.key``."""
    old_groups = {group.name for group in before.group}
    new_groups = {group.name for group in after.group}
    kept = old_groups & new_groups
    old_peers, new_peers = ({peer.name for peer in config.peer} for config in (before, after))
    old, new = (_tree(config, kept, old_peers & new_peers) for config in (before, after))
    changes = sorted(_differences(old, new, ()), key=lambda one: one.path)
    return Plan(
        live=tuple(change for change in changes if change.live),
        restart=tuple(change for change in changes if not change.live),
        added=tuple(group.name for group in after.group if group.name not in old_groups),
        removed=tuple(group.name for group in before.group if group.name not in new_groups),
        peers=(
            *(f"peer.{name}: added" for name in sorted(new_peers - old_peers)),
            *(f"peer.{name}: removed" for name in sorted(old_peers - new_peers)),
        ),
    )


def _tree(config: Config, groups: set[str], peers: set[str]) -> dict[str, Any]:
    raw: dict[str, Any] = msgspec.to_builtins(config)
    for table, kept in (("group", groups), ("peer", peers)):
        raw[table] = {entry["name"]: entry for entry in raw[table] if entry["name"] in kept}
    return raw


def _differences(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[Change]:
    """Yield what differs, at the lowest place that has a name of its own; entries of lists of tables are
    counted."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            yield from _differences(before.get(key), after.get(key), (*path, key))
    elif _tables(before) and _tables(after):
        for i, (one, other) in enumerate(zip_longest(before, after)):
            yield from _differences(one, other, (*path, f"[{i}]"))
    elif before != after:
        yield from _whole(before, after, path)


def _whole(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[Change]:
    """Yield the keys of a table that comes or goes; an entry of a list is one thing."""
    table = after if before is None else before
    if (before is None or after is None) and isinstance(table, dict) and not path[-1].startswith("["):
        for key, value in table.items():
            old, new = (None, value) if before is None else (value, None)
            yield from _differences(old, new, (*path, key))
    else:
        yield Change(path, before, after)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _shown(value: Any) -> str:
    """Return a value as the file has it."""
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_shown, value))}]"
    return str(value)
