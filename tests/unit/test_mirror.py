"""What is mirrored arrives, or does not: who says so, when, and what the pair makes of it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from fttcp._native import ffi, lib
from fttcp.group import mirror
from fttcp.network.rules import PROBE_LENGTH
from fttcp.ownership import events as ev
from fttcp.ownership import mirror as verdict
from fttcp.ownership.mirror import MISSED
from fttcp.ownership.model import NS_PER_MS, Cause, Mode, Phase, Role
from fttcp.planes import mirror as probes
from fttcp.planes.base import EventKind, LinkAddress, PeerSettings
from fttcp.planes.fake import FakeEngine
from fttcp.planes.mirror import MirrorProbe
from fttcp.wire import body as codec
from fttcp.wire.keyfile import KeyRing
from tests.groups import LEASE, engine_settings, make_group, run
from tests.health import until
from tests.unit.test_pair import SETTINGS, Driver
from tests.unit.test_rules import GROUP
from tests.unit.test_wire import BODY

KEY = bytes(range(32))


class Wire:
    """Stands in the place of the mirror: what one node sends comes in at the other, if it is not cut."""

    def __init__(self, to: FakeEngine) -> None:
        self.to, self.targets, self.sent = to, [0, 1], 0
        self.cut: set[int] = set()
        self.broken = False

    all = 0b11

    def send(self, number: int, keys: Any, peer: int) -> None:
        self.sent += 1
        if self.broken:
            raise OSError("Network is unreachable")
        for target in set(self.targets) - self.cut:
            self.to.post(EventKind.MIRROR_SEEN, number << 6 | target)

    def named(self, mask: int) -> str:
        return f"targets {mask:#b}"


def test_probes_are_segments_that_the_core_knows() -> None:
    wanted = replace(engine_settings("alpha"), cluster_id=7, channel_port=7710)
    probe = MirrorProbe(GROUP, wanted)
    assert [(str(a), port) for a, port in probe.targets] == [
        ("10.77.0.100", 8), ("10.77.0.100", 80), ("fd77::100", 8), ("fd77::100", 80),
    ]  # fmt: skip
    assert probe.all == 0b11111 and probe.named(0b1010) == "10.77.0.100 port 80, fd77::100 port 80"
    assert probe.named(0b10000) == "the commit channel (UDP port 7711)"
    for source, to in (("10.77.0.1", "10.77.0.100"), ("fd77::1", "fd77::100")):
        payload = probes.payload(KEY, 7, 99)
        data = probes._packet(ip_address(source), ip_address(to), 7710, 80, payload)
        pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
        raw = ffi.from_buffer("uint8_t[]", data)
        assert lib.ftt_core_parse(raw, len(data), len(data), pkt, seg) == lib.FTT_PARSED_TCP
        assert (pkt.sport, pkt.dport, pkt.payload_len) == (7710, 80, 24)
        assert len(data) == PROBE_LENGTH[pkt.family]
        assert seg.flags & lib.TCP_SYN == 0 and data[pkt.payload :] == payload
    assert probes.told(99 << 6 | 5) == (99, 5)


class Sent:
    """A raw socket that keeps what it is given."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def __enter__(self) -> Sent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def sendto(self, data: bytes, to: object) -> None:
        self.data.append(data)


