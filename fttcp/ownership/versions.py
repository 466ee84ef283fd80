"""Which version of what engines write to each other two nodes speak.

Each node tells the oldest and the newest one that it knows. Two speak the newest one that both know; if there
is none, no pair forms, but the nodes still understand each other's heartbeats, and keep apart who serves.
"""

from __future__ import annotations

Versions = tuple[int, int]
"""The oldest and the newest version that a node speaks."""


def common(ours: Versions, theirs: Versions) -> int | None:
    """Return the version in which two nodes speak, or None: there is none."""
    newest = min(ours[1], theirs[1])
    return newest if newest >= max(ours[0], theirs[0]) else None


def shown(versions: Versions) -> str:
    """As people read it."""
    oldest, newest = versions
    return str(newest) if oldest == newest else f"{oldest} to {newest}"
