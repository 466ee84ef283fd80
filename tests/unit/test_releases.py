"""Each node says in its heartbeats which release it runs; `status` shows them while they differ."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from fttcp import __version__
from fttcp.cli.questions import _group_lines
from fttcp.group.hearing import Hearing
from fttcp.ownership.model import Body, Mode, Role, Settings
from fttcp.ownership.view import Peer
from fttcp.planes.fake import FakeEngine
from fttcp.wire import body as codec
from tests.groups import run
from tests.health import until

BODY = Body("web", "alpha", Role.PRIMARY, Mode.PAIRED, 3, 3 << 32, True, True, 100, 3)


def with_release(data: bytes, release: object, **others: object) -> bytes:
    packed: bytes = msgpack.packb(msgpack.unpackb(data) | {"rl": release} | others)
    return packed


def release(data: bytes) -> str:
    return codec.release_of(codec.unpack(data))


def test_a_body_tells_the_release_whatever_its_version() -> None:
    data = codec.encode(BODY)
    assert release(data) == __version__ and codec.decode(data) == BODY
    assert release(with_release(data, "2.0.0", v=99)) == "2.0.0"
    assert len(data) <= codec.MAX_BYTES


@pytest.mark.parametrize("told", [None, 7, b"x", "x" * 33, "a\nb", ["1"]])
def test_what_is_no_release_is_none(told: object) -> None:
    assert release(with_release(codec.encode(BODY), told)) == ""


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90" * 600, b"\x93\x01\x02\x03"])
def test_what_is_no_body_has_none(data: bytes) -> None:
    alpha = Peer(0, "alpha")
    settings = Settings("web", "beta", ("alpha",), 1, 1, 0, 0)
    told: list[str] = []
    hearing = Hearing(settings, lambda event, level="info", **fields: told.append(event))
    assert hearing.understand(codec.encode(BODY._replace(lease_ns=1)), alpha) is not None
    assert hearing.releases == {"alpha": __version__}
    assert hearing.understand(data, alpha) is None and hearing.releases == {"alpha": ""}
    assert told == ["peer-misunderstood"]


def test_status_shows_the_releases_while_they_differ() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        def told() -> dict[str, str]:
            return {node["name"]: node["release"] for node in beta.status()["nodes"]}

        def lines() -> list[str]:
            return [line for line in _group_lines(beta.status()) if line.startswith("  RELEASES")]

        await until(lambda: told() == {"alpha": __version__, "beta": __version__})
        assert lines() == []
        said = alpha_engine._body
        assert said is not None
        other = with_release(said, "2.0.0", v=99)
        alpha_engine.publish(other, 0)
        await until(lambda: told()["alpha"] == "2.0.0")
        assert lines() == [f"  RELEASES     alpha 2.0.0; beta {__version__}"]
        alpha_engine.publish(said, 0)
        await until(lambda: lines() == [])

    run(test)
