"""Announcement frames, byte by byte."""

from ipaddress import ip_address

from fttcp.address.announce import announcement

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99"
V4, V6 = ip_address("10.77.0.100"), ip_address("fd77::100")


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """RFC 1071, over an even number of bytes: 0 when a checksum inside is right."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_ipv4_is_announced_by_request_and_reply() -> None:
    request, reply = announcement(MAC, [V4], {})
    ethernet = mac("ff:ff:ff:ff:ff:ff") + mac(MAC) + b"\x08\x06" + b"\x00\x01\x08\x00\x06\x04"
    assert request == ethernet + b"\x00\x01" + mac(MAC) + V4.packed + bytes(6) + V4.packed
    assert reply == ethernet + b"\x00\x02" + mac(MAC) + V4.packed + mac(MAC) + V4.packed


def test_ipv6_is_announced_by_an_overriding_advertisement() -> None:
    (frame,) = announcement(MAC, [V6], {})
    assert frame[:14] == mac("33:33:00:00:00:01") + mac(MAC) + b"\x86\xdd"
    header, body = frame[14:54], frame[54:]
    assert header[6:8] == b"\x3a\xff", "ICMPv6, hop limit 255: others must be ignored (RFC 4861, 7.1.2)"
    assert header[8:24] == V6.packed and header[24:40] == ip_address("ff02::1").packed
    assert body[:2] == b"\x88\x00" and body[4:8] == b"\x20\x00\x00\x00", (
        "override, neither router nor solicited"
    )
    assert body[8:24] == V6.packed and body[24:] == b"\x02\x01" + mac(MAC)
    assert checksum(header[8:40] + len(body).to_bytes(4, "big") + b"\x00\x00\x00\x3a" + body) == 0


def test_known_neighbours_are_told_by_unicast_within_the_limit() -> None:
    neighbours = {ip_address("10.77.0.10"): OTHER_MAC, ip_address("fd77::10"): OTHER_MAC}
    frames = announcement(MAC, [V4, V6], neighbours)
    assert [frame[:6] == mac(OTHER_MAC) for frame in frames] == [False, False, False, True, True]
    assert frames[3].endswith(mac(OTHER_MAC) + ip_address("10.77.0.10").packed)
    assert announcement(MAC, [V4, V6], neighbours, limit=4) == frames[:4]