@pytest.mark.parametrize("loss", [0.01, 0.02, 0.05])
def test_a_link_that_loses_some_packets_parts_no_healthy_pair(
    monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    sent = Sent()
    monkeypatch.setattr(probes, "_raw_socket", lambda *_: sent)
    peers = (PeerSettings(2, (LinkAddress("peer0", "10.78.0.1", "10.78.0.2"),)),)
    wanted = replace(engine_settings("alpha"), cluster_id=7, channel_port=7710, peers=peers)
    probe = MirrorProbe(GROUP, wanted)
    probe.send(99, KeyRing((KEY,)), 0)
    year_s = 365 * 86400.0
    for index in range(len(probe.targets) + len(probe.channel_ports)):
        copies = sum(data.endswith(probes.payload(KEY, 7, 99 << 6 | index)) for data in sent.data)
        ways = 1 if index < len(probe.targets) else probes._LAST_WAY + 1
        round_missed = (1 - (1 - loss) ** ways) ** copies
        years = mirror.INTERVAL_S / round_missed**MISSED / year_s
        assert years > 10 * probes.TARGETS_MAX, f"probe {index}: {years:.3g} years to the first wrong verdict"


@pytest.mark.parametrize(("source", "to"), [("10.78.0.1", "10.78.0.2"), ("fd78::1", "fd78::2")])
def test_a_probe_of_the_commit_channel_goes_there_and_back_and_there_again(source: str, to: str) -> None:
    said = probes.PAD + probes.payload(KEY, 7, 99 << 6 | 5)
    data = probes._datagram(ip_address(source), ip_address(to), 7711, said)
    pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    raw = ffi.from_buffer("uint8_t[]", data)
    assert lib.ftt_core_parse(raw, len(data), len(data), pkt, seg) == lib.FTT_PARSED_UDP
    assert (pkt.sport, pkt.dport, pkt.payload_len) == (7711, 7711, probes.DATAGRAM)
    assert data[pkt.payload :] == said

    other = bytes(32)
    ways = [said]
    for sending in (0, 1):  # one node sends with the new key already
        went = probes.went(ways[-1], 7, KeyRing((KEY, other), sending))
        assert isinstance(went, bytes) and len(went) == probes.DATAGRAM
        ways.append(went)
    assert probes.went(ways[-1], 7, KeyRing((KEY, other))) == 99 << 6 | 5
    assert probes.went(ways[-1], 8, KeyRing((KEY, other))) is None, "of another cluster"
    assert probes.went(ways[-1], 7, KeyRing((KEY,))) is None, "of a key that is not believed"
    beyond = probes.PAD + probes.payload(KEY, 7, 3 << 62 | 99)
    assert probes.went(beyond, 7, KeyRing((KEY,))) is None


def test_the_first_probe_is_awaited_before_a_pairing() -> None:
    tested = replace(SETTINGS, mirror_tested=True)
    driver = Driver(tested)
    driver.wait(tested.startup_wait_ns)
    driver.hear(mirror=False)
    assert driver.machine.phase is Phase.SOLO
    driver.hear(mirror=True)
    assert driver.machine.phase is Phase.PAIRING
    other = Driver(tested)
    other.hear(role=Role.PRIMARY, mode=Mode.SOLO, epoch=2)
    assert not other.machine.body(other.now).mirror
    other.step(ev.ProbesSent(1, 1), ev.ProbeSeen(1, 0))
    assert other.machine.body(other.now).mirror


def test_a_primary_leaves_a_backup_that_gets_nothing_under_its_grants() -> None:
    driver = Driver()
    driver.wait(SETTINGS.startup_wait_ns)
    driver.hear()
    session = driver.machine.session
    driver.hear(mode=Mode.PAIRED, session=session)
    assert driver.machine.phase is Phase.PAIRED
    driver.hear(mode=Mode.PAIRED, session=session, mirror=False)
    assert driver.machine.phase is Phase.UNPAIRING
    driver.hear(mirror=False)
    driver.wait(SETTINGS.startup_wait_ns)
    assert driver.machine.phase is Phase.SOLO
    driver.hear()
    assert driver.machine.phase is Phase.PAIRING


def test_bodies_carry_the_number_of_the_last_probes() -> None:
    assert codec.aside_of(codec.unpack(codec.encode(BODY))).probe == 0
    data = codec.encode(BODY, codec.Aside(probe=2**40))
    assert codec.aside_of(codec.unpack(data)).probe == 2**40 and codec.decode(data) == BODY
    assert not codec.decode(codec.encode(BODY._replace(mirror=False))).mirror


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERVAL_S", "QUICK_S"):
        monkeypatch.setattr(mirror, name, 0.02)
    monkeypatch.setattr(verdict, "PATIENCE_NS", 100 * NS_PER_MS)


async def pair_with_mirrors() -> tuple[Any, Wire, Any, Wire]:
    """Two groups with mirrors between them, the primary first."""
    groups = [make_group(name, peer, priority) for name, peer, priority in
              (("alpha", "beta", 100), ("beta", "alpha", 50))]  # fmt: skip
    (one, one_engine, _), (other, other_engine, _) = groups
    wires = Wire(other_engine), Wire(one_engine)
    for group, wire in zip((one, other), wires, strict=True):
        group._saying.keys = group.engine.keys
        group.machine.settings = replace(group.machine.settings, mirror_tested=True)
        group.machine.view.mirror = False
        group.mirror = group._mirror_test(wire, group.engine.keys)
        group.start()
        group.feed(ev.CarrierChanged(True))
        group.serving.changed(True, Cause.START, "serving")
    one_engine.connect(other_engine)
    for engine in (one_engine, other_engine):
        engine.post(EventKind.LINK_UP, link=0)
    await until(lambda: one.machine.in_step and other.machine.in_step, 10)
    parts = one, wires[0], other, wires[1]
    return parts if one.machine.role is Role.PRIMARY else (*parts[2:], *parts[:2])


@pytest.mark.usefixtures("quick")
def test_a_dead_mirror_ends_in_step_is_told_on_both_and_recovers() -> None:
    async def test() -> None:
        primary, wire, backup, back = await pair_with_mirrors()
        try:
            assert wire.sent and not back.sent
            for cut in ({1}, {0, 1}):
                wire.cut = cut
                for group in (primary, backup):
                    await until(lambda group=group: group.readiness.has("mirror"))
                assert not primary.machine.in_step and not backup.machine.in_step
                assert not backup.status()["ready"] and primary.status()["ready"]
                wire.cut = set()
                await until(lambda: primary.machine.in_step and backup.machine.in_step)
                for group in (primary, backup):
                    await until(lambda group=group: not group.readiness.shown())
            told = [e["event"] for e in backup._history.since(0) if e.get("reason") == "mirror"]
            assert told == ["not-ready", "ready-again"] * 2
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


@pytest.mark.usefixtures("quick")
def test_a_pair_that_falls_apart_is_tested_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next pairing waits for a probe: the leisure of a pair in step is over."""

    async def test() -> None:
        monkeypatch.setattr(mirror, "INTERVAL_S", 600.0)
        primary, wire, backup, _ = await pair_with_mirrors()
        try:
            soon = asyncio.get_running_loop().time() + 60
            await until(lambda: primary.mirror._round.when() > soon)
            sent = wire.sent
            primary.engine.lose_peer()
            await until(lambda: not primary.machine.in_step)
            primary.engine.connect(backup.engine)
            await until(lambda: wire.sent > sent)
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


@pytest.mark.usefixtures("quick")
def test_what_was_missed_before_all_came_says_nothing_any_more() -> None:
    async def test() -> None:
        primary, wire, backup, _ = await pair_with_mirrors()
        try:
            primary.mirror.close()
            mirror_of = backup.mirror
            for number in range(1, 2 * MISSED):
                mirror_of.heard(number)
            mirror_of.heard(99)
            for target in wire.targets:
                mirror_of.seen(99 << 6 | target)
            await until(lambda: not backup.machine.mirror._due)
            assert not backup.readiness.has("mirror") and backup.machine.in_step
            for number in range(100, 100 + MISSED):
                mirror_of.heard(number)
            await until(lambda: backup.readiness.has("mirror"))
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


@pytest.mark.usefixtures("quick")
def test_probes_that_somebody_says_again_make_no_dead_mirror_whole() -> None:
    async def test() -> None:
        primary, wire, backup, _ = await pair_with_mirrors()
        try:
            wire.cut = set(wire.targets)
            await until(lambda: backup.readiness.has("mirror"))
            mirror_of = backup.mirror
            for number in (*range(100, 100 + 2 * verdict.KEPT), mirror_of._heard - 20):
                for target in wire.targets:
                    mirror_of.seen(number << 6 | target)
            assert backup.readiness.has("mirror") and not backup.machine.view.mirror
            assert len(backup.machine.mirror._came) <= verdict.KEPT
            wire.cut = set()
            await until(lambda: primary.machine.in_step and backup.machine.in_step)
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


@pytest.mark.usefixtures("quick")
def test_what_could_not_be_sent_matters_no_more_when_nobody_is_asked() -> None:
    async def test() -> None:
        primary, wire, backup, _ = await pair_with_mirrors()
        try:
            wire.broken = True
            await until(lambda: primary.readiness.has("mirror-probe"))
            primary.engine.lose_peer()
            await until(lambda: not primary.readiness.has("mirror-probe"))
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


@pytest.mark.usefixtures("quick")
def test_single_losses_and_a_slow_owner_end_nothing() -> None:
    async def test() -> None:
        primary, wire, backup, _ = await pair_with_mirrors()
        try:
            session, sent = backup.machine.session, wire.sent
            while wire.sent < sent + 5 * MISSED:
                wire.cut = {wire.sent % 2}
                before = wire.sent
                await until(lambda before=before: wire.sent > before)
            wire.cut = set()
            primary.mirror.close()  # tells nothing new any more
            await asyncio.sleep(2 * LEASE / 1e9)
            assert backup.machine.session == session and primary.machine.in_step
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


@pytest.mark.usefixtures("quick")
def test_a_probe_that_cannot_be_sent_is_told() -> None:
    async def test() -> None:
        primary, wire, backup, _ = await pair_with_mirrors()

        def refused(number: int, keys: Any, peer: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        try:
            wire.send = refused  # type: ignore[method-assign]
            await until(lambda: primary.readiness.has("mirror-probe"))
            assert primary.machine.in_step and primary.status()["ready"]
        finally:
            primary.close()
            backup.close()

    asyncio.run(test())


def test_groups_without_a_test_get_in_step_as_before() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        beta_engine.post(EventKind.MIRROR_SEEN, 5)
        beta._drain()
        assert alpha.machine.in_step and alpha.mirror is None

    run(test)


def test_probes_come_from_an_address_that_only_this_host_has() -> None:
    found = probes.own_address("lo", 4)
    assert found == ip_address("127.0.0.1") and probes.own_address("lo", 4, {found}) is None
    assert probes.own_address("no-such-if", 4) is None and probes.own_address("no-such-if", 6) is None


def test_groups_of_a_node_that_are_in_step_test_their_mirrors_in_turn() -> None:
    few, many = mirror.Turns(), mirror.Turns()
    assert few.take(100.0) == mirror.INTERVAL_S and few.take(110.0) == mirror.INTERVAL_S
    due = [many.take(100.0) for _ in range(50)]
    between = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert between == pytest.approx([mirror.BETWEEN_S] * 49)
    assert many.take(100.0 + due[0]) == pytest.approx(50 * mirror.BETWEEN_S), "the first one's next turn"


def test_turns_that_nobody_takes_put_off_nobody_for_long() -> None:
    turns = mirror.Turns()
    assert max(turns.take(100.0) for _ in range(10_000)) == mirror.INTERVAL_S + mirror.LONGEST_S
