"""Which adapter a node uses, and what its groups are told: only what no adapter mends."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fttcp.arbiter import probe
from fttcp.arbiter.probe import Prober
from fttcp.cli.doctor import check_sources
from fttcp.config import load
from fttcp.network import carrier, interface, kernel, routing
from fttcp.network.carrier import CarrierMonitor
from fttcp.network.kernel import KernelError
from fttcp.network.network import NetworkSetup
from fttcp.network.routing import Route
from fttcp.network.rules import ruleset
from fttcp.node import adapters as keeping
from fttcp.node.adapters import AdapterKeeper
from fttcp.ownership import events as ev
from fttcp.ownership.adapters import Adapters, Sight
from fttcp.report.events import History
from fttcp.server import reference
from fttcp.server.reference import ReferenceMonitor, own_address
from fttcp.server.settings import ReferenceSection
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
    one.sights["svc0"] = Sight(True, False, False)
    assert one.order("svc0") == "no reference address answers over svc0, but over svc1"
    one.sights["svc1"].reference = False
    assert one.order("svc0") == "", "neither works"


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ('["svc0"]', "node.standby_interfaces[0]: 'svc0' is in use already"),
        ('["svc1", "peer0"]', "node.standby_interfaces[1]: 'peer0' is in use already"),
        ('["lo"]', "node.standby_interfaces[0]: 'lo' leads to no network"),
        ('["svc1", "default"]', "node.standby_interfaces[1]: 'default' leads to no network"),
        ('["svc1", "svc1"]', "node.standby_interfaces[1]: 'svc1' is in use already"),
        ('["a", "b", "c", "d"]', "node.standby_interfaces"),
        ('["sixteen-letters-"]', "node.standby_interfaces"),
    ],
)
def test_what_cannot_be_a_standby_adapter_is_named(tmp_path: Path, names: str, error: str) -> None:
    found = errors_of(tmp_path, GOOD.replace("[peer]", f"standby_interfaces = {names}\n[peer]", 1))
    assert any(error in one for one in found), found


def test_standby_adapters_need_a_peer_link_of_its_own(tmp_path: Path) -> None:
    text = GOOD.replace("[peer]", 'standby_interfaces = ["svc1"]\n[peer]', 1)
    found = errors_of(tmp_path, text.replace('service_interface = "svc0"', 'service_interface = "peer0"'))
    assert any("service_interface and peer_interface are both 'peer0'" in one for one in found), found


@pytest.mark.parametrize("version", [4, 6])
def test_rules_are_the_same_for_each_adapter(version: int) -> None:
    """So a move changes none of them."""
    mangle, _ = ruleset(replace(GROUP, standby_interfaces=("svc1",)), version)
    by = [[rule for rule in mangle.splitlines() if f" -i {name} " in rule] for name in ("svc0", "svc1")]
    assert by[0] and [rule.replace("svc0", "svc1") for rule in by[0]] == by[1]


class Carrier:
    """A CarrierMonitor."""

    def __init__(self, name: str, on_change: Any, obstacle: Any = None) -> None:
        self.change, self.obstacle, self.why = on_change, obstacle, ""

    def start(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Reference:
    """A ReferenceMonitor."""

    def __init__(self, settings: Any, interface: str, on_change: Any, note: Any, source: Any = None) -> None:
        self._on_change, self.source = on_change, source
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


def test_routes_begin_to_move_before_anybody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = threading.Event()
    monkeypatch.setattr(routing, "lead_over", lambda *_: moved.set())

    async def move() -> None:
        setup = NetworkSetup([GROUP], tmp_path)
        setup.use_adapter("svc1")
        rest = setup.follow_adapter("svc0")
        assert moved.wait(10), "the loop is not needed for that"
        rest.close()

    asyncio.run(move())


def test_an_interface_that_cannot_be_used_has_no_carrier(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, str]] = []
    obstacles = {"svc1": "svc1 is no Ethernet"}
    monkeypatch.setattr(carrier, "has_carrier", lambda name: True)
    monkeypatch.setattr(carrier, "Notices", lambda *_: SimpleNamespace(close=lambda: None))
    one = CarrierMonitor("svc1", lambda up: seen.append((up, one.why)), lambda name: obstacles[name])
    assert one.start() is False and one.why == obstacles["svc1"]
    obstacles["svc1"] = ""
    one._look()
    one._look()
    obstacles["svc1"] = "svc1 is a port of a bond"
    one._look()
    assert seen == [(True, ""), (False, "svc1 is a port of a bond")]


def test_what_cannot_be_a_standby_adapter_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Misspelt(Carrier):
        def start(self) -> bool:
            self.why = "" if self.obstacle is None else self.obstacle("no-such-if")
            return not self.why

    monkeypatch.setattr(keeping, "_obstacle", lambda name: f"there is no interface {name}")
    monkeypatch.setattr(sys.modules[__name__], "Carrier", Misspelt)
    rig = Rig(tmp_path, monkeypatch)
    (told,) = rig.events("adapter")
    assert (told["adapter"], told["up"], told["why"]) == ("svc1", False, "there is no interface no-such-if")
    assert rig.keeper.order("svc1") == "svc1 has no carrier"


def test_what_cannot_be_an_adapter_is_known_by_its_kind() -> None:
    assert interface.obstacle("lo") == "lo is no Ethernet"
    assert interface.obstacle("no-such-if") == "there is no interface no-such-if"


@pytest.mark.parametrize(
    ("own", "address", "source"),
    [
        ((), "10.0.0.1", None),
        (("fe80::2",), "fd00::1", None),
        (("fe80::2", "10.0.0.2"), "fe80::1", "fe80::2"),
        (("192.0.2.1", "10.0.0.2", "fd00::2"), "10.0.0.1", "10.0.0.2"),
    ],
)
def test_a_reference_is_asked_from_an_address_of_the_adapter(
    own: tuple[str, ...], address: str, source: str | None
) -> None:
    found = own_address({ip_address(one) for one in own}, ip_address(address))
    assert found == (source and ip_address(source))


async def _never(*_: Any) -> None:
    raise AssertionError("asked in another adapter's name")


def test_a_reference_that_cannot_be_asked_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An echo from another adapter's address would draw the gateway's answers to and fro."""
    monkeypatch.setattr(reference, "echo", _never)
    settings = ReferenceSection(addresses=["10.77.0.254"], method="icmp", fall=1)
    one = ReferenceMonitor(settings, "svc1", lambda _: None, lambda *_, **__: None, lambda _: None)
    answer = asyncio.run(one._ask(ip_address("10.77.0.254")))
    assert answer is None
    for _ in range(5):
        one._take(any([answer]), answer is None)
    assert one.reachable and not one.answered


