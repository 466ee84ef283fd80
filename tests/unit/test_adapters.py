"""Which adapter a node uses, and what its groups are told: only what no adapter mends."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fttcp.config import load
from fttcp.network.rules import ruleset
from fttcp.node import adapters as keeping
from fttcp.node.adapters import AdapterKeeper
from fttcp.ownership import events as ev
from fttcp.ownership.adapters import Adapters, Sight
from fttcp.report.events import History
from fttcp.wire.body import AdapterWord
from tests.unit.test_config import GOOD, errors_of
from tests.unit.test_rules import GROUP

DEAD, CUT_OFF, LATE, WELL = Sight(), Sight(True, False, False), Sight(True, True, False), Sight(True)
SIGHTS = st.builds(Sight, st.booleans(), st.booleans(), st.booleans())


def chosen(used: str, *sights: Sight) -> tuple[str, str]:
    """Which one is used from then on, and why."""
    one = Adapters([f"svc{n}" for n in range(len(sights))])
    one.sights, one.used = dict(zip(one.names, sights, strict=True)), used
    why = one.choose()
    return one.used, why


@pytest.mark.parametrize(
    ("used", "sights", "wanted"),
    [
        ("svc0", (WELL, WELL), ("svc0", "")),
        ("svc0", (DEAD, WELL), ("svc1", "no carrier there")),
        ("svc0", (DEAD, DEAD), ("svc0", "")),
        ("svc0", (DEAD, DEAD, WELL), ("svc2", "no carrier there")),
        ("svc1", (WELL, WELL), ("svc1", "")),
        ("svc1", (WELL, DEAD), ("svc0", "no carrier there")),
        ("svc1", (WELL, DEAD, WELL), ("svc2", "no carrier there")),
        ("svc0", (CUT_OFF, WELL), ("svc1", "no reference address answers there")),
        ("svc0", (CUT_OFF, CUT_OFF), ("svc0", "")),
        ("svc0", (CUT_OFF, LATE), ("svc0", "")),
        ("svc0", (CUT_OFF, DEAD), ("svc0", "")),
        ("svc0", (DEAD, CUT_OFF), ("svc1", "no carrier there")),
        ("svc0", (DEAD, CUT_OFF, WELL), ("svc2", "no carrier there")),
        ("svc0", (DEAD,), ("svc0", "")),
    ],
)
def test_the_next_one_is_used_when_it_has_more_to_offer(
    used: str, sights: tuple[Sight, ...], wanted: tuple[str, str]
) -> None:
    """The first that fails; an adapter or the network is at fault; none returns by itself."""
    assert chosen(used, *sights) == wanted


@given(st.lists(SIGHTS, min_size=1, max_size=4), st.data())
def test_a_choice_is_no_worse_and_stands(sights: list[Sight], data: st.DataObject) -> None:
    used = data.draw(st.sampled_from([f"svc{n}" for n in range(len(sights))]))
    now = chosen(used, *sights)[0]
    before, after = sights[int(used[3:])], sights[int(now[3:])]
    assert (after.carrier, after.works) >= (before.carrier, before.works)
    assert now == used or not before.works
    assert after.carrier or not any(sight.carrier for sight in sights)
    assert chosen(now, *sights) == (now, "")


def test_the_first_with_a_carrier_is_used_at_the_start() -> None:
    one = Adapters(["svc0", "svc1", "svc2"])
    one.begin()
    assert one.used == "svc0"
    one.sights["svc1"].carrier = one.sights["svc2"].carrier = True
    one.begin()
    assert one.used == "svc1"


def test_an_order_needs_an_adapter_with_a_carrier() -> None:
    one = Adapters(["svc0", "svc1"])
    assert "no adapter of this node (svc0, svc1)" in one.order("eth9")
    assert one.order("svc1") == "svc1 has no carrier" and one.used == "svc0"
    one.sights["svc1"].carrier = True
    assert one.order("svc1") == "" and one.used == "svc1"


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ('["svc0"]', "node.standby_interfaces[0]: 'svc0' is in use already"),
        ('["svc1", "peer0"]', "node.standby_interfaces[1]: 'peer0' is in use already"),
        ('["svc1", "svc1"]', "node.standby_interfaces[1]: 'svc1' is in use already"),
        ('["a", "b", "c", "d"]', "node.standby_interfaces"),
        ('["sixteen-letters-"]', "node.standby_interfaces"),
    ],
)
def test_what_cannot_be_a_standby_adapter_is_named(tmp_path: Path, names: str, error: str) -> None:
    found = errors_of(tmp_path, GOOD.replace("[peer]", f"standby_interfaces = {names}\n[peer]", 1))
    assert any(error in one for one in found), found


@pytest.mark.parametrize("version", [4, 6])
def test_rules_are_the_same_for_each_adapter(version: int) -> None:
    """So a move changes none of them."""
    mangle, _ = ruleset(replace(GROUP, standby_interfaces=("svc1",)), version)
    by = [[rule for rule in mangle.splitlines() if f" -i {name} " in rule] for name in ("svc0", "svc1")]
    assert by[0] and [rule.replace("svc0", "svc1") for rule in by[0]] == by[1]


class Carrier:
    """A CarrierMonitor."""

    def __init__(self, name: str, on_change: Any) -> None:
        self.change = on_change

    def start(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Reference:
    """A ReferenceMonitor."""

    def __init__(self, settings: Any, interface: str, on_change: Any, note: Any) -> None:
        self._on_change = on_change
        self.reachable = self.answered = True

    def start(self) -> None:
        pass

    def say(self, reachable: bool, answered: bool) -> None:
        self.reachable, self.answered = reachable, answered
        self._on_change(self)


class Network:
    """A NetworkSetup."""

    used = ""

    def use_adapter(self, name: str) -> None:
        self.used = name

    async def follow_adapter(self, left: str) -> None:
        pass

    async def drop_unresolved(self, group: str) -> None:
        pass


class Rig:
    """A keeper of two adapters, with one group."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, standby: str = '["svc1"]') -> None:
        monkeypatch.setattr(keeping, "CarrierMonitor", Carrier)
        monkeypatch.setattr(keeping, "ReferenceMonitor", Reference)
        text = GOOD.replace(
            'service_interface = "svc0"', f'service_interface = "svc0"\nstandby_interfaces = {standby}'
        )
        (path / "node.toml").write_text(text + '[reference]\naddresses = ["10.77.0.254"]\n')
        self.told: list[object] = []
        self.words: list[tuple[AdapterWord, ...]] = []
        group: Any = SimpleNamespace(
            feed=self.told.append, use_adapter=self.told.append, say_adapters=self.words.append
        )
        self.history, self.network = History("alpha"), Network()
        keeper: Any = AdapterKeeper(
            load(path / "node.toml"),
            self.network,  # type: ignore[arg-type]
            {"web": group},
            self.history,
            self._spawn,
            self._nothing,
        )
        self.keeper, self.carriers, self.references = keeper, keeper._carriers, keeper._references
        keeper.start()
        assert self.network.used == "svc0"

    @staticmethod
    async def _nothing() -> None:
        pass

    @staticmethod
    def _spawn(work: Coroutine[Any, Any, None]) -> None:
        work.close()

    def taken(self) -> list[object]:
        told, self.told[:] = list(self.told), []
        return told

    def events(self, kind: str) -> list[Any]:
        return [event for event in self.history.since(0) if event["event"] == kind]


