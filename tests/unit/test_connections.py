"""`fttcp connections`: what people see of each connection, and that a limit hides none unsaid."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fttcp.cli.main import main
from fttcp.cli.questions import connection_line
from tests.unit.test_frontend import ask, frontend

S = 1_000_000_000


def flow(number: int = 0, **changes: Any) -> dict[str, Any]:
    shown = {"flow": f"192.0.2.7:{40000 + number} > 192.0.2.100:80/tcp", "proto": "tcp", "closed": 0}
    shown |= {"protection": "protected", "reason": "none", "bytes_in": 76, "bytes_out": 6652694, "held": 0}
    shown |= {
        "verified": 6652694,
        "continues": 1,
        "divergences": 0,
        "unrenewable": "renewable",
        "age_ns": 12 * S,
        "idle_ns": 3_000_000,
    }
    return shown | changes


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, "protected  in 76 out 6652694 bytes, 0 held, verified to byte 6652694, open 12 s, idle 3 ms"),
        ({"continues": 0, "verified": 9}, "verified to byte 9: NOT ALL that the client has; a takeover now "
         "would end it, open 12 s, idle 3 ms"),
        ({"verified": 0}, "0 held, outputs are not compared, open 12 s, idle 3 ms"),
        ({"verified": 0, "bytes_out": 0}, "0 held, verified to byte 0, open 12 s, idle 3 ms"),
        ({"spool_bytes": 69632}, "verified to byte 6652694, 69632 in the spool, open 12 s, idle 3 ms"),
        ({"divergences": 3}, "verified to byte 6652694, 3 divergences, open 12 s, idle 3 ms"),
        ({"protection": "detached", "reason": "end", "age_ns": 7200 * S, "idle_ns": 120 * S},
         "detached (end)  in 76 out 6652694 bytes, 0 held, open 2 h, idle 2 min"),
        ({"proto": "udp"}, "0 held, open 12 s, idle 3 ms"),
        ({"closed": 1, "age_ns": 90_000 * S}, "closed  in 76 out 6652694 bytes, 0 held, open 1 d, idle 3 ms"),
    ],
)  # fmt: skip
def test_a_line_tells_all_that_matters(changes: dict[str, Any], ends: str) -> None:
    line = connection_line({"group": "web"} | flow(**changes))
    assert line.startswith("web  192.0.2.7:40000 > 192.0.2.100:80/tcp  ") and line.endswith(ends), line


def test_a_limit_counts_those_that_are_wanted_and_is_told(tmp_path: Path) -> None:
    """Those that have ended must not use up the limit of those that live."""
    known = [flow(n, closed=int(n < 5)) for n in range(8)]

    def flows(limit: int, with_closed: bool = True) -> list[dict[str, Any]]:
        return [one for one in known if with_closed or not one["closed"]][:limit]

    async def tool(*words: str) -> Result:
        line = ["connections", *words, "--socket", str(tmp_path / "control.sock")]
        return await asyncio.to_thread(CliRunner().invoke, main, line)

    async def play() -> None:
        async with frontend(tmp_path) as (_, alpha, _):
            alpha.engine.flows = flows
            for words, shown, more in (
                ((), 3, False),
                (("--all",), 8, False),
                (("--limit", "3"), 3, False),
                (("--limit", "2"), 2, True),
                (("--all", "--limit", "7"), 7, True),
                (("--limit", "0"), 0, True),
            ):
                lines = (await tool(*words)).output.splitlines()
                assert len(lines) == shown + more
                assert lines[-1].startswith("... there are more") is more
                told = json.loads((await tool(*words, "--json")).output)
                assert (len(told["connections"]), told["more"]) == (shown, more)
            known.clear()
            assert (await tool()).output == "no connections\n"

    asyncio.run(play())


def test_a_long_list_is_made_beside_the_loop(tmp_path: Path) -> None:
    """Ten thousand connections took three quarters of a second, in which no lost node was noticed."""
    threads: set[int] = set()

    class Shown:
        def __str__(self) -> str:
            threads.add(threading.get_ident())
            return "192.0.2.7"

    def flows(limit: int, with_closed: bool = True) -> Iterator[dict[str, Any]]:
        assert threading.get_ident() == loop, "the engine is asked in the loop"

        def described() -> Iterator[dict[str, Any]]:
            for number in range(3):
                threads.add(threading.get_ident())
                yield flow(number, remote=Shown())

        return described()

    async def play() -> None:
        nonlocal loop
        loop = threading.get_ident()
        async with frontend(tmp_path) as (_, alpha, _):
            alpha.engine.flows = flows
            told = await ask(tmp_path / "control.sock", b'{"op": "connections"}')
            assert [(one["group"], one["remote"]) for one in told["connections"]] == [
                ("web", "192.0.2.7")
            ] * 3

    loop = 0
    asyncio.run(play())
    assert threads and loop not in threads
