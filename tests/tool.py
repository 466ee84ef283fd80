"""Commands of fttcp against a node whose engines have no packets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from fttcp.cli.main import main
from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from tests.unit.test_frontend import frontend

Tool = Callable[..., Awaitable[Result]]
Scene = Callable[[Tool, Frontend, GroupRuntime, GroupRuntime], Awaitable[None]]


def scene(tmp_path: Path, play: Scene) -> None:
    """Play a scene with alpha's daemon, and a tool that runs a command against it."""

    async def tool(*arguments: str) -> Result:
        words = [*arguments, "--socket", str(tmp_path / "control.sock")]
        return await asyncio.to_thread(CliRunner().invoke, main, words)

    async def run() -> None:
        async with frontend(tmp_path) as (face, alpha, beta):
            await play(tool, face, alpha, beta)

    asyncio.run(run())


def failure(done: Result) -> dict[str, Any]:
    """Return what a command that failed has told programs: one line, with a word and a sentence."""
    assert done.exit_code != 0 and len(done.stdout.splitlines()) == 1 and not done.stderr, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"] is False and told["reason"] and told["error"]
    return told
