"""Further failures in one run: what is waited for in between, and what the judge excuses."""

from __future__ import annotations

from typing import Any

import pytest

from lab.failures import NOT_PROTECTED, await_renewed, excused, in_state


class Pair:
    """A lab whose primary tells of one connection, a state at each question."""

    client = "[fd77::1]:4000"

    def __init__(self, *told: tuple[str, str], proto: str = "tcp", closed: bool = False) -> None:
        self.told, self.proto, self.closed = list(told), proto, closed

    def node_in_role(self, role: str) -> str:
        assert role == "primary"
        return "alpha"

    def ask(self, node: str, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        protection, renewable = self.told.pop(0)
        client = f"{self.client} > [fd77::100]:80/{self.proto}"
        flow = {"flow": client, "protection": protection, "unrenewable": renewable, "closed": self.closed}
        return {"connections": [flow]}


class Client:
    def ended(self) -> bool:
        return False


def test_a_renewal_that_has_not_begun_is_waited_for() -> None:
    pair = Pair(("unprotected", "renewable"), ("catching-up", "renewable"), ("protected", "renewable"))
    assert await_renewed(pair, Client()) == 0  # type: ignore[arg-type]
    assert not pair.told


@pytest.mark.parametrize("why", ["log-bound", "off"])
def test_what_is_never_renewed_is_not_waited_for(why: str) -> None:
    pair = Pair(("unprotected", why), ("unprotected", why))
    assert await_renewed(pair, Client()) == 0  # type: ignore[arg-type]
    assert len(pair.told) == 1


@pytest.mark.parametrize("kind", [{"proto": "udp"}, {"closed": True}])
def test_what_rests_or_is_over_is_not_waited_for(kind: dict[str, Any]) -> None:
    pair = Pair(("unprotected", "renewable"), ("unprotected", "renewable"), **kind)
    assert await_renewed(pair, Client()) == 0  # type: ignore[arg-type]
    assert len(pair.told) == 1


def test_a_failure_is_excused_by_the_name_of_its_connection() -> None:
    pair = Pair(("catching-up", "renewable"))
    lost = in_state(pair, "alpha", NOT_PROTECTED)  # type: ignore[arg-type]
    assert excused("reset", ["fd77::1:4000: ConnectionResetError() at byte 7"], lost)
    assert not excused("reset", ["fd77::1:40001: ConnectionResetError() at byte 7"], lost)
    assert not excused("wrong", ["fd77::1:4000: byte 3 of the stream is wrong"], lost)
