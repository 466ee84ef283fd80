"""What is wrong in [[sync]]."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from fttcp.config.schema import Config
from fttcp.sync.schedule import QuietHours
from fttcp.sync.settings import SyncSection


def check_sync(config: Config, section: SyncSection, i: int, errors: list[str]) -> None:
    """Note what is wrong in one entry, by itself and beside those before it."""
    here, before = f"sync[{i}]", config.sync[:i]
    if any(one.name == section.name for one in before):
        errors.append(f"{here}.name: {section.name!r} stands there twice: choose another one, on all nodes")
    peers = [peer.name for peer in config.peer]
    for k, name in enumerate(section.peers):
        if name not in peers and name != config.node.name:  # the same list may stand on all nodes
            errors.append(f"{here}.peers[{k}]: no peer has the name {name!r} (peers: {', '.join(peers)})")
    groups = [group.name for group in config.group]
    if section.master_of is not None and section.master_of not in groups:
        errors.append(
            f"{here}.delete: no group has the name {section.master_of!r} (groups: {', '.join(groups)})"
        )
    for key, read in (("quiet_hours", QuietHours.parse), ("remote_shell", _program)):
        text = getattr(section, key)
        if isinstance(text, str):  # else it has been complained about
            try:
                read(text)
            except ValueError as error:
                errors.append(f"{here}.{key}: {error}")
    for k, other in enumerate(before):
        if _nested(section.directory, other.directory):
            errors.append(
                f"{here}.directory: {section.directory!r} and sync[{k}].directory ({other.directory}) lie in "
                "each other: name the outer one only"
            )


def _program(text: str) -> str:
    """Return the first word. Raises ValueError."""
    words = shlex.split(text)
    if not words:
        raise ValueError("no program in it")
    return words[0]


def _nested(one: str, other: str) -> bool:
    paths = PurePosixPath(one), PurePosixPath(other)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
