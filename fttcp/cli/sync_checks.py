"""What `fttcp doctor` says of the directories that are kept identical."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fttcp.cli.checks import Check, fail, ok, warn
from fttcp.config import Config

_LEAST = (3, 1, 3)
"""Of rsync: the first that compares times to the nanosecond (--modify-window=-1)."""
_TIMEOUT_S = 10
_VERSION = re.compile(r"version v?(\d+)\.(\d+)\.(\d+)")
_INSTALL = "apt-get install rsync inotify-tools"


def check_sync(config: Config) -> Iterator[Check]:
    """Look here, and at each peer by its remote shell."""
    if not config.sync:
        return
    yield _programs("sync", [])
    for section in config.sync:
        if not Path(section.directory).is_dir():
            where = section.directory
            yield fail(f"sync {section.name}", f"{where}: no directory", f"mkdir -p {shlex.quote(where)}")
    asked = {
        (peer.name, section.remote_shell, peer.link[0].remote or peer.name)
        for section in config.sync
        for peer in config.peer
        if section.copied_to(peer.name) and config.node.name < peer.name
    }
    if asked and os.geteuid() != 0:
        yield warn("sync", "peers are not asked: the remote shell is root's", "ask as root")
        return
    for name, shell, host in sorted(asked):
        yield _programs(f"sync with {name}", [*shlex.split(shell), host])


def _programs(name: str, shell: list[str]) -> Check:
    """Are they there, behind a remote shell or, without one, here?"""
    words = "rsync --version; command -v inotifywait; command -v fttcp"
    try:
        done = subprocess.run(
            [*(shell or ["sh", "-c"]), words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail(
            name, f"{shlex.join(shell)}: {error}", "the peer's address, remote_shell, root's key there"
        )
    found = _VERSION.search(done.stdout)
    if found is None:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"status {done.returncode}"
        return fail(name, f"no rsync: {why}", f"{_INSTALL}; does `{shlex.join([*shell, 'true'])}` work?")
    version = tuple(map(int, found.groups()))
    if version < _LEAST:
        return fail(name, f"rsync {found[0]}", f"rsync {'.'.join(map(str, _LEAST))} or newer")
    lines = done.stdout.splitlines()
    if shell and not any(line.endswith("/fttcp") for line in lines):
        return fail(name, "no fttcp in the PATH of its shell", "install it there")
    if not any(line.endswith("/inotifywait") for line in lines):
        return warn(name, "no inotifywait: copies by the clock only", _INSTALL)
    return ok(name, f"rsync {found[1]}.{found[2]}.{found[3]}, inotifywait")
