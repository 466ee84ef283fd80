"""What the configuration names and this host must have: programs, files, Python modules.

Commands that only ask a daemon do not look; `check-config`, the start and a reload do."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from fttcp.config.program import obstacles
from fttcp.config.schema import Config, GroupSection
from fttcp.server.agents.agent import examined
from fttcp.server.agents.ocf import AgentError

_HOOKS = ("before_start", "after_stop", "ready_to_follow", "on_takeover", "on_demotion", "wait_for")


def what_is_missing(config: Config) -> Iterator[str]:
    """Yield a sentence for each thing that is named and is not there, or cannot be used."""
    for key, line in commands_of(config):
        trouble = trouble_of_program(shlex.split(line)[0])
        if trouble:
            yield f"{key}: {trouble}: install it, or correct the path"
    for key, _, trouble in agents_of(config):
        if trouble:
            yield f"{key}: {trouble}"
    for key, path in _files_of(config):
        trouble = trouble_of_file(path)
        if trouble:
            yield f"{key}: {path}: {trouble}"
    for i, group in enumerate(config.group):
        if group.experiment.callback is not None:
            trouble = _trouble_of_callback(group.experiment.callback)
            if trouble:
                yield f"group[{i}].experiment.callback: {trouble}"
        if group.lockstep != "off":
            yield from _not_followed(group, f"group[{i}]")


def commands_of(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each command line, with the key that it stands under."""
    if config.node.notify.command is not None:
        yield "node.notify.command", shlex.quote(config.node.notify.command)
    for i, group in enumerate(config.group):
        here = f"group[{i}]"
        yield from _servers(group, here)
        for key in _HOOKS:
            if (hook := getattr(group.hooks, key)) is not None:
                yield f"{here}.hooks.{key}", hook
        if group.restart.watched_command is not None:
            yield f"{here}.restart.watched_command", group.restart.watched_command
        for k, probe in enumerate(group.health.probe):
            if probe.command is not None:
                yield f"{here}.health.probe[{k}].command", probe.command
        for k, resource in enumerate(group.resource):
            for act, command in zip(("start", "stop", "status"), resource.commands, strict=True):
                if command is not None:
                    yield f"{here}.resource[{k}].{act}", command


def agents_of(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield the key and the name of each OCF agent, and why it is not there or does not take the parameters;
    '' if it does. Agents are asked for their meta-data: not in a running loop."""
    for i, group in enumerate(config.group):
        for k, resource in enumerate(group.resource):
            if resource.agent is None:
                continue
            trouble = ""
            try:
                asyncio.run(examined(resource.agent, resource.parameters))
            except AgentError as error:
                trouble = str(error)
            yield f"group[{i}].resource[{k}].agent", resource.agent, trouble


def _servers(group: GroupSection, here: str) -> Iterator[tuple[str, str]]:
    if group.command is not None:
        yield f"{here}.command", group.command
    for i, command in enumerate(group.commands):
        yield f"{here}.commands[{i}]", command


def _not_followed(group: GroupSection, here: str) -> Iterator[str]:
    """Yield why the servers that a group starts cannot be kept in lock step at all."""
    for key, line in _servers(group, here):
        for obstacle in obstacles(line, group.lockstep == "calls"):
            if obstacle.fatal:
                yield f"{key}: lockstep: {obstacle.why}: {obstacle.todo}"


def trouble_of_program(name: str) -> str:
    """Say why a program cannot be started; '' if it can."""
    if shutil.which(name) is not None:
        return ""
    if Path(name).is_dir():
        return f"{name} is a directory"
    if "/" in name and Path(name).exists():
        return f"{name} cannot be executed: it has no permission for that (chmod +x)"
    return f"there is no {name}" + ("" if "/" in name else f" on the path ({os.environ.get('PATH', '')})")


def trouble_of_file(path: str) -> str:
    """Say why a file cannot be read; '' if it can."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def trouble_of_spool(directory: str) -> str:
    """Say why `renew_spool_dir` cannot be used; '' if it can. A file without a name is made there, or where
    the directory would be made, and is gone at once."""
    place = Path(directory)
    place = place if place.exists() else place.parent
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return "its file system has no files without a name (allowed: ext4, xfs, btrfs)"
        return f"no file can be made in {place}: {error.strerror}"
    return ""


def _files_of(config: Config) -> Iterator[tuple[str, str]]:
    """Yield files that are read at the start, with their keys; not keys of fttcp, which tell by
    themselves (wire.keyfile)."""
    etcd = config.arbiter.etcd
    if etcd is not None:
        for key in ("ca_file", "cert_file", "key_file", "password_file"):
            if (path := getattr(etcd, key)) is not None:
                yield f"arbiter.etcd.{key}", path


def _trouble_of_callback(place: str) -> str:
    """Say why a function cannot be had; its module is looked for, and not run. '' if it can, perhaps."""
    module, _, function = place.partition(":")
    if not module or not function.isidentifier():
        return f'{place!r} names no function (allowed: "module:function")'
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        return f"there is no module {module!r} where Python looks for them (PYTHONPATH)"
    return ""
