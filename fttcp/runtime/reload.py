"""What a changed configuration means for a running node: what can change now, and what needs a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from fttcp.runtime.config import Config

LIVE = (
    "node.log_level",
    "node.history_kib",
    "node.notify",
    "node.http",
    "group.*.priority",
    "group.*.divergence",
    "group.*.unverified",
    "group.*.order",
    "group.*.timing.detach_after_ms",
    "group.*.timing.end_grace_ms",
    "group.*.timing.open_timeout_ms",
    "group.*.timing.idle_timeout_s",
    "group.*.timing.udp_idle_timeout_s",
    "group.*.timing.startup_wait_ms",
    "group.*.timing.hang_after_ms",
    "group.*.timing.detector",
    "group.*.limits.max_half_open",
    "group.*.limits.max_held",
    "group.*.limits.max_held_total",
    "group.*.limits.max_udp_bytes",
    "group.*.limits.max_retained_bytes",
    "group.*.health",
    "group.*.restart",
    "group.*.hooks",
)
"""Keys, and tables with all their keys, that change while the node runs; ``*`` is any group's name.
Whole groups come and go as well. All else needs a restart of the daemon."""

_ALL_NODES = "all nodes must have the same: change every file, then restart every daemon, the primary's last"
_RESTART = "restart the daemon, the backup's first; then `fttcp switchover` and the other one"
_HINTS = (
    ("node.cluster", _ALL_NODES),
    ("group.*.timing.heartbeat_ms", _ALL_NODES),
    ("group.*.timing.heartbeat_misses", _ALL_NODES),
    ("group.*.timing.drift_ppm", _ALL_NODES),
    ("group.*.channel_port", _ALL_NODES),
    ("group.*.addresses", _ALL_NODES),
    ("group.*.ports", _ALL_NODES),
    ("group.*.state", _ALL_NODES),
    ("arbiter", _ALL_NODES),
    ("node.name", "this would be another node: stop the daemon, clean up, start it under the new name"),
    ("node.run_dir", "stop the daemon before the file changes, else its commands do not find it"),
)
"""What to do about a key that needs a restart; for all others ``_RESTART``."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value is another now; None where it is not set."""

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)

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
        """Return a line for people."""
        return f"{self.key}: {self.before!r} -> {self.after!r}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between two configurations."""

    live: tuple[Change, ...]
    restart: tuple[Change, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """True if there is nothing to do."""
        return not (self.live or self.restart or self.added or self.removed)


def compare(before: Config, after: Config) -> Plan:
    """Return what has changed; the keys of a group are ``group.NAME.key``."""
    old_groups = {group.name for group in before.group}
    new_groups = {group.name for group in after.group}
    kept = old_groups & new_groups
    old, new = _flat(before, kept), _flat(after, kept)
    changes = [
        Change(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    return Plan(
        live=tuple(change for change in changes if change.live),
        restart=tuple(change for change in changes if not change.live),
        added=tuple(group.name for group in after.group if group.name not in old_groups),
        removed=tuple(group.name for group in before.group if group.name not in new_groups),
    )


def _flat(config: Config, kept: set[str]) -> dict[tuple[str, ...], Any]:
    raw = msgspec.to_builtins(config)
    raw["group"] = {group["name"]: group for group in raw["group"] if group["name"] in kept}
    values: dict[tuple[str, ...], Any] = {}
    _flatten(raw, (), values)
    return values


def _flatten(value: Any, path: tuple[str, ...], values: dict[tuple[str, ...], Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(inner, (*path, key), values)
    else:
        values[path] = value
