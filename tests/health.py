"""What the tests of server health share."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fttcp.ownership.model import Cause
from fttcp.server.hooks import Hooks
from fttcp.server.monitor import Health
from fttcp.server.process import Supervisor
from fttcp.server.server import Server
from fttcp.server.settings import HealthSection, HooksSection, RestartSection

Changes = list[tuple[bool, Cause, str]]
Notes = list[tuple[str, dict[str, Any]]]
LISTEN = """
import socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(1000)
"""
"""A server of one process; the argument is its port."""
DAEMON = """
import os, socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
if len(sys.argv) > 2:
    open(sys.argv[2], "w").write(f"{os.getpid()}\\n")
time.sleep(1000)
"""
"""One that goes to the background, and writes its pid into a second argument."""


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for a condition; the test fails when it does not come."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Watched:
    """A server of a test, what was told about it, and its checks."""

    def __init__(self) -> None:
        self.changes: Changes = []
        self.notes: Notes = []
        self.stuck_why: list[str] = []
        self.doubts: list[float] = []
        self.health: Health | None = None

    def note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.notes.append((kind, fields))

    def changed(self, healthy: bool, cause: Cause, reason: str, serves: bool = False) -> None:
        self.changes.append((healthy, cause, reason))

    def stuck(self, why: str) -> bool:
        self.stuck_why.append(why)
        return True

    @property
    def state(self) -> dict[str, Any]:
        assert self.health is not None
        return self.health.shown()

    def check(self, name: str) -> dict[str, Any]:
        return next(check for check in self.state["checks"] if check["name"] == name)

    @property
    def pid(self) -> int:
        return int(self.state["pid"])

    @property
    def healthy(self) -> bool:
        return bool(self.state["healthy"])

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.notes if name == kind]

    def failed(self, cause: Cause) -> bool:
        return any(not healthy and why is cause for healthy, why, _ in self.changes)


def supervisor(
    watched: Watched, run_dir: Path, command: str, restart: RestartSection, hooks: HooksSection
) -> Supervisor:
    runner = Hooks(hooks, {"FTTCP_NODE": "alpha", "FTTCP_GROUP": "web"}, watched.note)
    return Supervisor("web", [command], restart, run_dir, runner, watched.note)


@asynccontextmanager
async def looked_after(
    run_dir: Path,
    command: str,
    port: int | None = None,
    proto: str = "tcp",
    health: HealthSection | None = None,
    restart: RestartSection | None = None,
    hooks: HooksSection | None = None,
    hang_after_ms: int = 200,
    server: Callable[[Watched], Server] | None = None,
    resting: bool = False,
    follows: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Watched]:
    """A supervised server of one command, until the end of the block."""
    watched = Watched()
    hooks = hooks or HooksSection()
    made = (
        server(watched)
        if server
        else supervisor(watched, run_dir, command, restart or RestartSection(), hooks)
    )
    ports = [] if port is None else [(port, port, proto)]
    runner = Hooks(hooks, {"FTTCP_NODE": "alpha", "FTTCP_GROUP": "web"}, watched.note)
    watched.health = Health(
        made,
        health or HealthSection(),
        ports,
        "127.0.0.1",
        hang_after_ms,
        runner,
        watched.changed,
        watched.note,
        start_within_s=(restart or RestartSection()).start_within_s,
        on_stuck=watched.stuck,
        on_doubt=watched.doubts.append,
        follows=follows,
        on_listens=lambda: watched.note("listens"),
    )
    if resting:
        watched.health.rest()
    watched.health.start()
    try:
        yield watched
    finally:
        await watched.health.stop()


def python(directory: Path, code: str, *arguments: object) -> str:
    """A command that runs this code, from a file."""
    path = directory / f"server{len(list(directory.glob('server*.py')))}.py"
    path.write_text(code)
    return " ".join([sys.executable, str(path), *map(str, arguments)])
