"""Who claims a service address: a peer may, and may have another MAC address than it had."""

from __future__ import annotations

from typing import Any

import pytest

from fttcp.group import claims
from fttcp.group.claims import GRACE_S, OVER_AFTER_S, Claims
from fttcp.planes.base import EngineEvent, EventKind, FlowKey

MAC = bytes.fromhex("02000000000b")


class Clock:
    """In the place of the module `time`."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Story:
    """A node without interface, and what it told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.told: list[str] = []
        self.claims = Claims("", self._note)

    def _note(self, kind: str, level: str = "info", **fields: Any) -> None:
        self.told.append(kind)

    def claim(self, held: bool = False, strangers: bool = False) -> None:
        key = FlowKey("::", 0, "10.77.0.100", 0, "0")
        event = EngineEvent(EventKind.CLAIMED, 0, key=key, reason=int(held), value=int.from_bytes(MAC, "big"))
        self.claims.heard(event, strangers)

    def later(self, seconds: float) -> list[str]:
        """Let time pass; return why the node is not ready then."""
        self.clock.now_s += seconds
        return [reason.why for reason in self.claims.settle()]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    clock = Clock()
    monkeypatch.setattr(claims, "time", clock)
    return Story(clock)


def test_a_peer_that_announces_another_mac_address_before_its_heartbeat_is_no_foreign_station(
    story: Story,
) -> None:
    story.claims.know("beta", bytes.fromhex("02000000000a"))
    story.claim()
    assert story.later(GRACE_S / 2) == []
    story.claims.know("beta", MAC)
    assert story.later(GRACE_S) == [] and not story.told


def test_what_no_peer_explains_is_told_once(story: Story) -> None:
    story.claim()
    assert not story.told
    assert story.later(GRACE_S) == ["address-claimed"]
    story.claim()
    assert story.told == ["address-claimed"]
    assert story.later(OVER_AFTER_S + 1) == [] and story.told[1:] == ["address-claim-over"]


def test_who_holds_the_address_tells_at_once(story: Story) -> None:
    story.claim(held=True)
    assert story.told == ["address-claimed"]


def test_one_claim_while_a_peer_is_unknown_is_not_told(story: Story) -> None:
    story.claim(strangers=True)
    assert story.later(GRACE_S) == [] and not story.told
    story.claim(strangers=True)
    assert story.told == ["address-claimed"]


def test_a_peer_may_have_a_mac_address_for_the_service_before_this_node_has_one(story: Story) -> None:
    story.claims.know("beta", bytes.fromhex("02000000000a"), MAC)
    story.claim()
    assert story.later(GRACE_S) == [] and not story.told
