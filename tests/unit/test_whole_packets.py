"""Why long packets go through a backup's engine whole: as people are told it."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fttcp._native import lib
from fttcp.cli.main import main
from fttcp.group.engine_events import why_whole
from fttcp.ownership import events as ev
from fttcp.planes.base import STAMPED_MAX, EventKind
from fttcp.planes.fake import FakeEngine
from tests.groups import make_group
from tests.unit.test_frontend import frontend


def test_python_and_c_count_the_same() -> None:
    assert EventKind.WHOLE_PACKETS == lib.FTT_EV_WHOLE_PACKETS
    assert STAMPED_MAX == lib.FTT_STAMPED_MAX


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (errno.ENOTUNIQ, "on the service interface"),
        (errno.E2BIG, "more than 32 pairs"),
        (errno.EOPNOTSUPP, "5.18 or later with nf_tables is needed: Operation not supported"),
    ],
)
def test_the_engine_tells_once_and_status_always(error: int, why: str) -> None:
    async def body() -> None:
        group, engine, history = make_group("alpha", "beta", 100)
        whole = replace(engine.status(), whole_packets=error)
        engine.status = lambda: whole  # type: ignore[method-assign]
        engine.post(EventKind.WHOLE_PACKETS, error)
        group.start()
        group.feed(ev.CarrierChanged(True))
        await asyncio.sleep(0)
        told = [event for event in history.since(0) if event["event"] == "whole-packets"]
        assert [event["level"] for event in told] == ["warning"]
        assert why in told[0]["why"] and told[0]["why"] == group.status()["whole_packets"]
        group.close()

    asyncio.run(body())


def test_status_has_a_line_when_the_kernel_edits_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with frontend(tmp_path) as (_, alpha, _):
            words = ["status", "--socket", str(tmp_path / "control.sock")]
            assert alpha.status()["whole_packets"] is None
            assert "SLOWER" not in (await asyncio.to_thread(CliRunner().invoke, main, words)).output
            whole(alpha.engine, errno.E2BIG)
            shown = (await asyncio.to_thread(CliRunner().invoke, main, words)).output
            assert "  SLOWER  " in shown and str(why_whole(errno.E2BIG)) in shown

    def whole(engine: Any, error: int) -> None:
        engine.status = lambda: replace(FakeEngine.status(engine), whole_packets=error)

    asyncio.run(body())