def test_each_group_is_looked_after_when_one_is_refused(tmp_path: Path) -> None:
    setup = NetworkSetup([replace(GROUP, name=name) for name in ("a", "b", "c")], tmp_path)
    had: list[str] = []

    def work(_: Any, group: Any) -> None:
        had.append(group.name)
        if group.name != "c":
            raise KernelError(group.name)

    with pytest.raises(KernelError, match="a"):
        setup._for_each_group(None, work)  # type: ignore[arg-type]
    assert had == ["a", "b", "c"]


def test_the_last_good_routes_outlive_an_adapter_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.1"), 0)
    six = Route(ip_network("fd00::/64"), None, 0)
    found: list[list[Route]] = [[four, six], [six], [], [four]]
    monkeypatch.setattr(routing, "sync_routes", lambda *_: routing.Synced(found.pop(0), []))
    setup = NetworkSetup([GROUP], tmp_path)
    while found:
        setup._sync_routes(None, GROUP)  # type: ignore[arg-type]
        assert setup._good[GROUP.name] == {four, six}
    assert setup._routes[GROUP.name] == {four}


@pytest.mark.parametrize(
    ("strict", "standby", "wanted"),
    [("1", ("svc1",), {"svc0", "svc1", "peer0"}), ("1", (), {"peer0"}), ("0", ("svc1",), set())],
)
def test_several_adapters_take_answers_that_the_main_table_expects_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict: str, standby: tuple[str, ...], wanted: set[str]
) -> None:
    for name in ("all", "svc0", "svc1", "peer0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rp_filter").write_text("0" if name == "all" else strict)
    monkeypatch.setattr(kernel, "_CONF4", tmp_path)
    found = kernel.wanted_sysctls([replace(GROUP, standby_interfaces=standby)], {})
    assert {Path(path).parent.name for path in found if path.endswith("/rp_filter")} == wanted


class Sockets:
    """Of a Prober."""

    def __init__(self, name: str, _: int) -> None:
        self.name, self.number = name, 3

    def getsockname(self) -> tuple[str, int, int, int, bytes]:
        return self.name, 0, 0, 0, bytes(6)

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.number = -1

    def __enter__(self) -> Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize(
    ("ways", "rounds"),
    [([()], 1), ([("svc1", "svc0"), ()], 2), ([("svc1",), ()], 2), ([("svc1", "svc0")] * 4, 0)],
)
def test_who_has_looked_over_an_adapter_that_was_left_looks_again(
    monkeypatch: pytest.MonkeyPatch, ways: list[tuple[str, ...]], rounds: int
) -> None:
    """Also if it is used again at the end."""
    now = ["svc0"]
    done: list[str] = []
    monkeypatch.setattr(probe, "_packet_socket", Sockets)
    monkeypatch.setattr(probe, "_attach_filter", lambda _: None)
    monkeypatch.setattr(Prober, "_ignore", lambda _: None)
    prober = Prober(lambda: now[0])

    async def look(*_: Any) -> None:
        for name in ways[len(done)]:
            now[0] = name
            prober.follow()
        done.append(now[0])

    monkeypatch.setattr(prober, "probe", look)
    if rounds:
        assert asyncio.run(prober.claimed([ip_address("10.0.0.1")], 0.1)) == ""
    else:
        with pytest.raises(OSError, match="4 times in a row"):
            asyncio.run(prober.claimed([ip_address("10.0.0.1")], 0.1))
    assert len(done) == (rounds or 4)


@pytest.mark.parametrize(
    ("method", "own", "told"), [("icmp", "10.77.0.9", 0), ("icmp", "", 1), ("neighbour", "", 0)]
)
def test_doctor_tells_of_an_adapter_that_cannot_ask(method: str, own: str, told: int) -> None:
    section: Any = ReferenceSection(addresses=["10.77.0.254"], method=method)  # type: ignore[arg-type]
    config: Any = SimpleNamespace(reference=section)
    have = SimpleNamespace(addresses=[ip_address(own)] if own else [])
    site: Any = SimpleNamespace(
        adapters=("svc0", "svc1"),
        interfaces={"svc0": SimpleNamespace(addresses=[ip_address("10.77.0.1")]), "svc1": have},
    )
    assert [one.name for one in check_sources(config, site)] == ["reference over svc1"] * told
