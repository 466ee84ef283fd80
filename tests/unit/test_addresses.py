"""What ``fttcp lab addresses`` makes of frames, answers and passes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lab.addresses import (
    AFTER_S,
    COLUMNS,
    Keepalived,
    KeepalivedTogether,
    is_announcement,
    is_beat,
    silences,
    spread,
    table,
)
from lab.errors import LabError

OWN = {ip_address("10.77.0.150").packed}


def ethernet(kind: int, payload: bytes) -> bytes:
    return bytes(12) + kind.to_bytes(2, "big") + payload


def arp(sender: str) -> bytes:
    return ethernet(0x0806, bytes(14) + ip_address(sender).packed + bytes(10))


def ipv4(protocol: int, port: int = 0) -> bytes:
    header = bytes([0x45]) + bytes(8) + bytes([protocol]) + bytes(10)
    return ethernet(0x0800, header + bytes(2) + port.to_bytes(2, "big") + bytes(4))


def test_arp_of_who_has_an_address_announces_it() -> None:
    assert is_announcement(arp("10.77.0.150"), OWN)
    assert not is_announcement(arp("10.77.0.10"), OWN) and not is_announcement(ipv4(112), OWN)


def test_advertisements_and_heartbeats_are_beats() -> None:
    assert is_beat(ipv4(112)) and is_beat(ipv4(17, 7710))
    assert not is_beat(ipv4(17, 53)) and not is_beat(ipv4(6, 7710)) and not is_beat(arp("10.77.0.150"))


def test_the_longest_silence_of_each_address_counts() -> None:
    steady = [9.99, 10.03, 10.0 + AFTER_S]
    late = [9.99, 10.2, 10.0 + AFTER_S]
    near = {name: [*times[:-1], *(t / 100 for t in range(int(times[-2] * 100) + 1, int(times[-1] * 100)))]
            for name, times in (("a", steady), ("b", late))}  # fmt: skip
    told = silences({"arrivals_s": near, "kept": ["a"]}, 10.0)
    assert (told["first_ms"], told["median_ms"], told["last_ms"], told["kept"]) == (40.0, 125.0, 210.0, 1)
    with pytest.raises(LabError, match="b: nobody answers"):
        silences({"arrivals_s": near | {"b": [9.99]}, "kept": []}, 10.0)


def test_keepalived_has_an_instance_for_each_address_or_one_for_all() -> None:
    each, one = Keepalived("x", 3).config("beta"), KeepalivedTogether("x", 3).config("alpha")
    assert each.count("vrrp_instance ") == 3 and one.count("vrrp_instance ") == 1
    assert each.count("10.77.0.151/24") == one.count("10.77.0.151/24") == 1
    assert each.count("advert_int 0.01\n") == 3 and "priority 100\n" in each and "priority 200\n" in one


def test_a_spread_is_told_where_there_is_one() -> None:
    assert spread([5, 5]) == "5" and spread([1.0, 3.0, 2.0]) == "2.00 (1.00 to 3.00)"
    row = {"addresses": 2, "system": "x", "crashes": [dict.fromkeys(COLUMNS, 7)]}
    assert table([row]).splitlines()[-1] == "| 2 | x | 7 | 7 | 7 | 7 | 7 | 7 | 1 |"