def test_a_group_hears_of_no_loss_that_an_adapter_mends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.carriers["svc0"].change(False)
    assert rig.taken() == ["svc1"] and rig.network.used == rig.keeper.used == "svc1"
    (moved,) = rig.events("adapter-moved")
    assert (moved["adapter"], moved["before"], moved["why"]) == ("svc1", "svc0", "no carrier there")
    assert rig.words[-1] == (AdapterWord("svc0", False, False, True), AdapterWord("svc1", True, True, True))
    rig.carriers["svc0"].change(True)
    assert rig.taken() == [] and rig.keeper.used == "svc1", "there is no fail-back"
    rig.carriers["svc1"].change(False)
    assert rig.taken() == ["svc0"] and not rig.events("carrier")


def test_without_any_adapter_it_is_as_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.carriers["svc1"].change(False)
    rig.carriers["svc0"].change(False)
    assert rig.taken() == [ev.CarrierChanged(False)] and not rig.events("adapter-moved")
    rig.carriers["svc1"].change(True)
    assert rig.taken() == ["svc1", ev.CarrierChanged(True)]


def test_the_network_is_at_fault_if_no_adapter_reaches_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.references["svc1"].say(reachable=True, answered=False)
    rig.references["svc0"].say(reachable=False, answered=False)
    assert rig.taken() == [ev.ReferenceChanged(False)] and rig.keeper.used == "svc0"
    rig.references["svc1"].say(reachable=True, answered=True)
    assert rig.taken() == ["svc1", ev.ReferenceChanged(True)], "it was the adapter after all"


def test_one_adapter_is_not_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch, "[]")
    assert rig.keeper.words() == ()
    rig.carriers["svc0"].change(False)
    assert rig.taken() == [ev.CarrierChanged(False)] and not rig.events("adapter")


def test_a_group_that_comes_later_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.carriers["svc0"].change(False)
    rig.taken()
    rig.keeper.greet(rig.keeper._groups["web"])
    assert rig.taken() == ["svc1", ev.CarrierChanged(True), ev.ReferenceChanged(True)]


def test_an_order_moves_and_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch)
    assert rig.keeper.order("svc1") == "" and rig.taken() == ["svc1"]
    assert rig.keeper.order("svc1") == "" and rig.taken() == [], "it is there already"
    assert rig.keeper.order("svc2") and rig.taken() == []
