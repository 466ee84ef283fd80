"""The network side of a node where several want something of it at once; what it does: test_rules.py."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from fttcp.datapath import kernel
from fttcp.datapath.ground import Ground
from fttcp.datapath.network import NetworkSetup
from tests.unit.test_rules import GROUP


def test_what_nobody_waits_for_any_more_ends_before_all_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a node a look may be at work: it would put back what has just been taken away."""
    monkeypatch.setattr(kernel, "netlink", lambda: nullcontext())
    looks, go, done = threading.Event(), threading.Event(), list[str]()

    def look(socket: Any, group: Any) -> Ground:
        looks.set()
        go.wait(10)
        done.append("mended")
        return Ground([], [], False)

    async def play() -> None:
        setup = NetworkSetup([GROUP], tmp_path)
        monkeypatch.setattr(setup, "_look", look)
        looking = asyncio.create_task(setup.ground("web"))
        await asyncio.to_thread(looks.wait, 10)
        looking.cancel()
        removing = asyncio.create_task(setup.remove())
        removing.add_done_callback(lambda _: done.append("removed"))
        for _ in range(10):  # turns of the loop
            looking.cancel()
            await asyncio.sleep(0)
        go.set()
        await removing
        await asyncio.gather(looking, return_exceptions=True)
        assert done == ["mended", "removed"] and looking.cancelled()

    asyncio.run(play())
