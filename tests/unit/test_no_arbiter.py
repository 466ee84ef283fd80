"""Without an arbiter: what the service network must say before a node owns a group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from fttcp.arbiter.none import NetworkArbiter
from fttcp.arbiter.probe import claimant, probe_frame
from fttcp.arbiter.settings import Address, NoneSettings
from fttcp.ownership.ownership import Answer, Outcome, Ownership, Record
from fttcp.wire.checksum import checksum

SERVICE, ROUTER = ip_address("10.77.0.100"), ip_address("10.77.0.254")
OWN, OTHER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
PAIRED = Record(4, "alpha", Ownership.PAIRED, "beta")
TAKEN = Record(6, "beta", Ownership.SOLO)


class FakeWatch:
    """Probes that began before, and what they say."""

    def __init__(self, says: str | None) -> None:
        self.says, self.asked, self.closed = says, 0, False

    async def claimed(self, window_s: float) -> str | None:
        assert window_s == 0.003
        self.asked += 1
        return self.says

    def close(self) -> None:
        self.closed = True


class FakeNetwork:
    """A service network that says what it is told to."""

    def __init__(self) -> None:
        self.claim, self.answers, self.broken = "", True, False
        self.watched: FakeWatch | None = None
        self.asked: list[str] = []

    async def claimed(self, addresses: Sequence[Address], window_s: float) -> str:
        assert list(addresses) == [SERVICE] and window_s == 0.003
        self.asked.append("claimed")
        if self.broken:
            raise OSError(100, "Network is down")
        return self.claim

    async def reachable(self, addresses: Sequence[Address], timeout_s: float) -> bool:
        assert list(addresses) == [ROUTER] and timeout_s == 0.1
        self.asked.append("reachable")
        return self.answers

    def watch(self, addresses: Sequence[Address], longest_s: float) -> FakeWatch:
        assert list(addresses) == [SERVICE] and longest_s == 0.192
        self.watched = FakeWatch("")
        return self.watched

    def close(self) -> None:
        pass


def beta(
    network: FakeNetwork, carrier: bool = True, reference: bool = True, probe_ms: int = 3
) -> NetworkArbiter:
    settings = NoneSettings(
        "beta",
        lambda: "svc0",
        {"web": [SERVICE]}.__getitem__,
        [ROUTER] if reference else [],
        lambda: carrier,
        probe_ms,
        100,
    )
    return NetworkArbiter(settings, network)


def propose(arbiter: NetworkArbiter, expected: Record | None, wanted: Record) -> Answer:
    return asyncio.run(arbiter.propose("web", expected, wanted))


def watched(network: FakeNetwork, says: str | None) -> Answer:
    """What a takeover that was seen coming is answered, and by whom."""

    async def run() -> Answer:
        arbiter = beta(network)
        arbiter.anticipate("web")
        assert network.watched is not None and network.asked == []
        network.watched.says = says
        return await arbiter.propose("web", PAIRED, TAKEN)

    return asyncio.run(run())


def test_a_takeover_that_was_seen_coming_does_not_probe_again() -> None:
    network = FakeNetwork()
    assert watched(network, "") == Answer(Outcome.WON, TAKEN)
    assert network.asked == ["reachable"] and network.watched is not None and network.watched.asked == 1


@pytest.mark.parametrize("says", ["10.77.0.100 is at 02:00:00:00:00:01", None])
def test_an_answer_or_an_end_before_the_takeover_decides_nothing(says: str | None) -> None:
    """The owner may have died since it answered; after the end of a watch nothing is known."""
    network = FakeNetwork()
    assert watched(network, says) == Answer(Outcome.WON, TAKEN)
    assert sorted(network.asked) == ["claimed", "reachable"]
    network = FakeNetwork()
    network.claim = "10.77.0.100 is at 02:00:00:00:00:01"
    refused = watched(network, says)
    assert (refused.outcome, refused.record) == (Outcome.LOST, PAIRED) and network.claim in refused.why


def test_what_was_seen_coming_is_used_once_and_ends_with_the_arbiter() -> None:
    async def run() -> None:
        network = FakeNetwork()
        arbiter = beta(network)
        arbiter.anticipate("web")
        first = network.watched
        arbiter.anticipate("web")
        second = network.watched
        assert first is not None and second is not None and first.closed and not second.closed
        await arbiter.close()
        assert second.closed

    asyncio.run(run())


def test_a_takeover_needs_carrier_reference_and_silence() -> None:
    network = FakeNetwork()
    assert propose(beta(network), PAIRED, TAKEN) == Answer(Outcome.WON, TAKEN)
    assert sorted(network.asked) == ["claimed", "reachable"]


@pytest.mark.parametrize("trouble", ["carrier", "reference", "claim", "down"])
def test_each_of_them_can_refuse(trouble: str) -> None:
    network = FakeNetwork()
    arbiter = beta(network, carrier=trouble != "carrier")
    network.answers = trouble != "reference"
    network.claim = "10.77.0.100 is at 02:00:00:00:00:01" if trouble == "claim" else ""
    network.broken = trouble == "down"
    answer = propose(arbiter, PAIRED, TAKEN)
    assert (answer.outcome, answer.record) == (Outcome.LOST, PAIRED)
    why = {
        "carrier": "no carrier",
        "reference": "10.77.0.254",
        "claim": "02:00:00:00:00:01",
        "down": "is down",
    }
    assert why[trouble] in answer.why
    assert arbiter.describe()["reachable"] is (
        False if trouble == "reference" else None if trouble in ("carrier",) else True
    )


def test_a_primary_that_lost_its_backup_asks_as_well_and_a_pairing_does_not() -> None:
    network = FakeNetwork()
    arbiter = beta(network)
    mine = Record(8, "beta", Ownership.PAIRED, "alpha")
    assert propose(arbiter, TAKEN, mine).outcome is Outcome.WON and network.asked == []
    network.answers = False
    refused = propose(arbiter, mine, Record(10, "beta", Ownership.SOLO))
    assert (refused.outcome, refused.record) == (Outcome.LOST, mine) and "10.77.0.254" in refused.why


def test_without_reference_only_what_is_configured_is_asked() -> None:
    network = FakeNetwork()
    assert propose(beta(network, reference=False), PAIRED, TAKEN).outcome is Outcome.WON
    assert network.asked == ["claimed"]
    assert propose(beta(network, reference=False, probe_ms=0), PAIRED, TAKEN).outcome is Outcome.WON
    assert network.asked == ["claimed"]
    assert "no reference address" in beta(network, reference=False).describe()["residual_risk"]
    assert "reaches a reference" in beta(network).describe()["residual_risk"]


def test_what_is_older_than_what_this_node_knows_is_refused() -> None:
    arbiter = beta(FakeNetwork())
    assert propose(arbiter, PAIRED, TAKEN).outcome is Outcome.WON
    assert propose(arbiter, PAIRED, TAKEN) == Answer(Outcome.WON, TAKEN)
    assert propose(arbiter, PAIRED, Record(8, "beta", Ownership.SOLO)) == Answer(Outcome.LOST, TAKEN)
    assert propose(arbiter, None, Record(8, "beta", Ownership.SOLO)) == Answer(Outcome.LOST, TAKEN)
    assert asyncio.run(arbiter.inquire("web")) == Answer(Outcome.WON, TAKEN)
    assert asyncio.run(arbiter.renew("web", TAKEN)) == Answer(Outcome.WON, TAKEN)
    assert asyncio.run(arbiter.renew("web", PAIRED)).outcome is Outcome.LOST


@pytest.mark.parametrize("text", ["10.77.0.100", "fd77::100"])
def test_a_probe_claims_nothing_and_the_smaller_mac_goes_first(text: str) -> None:
    address = ip_address(text)
    frame = probe_frame(OTHER, address)
    assert claimant(frame, OWN, [address]).startswith(f"{address} is being probed by 02:00:00:00:00:01")
    assert claimant(frame, OWN, [address], rivals=False) == ""
    assert claimant(probe_frame(OWN, address), OTHER, [address]) == ""
    assert claimant(frame, OTHER, [address]) == ""
    assert claimant(frame, OWN, [ip_address("10.77.0.1"), ip_address("fd77::1")]) == ""
    assert claimant(frame[:40], OWN, [address]) == ""


def test_probes_are_what_scapy_makes_of_the_same_words() -> None:
    from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
    from scapy.layers.l2 import ARP, Ether

    who_has = ARP(op="who-has", hwsrc=OWN.hex(":"), psrc="0.0.0.0", hwdst="0:0:0:0:0:0", pdst="10.77.0.100")
    assert probe_frame(OWN, SERVICE) == bytes(Ether(src=OWN.hex(":"), dst="ff:ff:ff:ff:ff:ff") / who_has)
    ask = IPv6(src="::", dst="ff02::1:ff00:100", hlim=255) / ICMPv6ND_NS(tgt="fd77::100")
    expected = bytes(Ether(src=OWN.hex(":"), dst="33:33:ff:00:01:00") / ask)
    assert probe_frame(OWN, ip_address("fd77::100")) == expected


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
